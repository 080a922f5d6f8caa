//! A Fleet API that reports every call, and fails or delays those that a test selects.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use flower_iroh_funnel::{
    ALPN,
    node::{self, Node, NodeBuilder, NodeKey},
    proto::{
        ActivateNodeRequest, ActivateNodeResponse, ConfirmMessageReceivedRequest, ConfirmMessageReceivedResponse,
        DeactivateNodeRequest, DeactivateNodeResponse, GetFabRequest, GetFabResponse, GetRunRequest, GetRunResponse,
        Message, ObjectTree, PullMessagesRequest, PullMessagesResponse, PullObjectRequest, PullObjectResponse,
        PushMessagesRequest, PushMessagesResponse, PushObjectRequest, PushObjectResponse, RegisterNodeFleetRequest,
        RegisterNodeFleetResponse, Run, SendNodeHeartbeatRequest, SendNodeHeartbeatResponse,
        UnregisterNodeFleetRequest, UnregisterNodeFleetResponse,
        fleet_server::{self, FleetServer},
    },
    transport::{IrohConnector, IrohIncoming, LostLink, LostLinkLayer},
};
use iroh::{Endpoint, RelayMode, endpoint::presets};
use p384::{
    ecdsa::{DerSignature, VerifyingKey, signature::hazmat::PrehashVerifier},
    pkcs8::DecodePublicKey,
};
use sha2::{Digest, Sha256};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tonic::{
    Request, Response, Status,
    transport::{Channel, Server},
};
use tower::Layer;

use crate::forged::Forged;

/// Ends a test that hangs. Nothing is measured with it.
const HANG_TIMEOUT: Duration = Duration::from_secs(300);
/// The interval of a node's polls: short, so that tests are fast.
const POLL: Duration = Duration::from_millis(10);

pub(crate) type TestNode = Node<LostLink<Channel>>;

/// A call that was received with a valid signature.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Call {
    Register,
    Activate,
    Deactivate,
    Unregister,
    Heartbeat,
    PullMessages,
    PullObject(String),
    Confirm(String),
    GetRun,
    PushMessages(Box<PushMessagesRequest>),
    PushObject { id: String, session_id: String },
}

/// The data and the behaviour of the Fleet API.
#[derive(Default)]
pub(crate) struct State {
    /// Counts the registrations: a node's id.
    pub(crate) node_id: u64,
    pub(crate) messages: VecDeque<(Message, ObjectTree)>,
    pub(crate) objects: HashMap<String, Bytes>,
    /// Objects that their sender has not pushed yet when they are pulled for the first time.
    pub(crate) pending: HashSet<String>,
    /// Objects of a reply that the SuperLink has already.
    pub(crate) present: HashSet<String>,
    pub(crate) pushed: HashMap<String, Bytes>,
    /// Replies are too late.
    pub(crate) takes_no_reply: bool,
    /// The session of a push has ended.
    pub(crate) stores_nothing: bool,
    /// Stores each object once, and the answer is lost; for an object that is stored the answer is "not stored".
    pub(crate) stores_once: bool,
    /// The answer that asks for a reply's objects is lost, and a ServerApp sees the reply before it is pushed again.
    pub(crate) asks_once: bool,
    asked: HashSet<String>,
    /// The next heartbeat is from an unknown node.
    pub(crate) knows_no_heartbeat: bool,
    public_key: Vec<u8>,
    failures: HashMap<&'static str, (Status, usize)>,
    most_transfers: usize,
}

impl State {
    /// Registers this key.
    pub(crate) fn register(&mut self, key: &NodeKey) {
        self.node_id += 1;
        self.public_key = key.public_pem().as_bytes().to_vec();
    }

    /// The sizes of the array chunks that were pushed, without headers.
    pub(crate) fn pushed_chunks(&self) -> Vec<usize> {
        let chunks = self.pushed.values().filter(|content| content.starts_with(b"ArrayChunk"));
        chunks.filter_map(|content| Some(content.len() - content.iter().position(|byte| *byte == 0)? - 1)).collect()
    }
}

pub(crate) const SESSION: &str = "push session 7";

