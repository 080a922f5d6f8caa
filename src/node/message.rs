//! Messages of the SuperLink, and replies to them.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::error::NodeError;
use crate::{
    object::{record::RecordDict, split},
    proto::{self, Metadata},
};

/// Flower's code for an app that raised an exception.
const CLIENT_APP_RAISED_EXCEPTION: i64 = 2;

/// A message that was pulled from the SuperLink.
#[derive(Debug)]
pub struct Message {
    head: Head,
    content: Result<RecordDict, NodeError>,
}

/// The part of a message that its reply needs.
#[derive(Clone, Debug)]
pub(super) struct Head {
    metadata: Metadata,
    received: Instant,
}

impl Message {
    pub(super) fn new(metadata: Metadata, content: Result<RecordDict, NodeError>) -> Self {
        Self { head: Head { metadata, received: Instant::now() }, content }
    }

    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    /// Returns Flower's metadata of the message.
    pub fn metadata(&self) -> &Metadata {
        &self.head.metadata
    }

    /// Returns its task: `train`, `evaluate` or `query`, optionally followed by a dot and an action's name.
    pub fn message_type(&self) -> &str {
        &self.metadata().message_type
    }

    /// Returns the run that it belongs to.
    pub fn run_id(&self) -> u64 {
        self.metadata().run_id
    }

    /// Returns its content.
    ///
    /// # Errors
    /// If the content could not be pulled or read; reply with [`error_reply`](Self::error_reply) then.
    pub fn content(&self) -> Result<&RecordDict, NodeError> {
        self.content.as_ref().map_err(Clone::clone)
    }

    /// Makes the reply with a result. It expires when this message would have.
    pub fn reply(&self, content: RecordDict) -> Reply {
        self.head.reply(content)
    }

    /// Makes the reply that there is no result, with the reason.
    pub fn error_reply(&self, reason: impl Into<String>) -> Reply {
        self.head.error_reply(reason)
    }
}

impl Head {
    pub(super) fn reply(&self, content: RecordDict) -> Reply {
        self.reply_with(Outcome::Content(content))
    }

    pub(super) fn error_reply(&self, reason: impl Into<String>) -> Reply {
        self.reply_with(Outcome::Error(proto::Error { code: CLIENT_APP_RAISED_EXCEPTION, reason: reason.into() }))
    }

    fn reply_with(&self, outcome: Outcome) -> Reply {
        let metadata = &self.metadata;
        let created_at = now();
        Reply {
            metadata: Metadata {
                run_id: metadata.run_id,
                message_id: String::new(),
                src_node_id: metadata.dst_node_id,
                dst_node_id: metadata.src_node_id,
                reply_to_message_id: metadata.message_id.clone(),
                group_id: metadata.group_id.clone(),
                ttl: metadata.created_at + metadata.ttl - created_at,
                message_type: metadata.message_type.clone(),
                created_at,
                src_task_id: metadata.dst_task_id,
                dst_task_id: metadata.src_task_id,
            },
            outcome,
            runtime: self.received.elapsed().as_secs_f64(),
        }
    }
}

/// The answer to a message.
#[derive(Clone, Debug)]
pub struct Reply {
    metadata: Metadata,
    outcome: Outcome,
    runtime: f64,
}

#[derive(Clone, Debug)]
enum Outcome {
    Content(RecordDict),
    Error(proto::Error),
}

/// A reply, ready to be pushed.
pub(super) struct SplitReply {
    /// Without its content, as the SuperLink expects it.
    pub(super) message: proto::Message,
    pub(super) objects: split::Split,
    /// The app's run time, in seconds.
    pub(super) runtime: f64,
}

impl Reply {
    /// Returns Flower's metadata of the reply.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Splits it into objects. Its id is that of its own object.
    pub(super) fn split(self) -> SplitReply {
        let (content, error) = match self.outcome {
            Outcome::Content(content) => (Some(content), None),
            Outcome::Error(error) => (None, Some(error)),
        };
        let mut message = proto::Message { metadata: Some(self.metadata.clone()), content: None, error };
        let objects = split::message(&message, content.as_ref());
        let message_id = objects.tree.object_id.clone();
        message.metadata = Some(Metadata { message_id, ..self.metadata });
        message.content = content.map(|_| proto::RecordDict::default());
        SplitReply { message, objects, runtime: self.runtime }
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
