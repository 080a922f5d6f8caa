//! Messages and replies on their way: their objects are pulled and pushed a few at a time.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    error::NodeError,
    fleet::Channel,
    message::{Message, Reply},
    session::{Node, Session},
};
use crate::{
    object::{self, Object, Received, assemble, record::RecordDict},
    proto::{
        ConfirmMessageReceivedRequest, Metadata, ObjectTree, PullMessagesRequest, PullObjectRequest,
        PushMessagesRequest, PushObjectRequest,
    },
};

/// As many as Flower transfers at a time.
const CONCURRENT_OBJECTS: usize = 2;
/// How often to ask for an object that its sender has not pushed yet; with the waits below, more than an hour.
const MAX_PULLS: usize = 500;
/// The longest wait between two such attempts.
const MAX_PULL_WAIT: Duration = Duration::from_secs(10);

impl<S: Channel> Node<S> {
    /// Waits for the next message and pulls what it carries. Whatever is wrong with that is found in
    /// [`Message::content`]. Of several that wait, one pulls at a time.
    ///
    /// If the SuperLink has forgotten the node, because it was restarted, the node joins it again. A message whose run
    /// has stopped is passed over.
    ///
    /// # Errors
    /// If the SuperLink does not take this node any more.
    ///
    /// # Cancel safety
    /// A message that was handed out already is lost; a funnel before the SuperLink hands it out again.
    pub async fn pull_message(&self) -> Result<Message, NodeError> {
        let session = &self.session;
        loop {
            let joined = !session.is_known();
            if joined {
                session.join().await?;
            }
            let node = session.node();
            match session.pull().await {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(error) if error.is_refused() && !joined => {
                    session.forgotten(node, &error.to_string());
                    continue;
                }
                Err(error) if error.is_refused() => return Err(error),
                Err(error) => tracing::warn!(%error, "no message can be pulled now"),
            }
            tokio::time::sleep(session.settings.poll_interval).await;
        }
    }

    /// Pushes a reply: first its outline, then those of its objects that the SuperLink lacks. Calls whose answer got lost
    /// are made again, and what a SuperLink says of what it has already is understood.
    ///
    /// # Errors
    /// [`NodeError::is_run_stopped`] and [`NodeError::is_too_late`] tell that nobody waits for it any more.
    pub async fn push_reply(&self, reply: Reply) -> Result<(), NodeError> {
        self.session.push(reply).await
    }

    /// Answers messages for ever: with what `app` makes of them, or with an error that says why it could not.
    ///
    /// Nothing that is wrong with one message ends it. Work for a run that stops is dropped. Work that computes for long
    /// belongs on a thread of its own (`tokio::task::spawn_blocking`), unless the runtime has others for the heartbeat.
    ///
    /// # Errors
    /// If the SuperLink does not take this node any more.
    ///
    /// # Cancel safety
    /// The message that is worked on gets no reply.
    pub async fn serve<F, E>(&self, mut app: impl FnMut(Message) -> F) -> Result<std::convert::Infallible, NodeError>
    where
        F: Future<Output = Result<RecordDict, E>>,
        E: std::fmt::Display,
    {
        loop {
            let message = self.pull_message().await?;
            let (run_id, head) = (message.run_id(), message.head().clone());
            let reply = match message.content() {
                Err(error) => Ok(head.error_reply(error.to_string())),
                Ok(_) => self.while_running(run_id, app(message)).await.map(|result| match result {
                    Ok(content) => head.reply(content),
                    Err(error) => head.error_reply(error.to_string()),
                }),
            };
            let pushed = match reply {
                Ok(reply) => self.push_reply(reply).await,
                Err(stopped) => Err(stopped),
            };
            match pushed {
                Ok(()) => tracing::info!(run_id, "a message is answered"),
                Err(error) => tracing::warn!(run_id, %error, "a message stays without an answer"),
            }
        }
    }
}

impl<S: Channel> Session<S> {
    async fn pull(self: &Arc<Self>) -> Result<Option<Message>, NodeError> {
        let _pulling = self.pulling.lock().await;
        let request = PullMessagesRequest { node: Some(self.node()), message_ids: vec![] };
        let pulled = self
            .fleet
            .call("PullMessages", request, |mut client, request| async move { client.pull_messages(request).await });
        let mut pulled = pulled.await?;
        let Some(message) = pulled.messages_list.drain(..).next() else { return Ok(None) };
        let metadata = message.metadata.unwrap_or_default();
        let content = match pulled.message_object_trees.first() {
            Some(tree) => self.content(&metadata, tree).await,
            None => Err(NodeError::content("message", "it came without an object tree")),
        };
        match content {
            Err(error) if error.is_run_stopped() => {
                tracing::info!(run_id = metadata.run_id, "a message of a run that has stopped is passed over");
                Ok(None)
            }
            content => Ok(Some(Message::new(metadata, content))),
        }
    }

