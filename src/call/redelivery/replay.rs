//! Interprets the answer to a call, and makes the answer that replaces it.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use bytes::Bytes;
use tracing::info;

use super::{
    Caller, End,
    field_reader::FieldReader,
    messages::{
        ConfirmMessageReceivedRequest, ObjectPush, PullMessagesResponse, Pulled, PushMessagesResponse,
        PushObjectResponse, Reply, StrictMessage, ask_for_all, stored,
    },
    pushes::Push,
};

impl Caller {
    /// Records the message in an answer to a pull. If there is none, returns an answer with a message that the node has not
    /// acknowledged.
    pub(super) fn pulled(&self, node: u64, answer: &Bytes) -> Option<Bytes> {
        match PullMessagesResponse::read(answer.clone())?.pulled() {
            Pulled::Message(id) => {
                self.store.record_delivery(self.peer, node, id, answer.clone());
                return None;
            }
            Pulled::Unconfirmed => return None,
            Pulled::Nothing => {}
        }
        let again = self.store.redeliver(self.peer, node)?;
        info!(node, "a message that did not arrive is handed out again");
        Some(again)
    }

    pub(super) fn confirmed(&self, request: &ConfirmMessageReceivedRequest) {
        if let Some(node) = &request.node {
            self.store.acknowledge(self.peer, node.node_id, &request.message_object_id);
        }
    }

    fn record(&self, push: &Push<'_>) {
        self.store.record_push(self.peer, push);
    }

    fn objects(&self, node: u64, run: u64) -> Push<'static> {
        Push::Objects { by: self.peer, node, run }
    }
}

/// A reply that is being pushed.
pub(super) struct PushedReply {
    caller: Caller,
    reply: Reply,
}

impl PushedReply {
    pub(super) fn new(caller: Caller, reply: Reply) -> Self {
        Self { caller, reply }
    }

    /// Records the push, whatever its outcome: the SuperLink may have handled it.
    pub(super) fn record(&self) -> bool {
        self.caller.record(&self.push());
        true
    }

    fn push(&self) -> Push<'_> {
        Push::Reply { by: self.caller.peer, node: self.reply.node, id: &self.reply.id }
    }

    /// Returns an answer that asks for objects, if the node has missed that of the SuperLink.
    pub(super) fn answered(&self, message: &Bytes) -> Option<Bytes> {
        let Caller { end, store, peer, .. } = &self.caller;
        let Reply { node, run, id, to, .. } = &self.reply;
        store.acknowledge(*peer, *node, to);
        let answer = PushMessagesResponse::read(message.clone())?;
        let any_object = self.caller.objects(*node, *run);
        if !answer.objects_to_push.is_empty() {
            if answer.session_id.is_empty() && store.is_known(&self.push()) {
                // The other end has replaced the answer, or the SuperLink does not support sessions.
                self.caller.record(&any_object);
            }
            if *end == End::Inbound {
                store.record_request(*peer, *node, id.clone(), answer.session_id, message.clone());
            }
            return None;
        }
        if let Some((again, session)) = store.repeat_request(*peer, *node, id) {
            if session.is_empty() {
                self.caller.record(&any_object);
            }
            store.log_limit.run(|| info!(node, "repeating the answer that asked for the objects of a reply"));
            return Some(again);
        }
        if !store.is_known(&self.push()) {
            return None;
        }
        self.caller.record(&any_object);
        let all = ask_for_all(message, self.reply.objects()?)?;
        store.log_limit.run(|| info!(node, "a reply was pushed again; asking for all its objects"));
        Some(all)
    }
}

impl Drop for PushedReply {
    fn drop(&mut self) {
        self.record();
    }
}

/// An object that is being pushed.
pub(super) struct PushedObject {
    caller: Caller,
    reader: Arc<Mutex<FieldReader>>,
    is_stored: AtomicBool,
}

impl PushedObject {
    pub(super) fn new(caller: Caller, reader: Arc<Mutex<FieldReader>>) -> Self {
        Self { caller, reader, is_stored: AtomicBool::new(false) }
    }

    /// Records the push, whatever its outcome, if the request is complete; returns whether it is.
    pub(super) fn record(&self) -> bool {
        let Some(ObjectPush { run, id, session, .. }) = &self.read() else { return false };
        self.caller.record(&Push::Object { by: self.caller.peer, run: *run, id, session });
        true
    }

    fn read(&self) -> Option<ObjectPush> {
        ObjectPush::read(&self.reader.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the answer "stored" if the SuperLink answered "not stored" and the object is stored.
    pub(super) fn answered(&self, message: &Bytes) -> Option<Bytes> {
        let Caller { end, store, peer, .. } = &self.caller;
        let ObjectPush { node, run, id, session } = &self.read()?;
        if !session.is_empty() {
            store.acknowledge_session(*peer, *node, session);
        }
        // At the outbound end, each peer has its own SuperLink.
        let is_stored = Push::Stored { at: (*end == End::Outbound).then_some(*peer), run: *run, id };
        if PushObjectResponse::read(message.clone())?.stored {
            store.record_push(*peer, &is_stored);
            self.is_stored.store(true, Relaxed);
            return None;
        }
        let was_pushed = store.is_known(&Push::Object { by: *peer, run: *run, id, session });
        let any_is_wanted = session.is_empty() && store.is_known(&self.caller.objects(*node, *run));
        if !(was_pushed || any_is_wanted || store.is_known(&is_stored)) {
            return None;
        }
        store.log_limit.run(|| {
            info!(node, "an object is stored, though the SuperLink answered otherwise when it was pushed again")
        });
        stored(message)
    }
}

impl Drop for PushedObject {
    fn drop(&mut self) {
        if !self.is_stored.load(Relaxed) {
            self.record();
        }
    }
}