/// The server's side of a test, and endpoints for both sides.
pub(crate) struct Lab {
    fleet: Arc<Fleet>,
    calls: mpsc::UnboundedReceiver<Call>,
    server: Endpoint,
    client: Endpoint,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Lab {
    /// Runs a test on two workers, with a running Fleet API.
    pub(crate) fn run<F: Future<Output = ()>>(test: impl FnOnce(Lab) -> F) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let within =
            async { tokio::time::timeout(HANG_TIMEOUT, test(Self::start().await)).await.expect("the test hangs") };
        runtime.block_on(within);
    }

    async fn start() -> Self {
        let (server, client) = (loopback().await, loopback().await);
        let (sender, calls) = mpsc::unbounded_channel();
        let (transfers, gate) = (watch::Sender::new(0), watch::Sender::new(true));
        let fleet = Arc::new(Fleet { state: Mutex::default(), calls: sender, transfers, gate });
        let service = FleetServer::from_arc(fleet.clone()).max_decoding_message_size(64 << 20);
        let incoming = IrohIncoming::new(server.clone(), ALPN);
        let serving = tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        Self { fleet, calls, server, client, serving }
    }

    /// A node that polls often and retries soon.
    pub(crate) fn builder(&self) -> NodeBuilder<LostLink<Channel>> {
        self.builder_with(NodeKey::generate())
    }

    pub(crate) fn builder_with(&self, key: NodeKey) -> NodeBuilder<LostLink<Channel>> {
        self.build(key, |channel| channel)
    }

    pub(crate) fn builder_over<S: node::Channel>(&self, wrap: impl FnOnce(LostLink<Channel>) -> S) -> NodeBuilder<S> {
        self.build(NodeKey::generate(), wrap)
    }

    fn build<S: node::Channel>(&self, key: NodeKey, wrap: impl FnOnce(LostLink<Channel>) -> S) -> NodeBuilder<S> {
        let connector = IrohConnector::new(self.client.clone(), ALPN);
        connector.add_peer(self.server.addr());
        let channel = Channel::from_shared(format!("iroh://{}", self.server.id())).unwrap();
        let lost_link = LostLinkLayer::new();
        let channel = channel.connect_with_connector_lazy(connector.reporting_to(&lost_link));
        let channel = wrap(lost_link.layer(channel));
        Node::builder(channel, key).poll_interval(POLL).max_backoff(POLL)
    }

    pub(crate) async fn node(&self) -> TestNode {
        self.builder().register().await.unwrap()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.fleet.state.lock().unwrap()
    }

    /// Makes the next `times` calls of a method fail.
    pub(crate) fn fail(&self, method: &'static str, status: Status, times: usize) {
        self.state().failures.insert(method, (status, times));
    }

    /// Offers a message and its objects to the node.
    pub(crate) fn offer(&self, forged: Forged) {
        let mut state = self.state();
        state.objects.extend(forged.objects);
        state.messages.push_back((forged.message, forged.tree));
    }

    /// Does `work`, whose objects are delayed until two of them are in transfer, and counts the most that are in transfer at the
    /// same time.
    pub(crate) async fn count_transfers<T>(&mut self, work: impl Future<Output = T>) -> (T, usize) {
        self.state().most_transfers = 0;
        self.fleet.gate.send_replace(false);
        let mut transfers = self.fleet.transfers.subscribe();
        let opening = async {
            transfers.wait_for(|transfers| *transfers == 2).await.unwrap();
            self.fleet.gate.send_replace(true);
        };
        let (output, ()) = tokio::join!(work, opening);
        let most = self.state().most_transfers;
        (output, most)
    }

    /// Waits for the next call that `wanted` accepts.
    pub(crate) async fn call<T>(&mut self, wanted: impl Fn(Call) -> Option<T>) -> T {
        loop {
            let call = self.calls.recv().await.expect("the Fleet API is up");
            if let Some(found) = wanted(call) {
                return found;
            }
        }
    }

    /// Waits for the next reply.
    pub(crate) async fn reply(&mut self) -> PushMessagesRequest {
        self.call(|call| if let Call::PushMessages(request) = call { Some(*request) } else { None }).await
    }

    /// The calls that were received and not waited for.
    pub(crate) fn calls(&mut self) -> Vec<Call> {
        std::iter::from_fn(|| self.calls.try_recv().ok()).collect()
    }