    /// Pulls a message's objects, says that they are here, and makes records of them.
    async fn content(self: &Arc<Self>, metadata: &Metadata, tree: &ObjectTree) -> Result<RecordDict, NodeError> {
        let run_id = metadata.run_id;
        let pulls = object::object_ids(tree)?.into_iter().map(|id| Arc::clone(self).pull_object(run_id, id));
        let max_size = self.settings.max_message_size;
        let mut size = 0;
        let mut objects = HashMap::new();
        let mut pulled = stream::iter(pulls).buffer_unordered(CONCURRENT_OBJECTS);
        while let Some((id, object)) = pulled.try_next().await? {
            size += object.body.len() as u64;
            if size > max_size {
                return Err(NodeError::content("message", format_args!("it is larger than {max_size} bytes")));
            }
            objects.insert(id, object);
        }
        drop(pulled);
        self.confirm(metadata).await?;
        match assemble::content(&tree.object_id, objects, max_size)? {
            Some(content) => Ok(content),
            None => Err(NodeError::content("message", "it carries no records")),
        }
    }

    async fn pull_object(self: Arc<Self>, run_id: u64, id: String) -> Result<(String, Received), NodeError> {
        let mut wait = Duration::from_secs(1).min(self.settings.max_backoff);
        for _ in 0..MAX_PULLS {
            let request = PullObjectRequest { node: Some(self.node()), run_id, object_id: id.clone() };
            let pulled = self
                .fleet
                .call("PullObject", request, |mut client, request| async move { client.pull_object(request).await });
            let pulled = pulled.await.map_err(|error| error.in_run(run_id))?;
            if !pulled.object_found {
                return Err(NodeError::object(&id, "the SuperLink does not have it"));
            }
            if pulled.object_available {
                let object = Received::parse(&id, pulled.object_content)?;
                return Ok((id, object));
            }
            tokio::time::sleep(wait.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
            wait = (wait * 2).min(MAX_PULL_WAIT).min(self.settings.max_backoff);
        }
        Err(NodeError::object(&id, "its sender has not pushed it"))
    }

    async fn confirm(&self, metadata: &Metadata) -> Result<(), NodeError> {
        let request = ConfirmMessageReceivedRequest {
            node: Some(self.node()),
            run_id: metadata.run_id,
            message_object_id: metadata.message_id.clone(),
        };
        let confirmed = self.fleet.call("ConfirmMessageReceived", request, |mut client, request| async move {
            client.confirm_message_received(request).await
        });
        confirmed.await.map(|_| ()).map_err(|error| error.in_run(metadata.run_id))
    }

    async fn push(self: &Arc<Self>, reply: Reply) -> Result<(), NodeError> {
        let run_id = reply.metadata().run_id;
        let ttl = reply.metadata().ttl;
        if ttl <= 0.0 {
            return Err(NodeError::too_late(format!("the message expired {:.1} s ago", -ttl)));
        }
        // Hashing a large model takes long enough to hold up everything else.
        let deflating = tokio::task::spawn_blocking(move || reply.deflate());
        let reply = deflating.await.expect("deflating does not panic");
        let request = PushMessagesRequest {
            node: Some(self.node()),
            messages_list: vec![reply.message],
            message_object_trees: vec![reply.objects.tree],
            clientapp_runtime_list: vec![reply.runtime],
        };
        let pushed = self.fleet.call_and_tell("PushMessages", request, |mut client, request| async move {
            client.push_messages(request).await
        });
        let (pushed, is_repeated) = pushed.await.map_err(|error| error.in_run(run_id))?;
        let wanted: HashSet<_> = pushed.objects_to_push.into_iter().collect();
        let session = match (wanted.is_empty(), is_repeated) {
            (false, _) => Some(pushed.session_id),
            // The answer that asked for the objects got lost. A SuperLink does not ask again once its ServerApp has seen the
            // reply; in no session it takes those that it lacks, as from nodes that are older than sessions.
            (true, true) => None,
            // The reply itself is an object that cannot be there already.
            (true, false) => {
                return Err(NodeError::too_late("the message has expired, or has been answered already"));
            }
        };
        let objects = reply.objects.objects.values().filter(|object| session.is_none() || wanted.contains(&object.id));
        let pushes = objects.map(|object| Arc::clone(self).push_object(run_id, session.clone(), object.clone()));
        stream::iter(pushes).buffer_unordered(CONCURRENT_OBJECTS).try_collect().await
    }

    /// In no session, "not stored" may mean that the object is there already.
    async fn push_object(
        self: Arc<Self>,
        run_id: u64,
        session_id: Option<String>,
        object: Object,
    ) -> Result<(), NodeError> {
        let is_in_session = session_id.is_some();
        let request = PushObjectRequest {
            node: Some(self.node()),
            run_id,
            object_id: object.id.clone(),
            object_content: object.content(),
            session_id: session_id.unwrap_or_default(),
        };
        let pushed = self.fleet.call_and_tell("PushObject", request, |mut client, request| async move {
            client.push_object(request).await
        });
        let (pushed, is_repeated) = pushed.await.map_err(|error| error.in_run(run_id))?;
        // Of an object that it has stored, a SuperLink says the same when it comes again.
        if pushed.stored || is_repeated || !is_in_session { Ok(()) } else { Err(NodeError::not_stored(&object.id)) }
    }
}
