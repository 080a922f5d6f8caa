//! A node's session at the SuperLink: from its registration to its end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Mutex, task::JoinSet};
use tonic::Status;

use super::{
    error::NodeError,
    fleet::{Channel, Fleet},
    heartbeat,
    key::NodeKey,
};
use crate::proto::{
    self, ActivateNodeRequest, DeactivateNodeRequest, GetRunRequest, RegisterNodeFleetRequest, Run,
    UnregisterNodeFleetRequest,
};

/// Flower's interval; SuperLinks accept 10 s to 30 min.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30);
/// How often Flower's SuperNode asks for messages.
const POLL_INTERVAL: Duration = Duration::from_secs(3);
/// The longest wait before a retry, as in Flower.
const MAX_BACKOFF: Duration = Duration::from_secs(20);
/// More than most models need, less than most machines have.
const MAX_MESSAGE_SIZE: u64 = 4 << 30;
/// The wait for each call that ends the session.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// The status that a SuperLink reports for a run that has ended, if it reports one.
const FINISHED: &str = "finished";

/// Builds a [`Node`].
#[derive(Debug)]
#[must_use]
pub struct NodeBuilder<S> {
    channel: S,
    key: NodeKey,
    settings: Settings,
}

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) heartbeat_interval: Duration,
    pub(super) poll_interval: Duration,
    pub(super) max_backoff: Duration,
    pub(super) max_message_size: u64,
}

impl<S: Channel> NodeBuilder<S> {
    /// Sets the interval at which the SuperLink may expect a heartbeat. Default 30 s; a node counts as offline after twice
    /// that time.
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.settings.heartbeat_interval = interval;
        self
    }

    /// Sets how often to ask for a message while there is none. Default 3 s.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.settings.poll_interval = interval;
        self
    }

    /// Sets the longest wait before a retry while the SuperLink is unreachable. Default 20 s.
    pub fn max_backoff(mut self, max_backoff: Duration) -> Self {
        self.settings.max_backoff = max_backoff;
        self
    }

    /// Sets how much memory one message may take. Default 4 GiB; a larger message is answered with an error.
    pub fn max_message_size(mut self, bytes: u64) -> Self {
        self.settings.max_message_size = bytes;
        self
    }

    /// Registers the key and activates the node; [`Node::close`] unregisters it. A key can be registered once.
    ///
    /// Waits for a SuperLink that is unreachable.
    ///
    /// # Errors
    /// If the SuperLink rejects the key. With node authentication, a SuperLink registers no keys this way.
    pub async fn register(self) -> Result<Node<S>, NodeError> {
        self.start(true).await
    }

    /// Activates the node whose key was registered with `flwr supernode register`.
    ///
    /// Waits for a SuperLink that is unreachable.
    ///
    /// # Errors
    /// If the SuperLink does not know the key.
    pub async fn activate(self) -> Result<Node<S>, NodeError> {
        self.start(false).await
    }

    async fn start(self, registers: bool) -> Result<Node<S>, NodeError> {
        let session = Arc::new(Session {
            fleet: Fleet::new(self.channel, self.key, self.settings.max_backoff),
            settings: self.settings,
            registers,
            id: AtomicU64::new(0),
            known: AtomicBool::new(false),
            pulling: Mutex::default(),
        });
        session.join().await?;
        let heartbeat = heartbeat::start(&session);
        Ok(Node { session, heartbeat })
    }
}

/// A node at a SuperLink. Its heartbeat continues until the node is closed or dropped.
///
/// Dropping it sends nothing: the SuperLink considers the node offline after a while.
#[derive(Debug)]
pub struct Node<S> {
    pub(super) session: Arc<Session<S>>,
    heartbeat: JoinSet<()>,
}

impl<S: Channel> Node<S> {
    /// Starts a node that makes its calls over `channel` and is identified by `key`.
    pub fn builder(channel: S, key: NodeKey) -> NodeBuilder<S> {
        let settings = Settings {
            heartbeat_interval: HEARTBEAT_INTERVAL,
            poll_interval: POLL_INTERVAL,
            max_backoff: MAX_BACKOFF,
            max_message_size: MAX_MESSAGE_SIZE,
        };
        NodeBuilder { channel, key, settings }
    }

    /// Returns the id that the SuperLink gave it. It changes if the SuperLink forgets the node and the node registers again.
    pub fn id(&self) -> u64 {
        self.session.id.load(Ordering::Acquire)
    }

    /// Asks the SuperLink for a run.
    ///
    /// # Errors
    /// [`NodeError::is_run_stopped`] if it is not running.
    pub async fn run(&self, run_id: u64) -> Result<Run, NodeError> {
        self.session.run(run_id).await
    }

    /// Does `work` while the run is running, which is checked at intervals.
    ///
    /// # Errors
    /// [`NodeError::is_run_stopped`] if the run stopped; the work is dropped then.
    pub async fn while_running<T>(&self, run_id: u64, work: impl Future<Output = T>) -> Result<T, NodeError> {
        tokio::select! {
            biased;
            output = work => Ok(output),
            stopped = self.session.stopped(run_id) => Err(stopped),
        }
    }