    pub(crate) async fn stop(self) {
        self.client.close().await;
        self.server.close().await;
        self.serving.await.unwrap().unwrap();
    }
}

async fn loopback() -> Endpoint {
    let builder = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled).alpns(vec![ALPN.to_vec()]);
    builder.clear_ip_transports().bind_addr("127.0.0.1:0").unwrap().bind().await.unwrap()
}

pub(crate) fn object_id(content: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(content))
}

struct Fleet {
    state: Mutex<State>,
    calls: mpsc::UnboundedSender<Call>,
    /// How many objects are in transfer.
    transfers: watch::Sender<usize>,
    /// Whether transfers proceed.
    gate: watch::Sender<bool>,
}

impl Fleet {
    /// Verifies the signature, records the call, and fails it if the test wants that.
    fn enter<T>(
        &self,
        method: &'static str,
        call: Call,
        request: &Request<T>,
    ) -> Result<MutexGuard<'_, State>, Status> {
        let metadata = request.metadata();
        let binary = |name| metadata.get_bin(name).and_then(|value| value.to_bytes().ok()).unwrap_or_default();
        let timestamp = metadata.get("flwr-timestamp").map(|value| value.as_bytes()).unwrap_or_default();
        let public_key = binary("flwr-public-key-bin");
        let verified = VerifyingKey::from_public_key_pem(str::from_utf8(&public_key).unwrap_or_default())
            .ok()
            .zip(DerSignature::try_from(&binary("flwr-signature-bin")[..]).ok());
        let verified =
            verified.is_some_and(|(key, signature)| key.verify_prehash(&Sha256::digest(timestamp), &signature).is_ok());
        let mut state = self.state.lock().unwrap();
        if !verified || (method != "RegisterNode" && state.public_key != public_key) {
            return Err(Status::unauthenticated("the test does not know this key"));
        }
        let _ = self.calls.send(call);
        match state.failures.get_mut(method) {
            Some((status, times)) if *times > 0 => {
                *times -= 1;
                Err(status.clone())
            }
            _ => Ok(state),
        }
    }

    /// Counts an object in transfer, and delays it while the gate is closed.
    async fn transfer(&self) {
        self.transfers.send_modify(|transfers| {
            *transfers += 1;
            let mut state = self.state.lock().unwrap();
            state.most_transfers = state.most_transfers.max(*transfers);
        });
        self.gate.subscribe().wait_for(|open| *open).await.unwrap();
        self.transfers.send_modify(|transfers| *transfers -= 1);
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl fleet_server::Fleet for Fleet {
    async fn register_node(&self, request: Request<RegisterNodeFleetRequest>) -> Answer<RegisterNodeFleetResponse> {
        let mut state = self.enter("RegisterNode", Call::Register, &request)?;
        state.node_id += 1;
        state.public_key = request.into_inner().public_key.to_vec();
        Ok(Response::new(RegisterNodeFleetResponse { node_id: state.node_id }))
    }

    async fn activate_node(&self, request: Request<ActivateNodeRequest>) -> Answer<ActivateNodeResponse> {
        let state = self.enter("ActivateNode", Call::Activate, &request)?;
        assert_eq!(state.public_key, request.get_ref().public_key);
        Ok(Response::new(ActivateNodeResponse { node_id: state.node_id }))
    }

    async fn deactivate_node(&self, request: Request<DeactivateNodeRequest>) -> Answer<DeactivateNodeResponse> {
        let state = self.enter("DeactivateNode", Call::Deactivate, &request)?;
        assert_eq!(state.node_id, request.get_ref().node_id);
        Ok(Response::new(DeactivateNodeResponse {}))
    }

    async fn unregister_node(
        &self,
        request: Request<UnregisterNodeFleetRequest>,
    ) -> Answer<UnregisterNodeFleetResponse> {
        let state = self.enter("UnregisterNode", Call::Unregister, &request)?;
        assert_eq!(state.node_id, request.get_ref().node_id);
        Ok(Response::new(UnregisterNodeFleetResponse {}))
    }

    async fn send_node_heartbeat(
        &self,
        request: Request<SendNodeHeartbeatRequest>,
    ) -> Answer<SendNodeHeartbeatResponse> {
        let mut state = self.enter("SendNodeHeartbeat", Call::Heartbeat, &request)?;
        let success = !std::mem::take(&mut state.knows_no_heartbeat);
        Ok(Response::new(SendNodeHeartbeatResponse { success }))
    }

    async fn pull_messages(&self, request: Request<PullMessagesRequest>) -> Answer<PullMessagesResponse> {
        let mut state = self.enter("PullMessages", Call::PullMessages, &request)?;
        if request.get_ref().node.is_none_or(|node| node.node_id != state.node_id) {
            return Err(Status::unauthenticated("Invalid node ID"));
        }
        let (messages_list, message_object_trees) = state.messages.pop_front().into_iter().unzip();
        Ok(Response::new(PullMessagesResponse { reconnect: None, messages_list, message_object_trees }))
    }

    async fn push_messages(&self, request: Request<PushMessagesRequest>) -> Answer<PushMessagesResponse> {
        let call = Call::PushMessages(Box::new(request.get_ref().clone()));
        let mut state = self.enter("PushMessages", call, &request)?;
        let mut objects_to_push = Vec::new();
        if !state.takes_no_reply {
            collect(&request.get_ref().message_object_trees[0], &mut objects_to_push);
            objects_to_push.retain(|id| !state.present.contains(id));
        }
        if state.asks_once {
            if state.asked.is_empty() {
                state.asked = objects_to_push.into_iter().collect();
                return Err(Status::unavailable("asked for, and the answer is lost"));
            }
            objects_to_push.clear();
        }
        let session_id = SESSION.to_owned();
        Ok(Response::new(PushMessagesResponse { objects_to_push, session_id, ..Default::default() }))
    }

    async fn get_run(&self, request: Request<GetRunRequest>) -> Answer<GetRunResponse> {
        let _state = self.enter("GetRun", Call::GetRun, &request)?;
        Ok(Response::new(GetRunResponse { run: Some(Run::default()) }))
    }

    async fn get_fab(&self, _request: Request<GetFabRequest>) -> Answer<GetFabResponse> {
        Err(Status::unimplemented("a node in Rust has its own app"))
    }

    async fn push_object(&self, request: Request<PushObjectRequest>) -> Answer<PushObjectResponse> {
        self.transfer().await;
        let PushObjectRequest { object_id: id, session_id, .. } = request.get_ref().clone();
        let mut state = self.enter("PushObject", Call::PushObject { id: id.clone(), session_id }, &request)?;
        let content = request.into_inner().object_content;
        assert_eq!(object_id(&content), id);
        let is_wanted = !state.asks_once || state.asked.contains(&id);
        let is_stored = state.pushed.insert(id, content).is_some();
        let stored = is_wanted && !(state.stores_nothing || state.stores_once && is_stored);
        if state.stores_once && !is_stored {
            return Err(Status::unavailable("stored, and the answer is lost"));
        }
        Ok(Response::new(PushObjectResponse { stored }))
    }

    async fn pull_object(&self, request: Request<PullObjectRequest>) -> Answer<PullObjectResponse> {
        self.transfer().await;
        let id = request.get_ref().object_id.clone();
        let mut state = self.enter("PullObject", Call::PullObject(id.clone()), &request)?;
        let object_available = !state.pending.remove(&id);
        let found = state.objects.get(&id).cloned();
        let object_found = found.is_some();
        let object_content = found.filter(|_| object_available).unwrap_or_default();
        Ok(Response::new(PullObjectResponse { object_found, object_available, object_content }))
    }

    async fn confirm_message_received(
        &self,
        request: Request<ConfirmMessageReceivedRequest>,
    ) -> Answer<ConfirmMessageReceivedResponse> {
        let id = request.get_ref().message_object_id.clone();
        let _state = self.enter("ConfirmMessageReceived", Call::Confirm(id), &request)?;
        Ok(Response::new(ConfirmMessageReceivedResponse {}))
    }
}

/// Collects the ids of a tree, as Flower answers them: in any order, each once.
fn collect(tree: &ObjectTree, ids: &mut Vec<String>) {
    if !ids.contains(&tree.object_id) {
        ids.push(tree.object_id.clone());
    }
    tree.children.iter().for_each(|child| collect(child, ids));
}
