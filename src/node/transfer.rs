//! Transfers messages and replies: their objects are pulled and pushed a few at a time.

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
    object::{self, ContentError, Object, Received, assemble, record::RecordDict},
    proto::{
        ConfirmMessageReceivedRequest, Metadata, ObjectTree, PullMessagesRequest, PullObjectRequest,
        PushMessagesRequest, PushObjectRequest,
    },
    transport::Backoff,
};

/// How many objects are transferred at a time, as in Flower.
const CONCURRENT_OBJECTS: usize = 2;
/// How often to ask for an object that its sender has not pushed yet: with these waits, for more than an hour.
const MAX_PULLS: u32 = 500;
/// The wait before the second attempt, before jitter.
const PULL_WAIT: Duration = Duration::from_secs(1);
/// The longest wait between two attempts, before jitter.
const MAX_PULL_WAIT: Duration = Duration::from_secs(10);

impl<S: Channel> Node<S> {
    /// Waits for the next message and pulls its content. If the content cannot be used, [`Message::content`] returns the
    /// error. Of several callers, one pulls at a time.
    ///
    /// If the SuperLink has forgotten the node, because it was restarted, the node joins again. A message whose run has
    /// stopped is skipped.
    ///
    /// # Errors
    /// If the SuperLink no longer accepts this node.
    ///
    /// # Cancel safety
    /// A message that the SuperLink has handed out is lost; a funnel beside the SuperLink hands it out again.
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
                Err(error) => tracing::warn!(%error, "cannot pull a message now"),
            }
            tokio::time::sleep(session.settings.poll_interval).await;
        }
    }

    /// Pushes a reply: first its object tree, then those of its objects that the SuperLink does not have. Calls whose answer
    /// was lost are retried; the SuperLink's answer that it has an object already counts as success then.
    ///
    /// # Errors
    /// With [`NodeError::is_run_stopped`] and [`NodeError::is_too_late`], the reply is no longer wanted.
    pub async fn push_reply(&self, reply: Reply) -> Result<(), NodeError> {
        self.session.push(reply).await
    }

    /// Answers messages indefinitely: with the result of `app`, or with the reason of its failure.
    ///
    /// An invalid message is answered with an error. Work for a run that stops is dropped. Long computations belong on a
    /// thread of their own (`tokio::task::spawn_blocking`), unless the runtime has other threads for the heartbeat.
    ///
    /// # Errors
    /// If the SuperLink no longer accepts this node.
    ///
    /// # Cancel safety
    /// The message in progress gets no reply.
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
                Ok(()) => tracing::info!(run_id, "answered a message"),
                Err(error) => tracing::warn!(run_id, %error, "cannot answer a message"),
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
            None => Err(ContentError::new("message", "it has no object tree").into()),
        };
        match content {
            Err(error) if error.is_run_stopped() => {
                tracing::info!(run_id = metadata.run_id, "skipped a message of a run that has stopped");
                Ok(None)
            }
            content => Ok(Some(Message::new(metadata, content))),
        }
    }

    /// Pulls a message's objects, confirms them, and assembles its records.
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
                return Err(ContentError::new("message", format_args!("it is larger than {max_size} bytes")).into());
            }
            objects.insert(id, object);
        }
        drop(pulled);
        self.confirm(metadata).await?;
        match assemble::content(&tree.object_id, objects, max_size)? {
            Some(content) => Ok(content),
            None => Err(ContentError::new("message", "it has no content").into()),
        }
    }

    async fn pull_object(self: Arc<Self>, run_id: u64, id: String) -> Result<(String, Received), NodeError> {
        let backoff = Backoff::new(PULL_WAIT, MAX_PULL_WAIT.min(self.settings.max_backoff), 0.8..1.2);
        for retries in 0..MAX_PULLS {
            let request = PullObjectRequest { node: Some(self.node()), run_id, object_id: id.clone() };
            let pulled = self
                .fleet
                .call("PullObject", request, |mut client, request| async move { client.pull_object(request).await });
            let pulled = pulled.await.map_err(|error| error.in_run(run_id))?;
            if !pulled.object_found {
                return Err(ContentError::object(&id, "the SuperLink does not have it").into());
            }
            if pulled.object_available {
                let object = Received::parse(&id, pulled.object_content)?;
                return Ok((id, object));
            }
            tokio::time::sleep(backoff.wait(retries)).await;
        }
        Err(ContentError::object(&id, "its sender has not pushed it").into())
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
            return Err(NodeError::expired(-ttl));
        }
        // Hashing a large model would block the runtime.
        let splitting = tokio::task::spawn_blocking(move || reply.split());
        let reply = splitting.await.expect("splitting a reply does not panic");
        let request = PushMessagesRequest {
            node: Some(self.node()),
            messages_list: vec![reply.message],
            message_object_trees: vec![reply.objects.tree],
            clientapp_runtime_list: vec![reply.runtime],
        };
        let pushed = self.fleet.call_retried("PushMessages", request, |mut client, request| async move {
            client.push_messages(request).await
        });
        let (pushed, is_retried) = pushed.await.map_err(|error| error.in_run(run_id))?;
        let wanted: HashSet<_> = pushed.objects_to_push.into_iter().collect();
        let session = match (wanted.is_empty(), is_retried) {
            (false, _) => Some(pushed.session_id),
            // The answer that asked for the objects was lost. A SuperLink does not ask again once its ServerApp has seen the
            // reply; without a session it accepts those that it does not have, as from nodes that do not know sessions.
            (true, true) => None,
            // The reply itself is an object that cannot be there already.
            (true, false) => {
                return Err(NodeError::not_wanted());
            }
        };
        let objects = reply.objects.objects.values().filter(|object| session.is_none() || wanted.contains(&object.id));
        let pushes = objects.map(|object| Arc::clone(self).push_object(run_id, session.clone(), object.clone()));
        stream::iter(pushes).buffer_unordered(CONCURRENT_OBJECTS).try_collect().await
    }

    /// Pushes one object. Without a session, "not stored" may mean that the SuperLink has it already.
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
        let pushed = self.fleet.call_retried("PushObject", request, |mut client, request| async move {
            client.push_object(request).await
        });
        let (pushed, is_retried) = pushed.await.map_err(|error| error.in_run(run_id))?;
        // A SuperLink answers the same if it has the object already.
        if pushed.stored || is_retried || !is_in_session { Ok(()) } else { Err(NodeError::not_stored(&object.id)) }
    }
}