    /// Ends the heartbeat, deactivates the node and, if it registered itself, unregisters it.
    ///
    /// # Errors
    /// If the SuperLink does not answer within a few seconds: it considers the node offline after a while.
    pub async fn close(mut self) -> Result<(), NodeError> {
        self.heartbeat.shutdown().await;
        self.session.leave().await
    }
}

/// The state that a node and its heartbeat share.
#[derive(Debug)]
pub(super) struct Session<S> {
    pub(super) fleet: Fleet<S>,
    pub(super) settings: Settings,
    registers: bool,
    id: AtomicU64,
    /// Whether the SuperLink knows the node, according to its last answer.
    known: AtomicBool,
    /// One pull at a time: until a message has been received completely, the SuperLink may hand it out again.
    pub(super) pulling: Mutex<()>,
}

impl<S: Channel> Session<S> {
    /// Returns the node, as an argument of calls.
    pub(super) fn node(&self) -> proto::Node {
        proto::Node { node_id: self.id.load(Ordering::Acquire) }
    }

    /// Whether the SuperLink knows the node, according to its last answer.
    pub(super) fn is_known(&self) -> bool {
        self.known.load(Ordering::Acquire)
    }

    /// Records that the SuperLink does not know the node with this id.
    pub(super) fn forgotten(&self, node: proto::Node, reason: &str) {
        // An answer about an earlier id says nothing about the present one.
        if node == self.node() && self.known.swap(false, Ordering::AcqRel) {
            tracing::warn!(node_id = node.node_id, reason, "the SuperLink no longer knows this node");
        }
    }

    /// Registers, if this node does so itself, and activates.
    pub(super) async fn join(&self) -> Result<(), NodeError> {
        let public_key = self.fleet.key().public_pem().to_owned();
        let registered = if self.registers { self.register(public_key.clone()).await } else { Ok(()) };
        if let Err(error) = &registered
            && !error.is_key_taken()
        {
            return registered;
        }
        let request = ActivateNodeRequest {
            public_key: public_key.into(),
            heartbeat_interval: self.settings.heartbeat_interval.as_secs_f64(),
        };
        let activated = self
            .fleet
            .call("ActivateNode", request, |mut client, request| async move { client.activate_node(request).await });
        let activated = activated.await;
        // An attempt whose answer was lost may have registered the key.
        let node_id = match (activated, registered) {
            (Ok(activated), _) => activated.node_id,
            (Err(_), Err(error)) | (Err(error), Ok(())) => return Err(error),
        };
        self.id.store(node_id, Ordering::Release);
        self.known.store(true, Ordering::Release);
        tracing::info!(node_id, "the node is active");
        Ok(())
    }

    async fn register(&self, public_key: String) -> Result<(), NodeError> {
        let request = RegisterNodeFleetRequest { public_key: public_key.into() };
        let registered = self
            .fleet
            .call("RegisterNode", request, |mut client, request| async move { client.register_node(request).await });
        registered.await.map(|_| ())
    }

    pub(super) async fn run(&self, run_id: u64) -> Result<Run, NodeError> {
        let request = GetRunRequest { node: Some(self.node()), run_id };
        let run =
            self.fleet.call("GetRun", request, |mut client, request| async move { client.get_run(request).await });
        let run = run.await.map_err(|error| error.in_run(run_id))?.run.unwrap_or_default();
        match run.status.as_ref().map(|status| status.status.as_str()) {
            Some(FINISHED) => Err(NodeError::run_stopped(run_id)),
            _ => Ok(run),
        }
    }

    /// Waits until the run has stopped.
    async fn stopped(&self, run_id: u64) -> NodeError {
        loop {
            tokio::time::sleep(self.settings.poll_interval * 3).await;
            match self.run(run_id).await {
                Err(error) if error.is_run_stopped() => return error,
                Err(error) => tracing::debug!(run_id, %error, "the state of the run is unknown"),
                Ok(_) => {}
            }
        }
    }

    async fn leave(&self) -> Result<(), NodeError> {
        let node_id = self.node().node_id;
        let deactivated = self.fleet.try_call(DeactivateNodeRequest { node_id }, |mut client, request| async move {
            client.deactivate_node(request).await
        });
        let deactivated = leave_call("DeactivateNode", deactivated).await;
        if !self.registers {
            return deactivated;
        }
        let unregistered =
            self.fleet.try_call(UnregisterNodeFleetRequest { node_id }, |mut client, request| async move {
                client.unregister_node(request).await
            });
        deactivated.and(leave_call("UnregisterNode", unregistered).await)
    }
}

async fn leave_call<R>(name: &'static str, call: impl Future<Output = Result<R, Status>>) -> Result<(), NodeError> {
    let late = |_| Err(Status::deadline_exceeded(format!("no answer within {LEAVE_TIMEOUT:?}")));
    let answered = tokio::time::timeout(LEAVE_TIMEOUT, call).await.unwrap_or_else(late);
    answered.map(|_| ()).map_err(|status| NodeError::call(name, status))
}
