//! Three Fleet calls are not idempotent; the funnel replays them.
//!
//! A SuperNode repeats a call that was not answered. Three calls of the Fleet API have a different effect the second time (in
//! Flower 1.30 to 1.42):
//!
//! ```text
//! PullMessages   hands out a message once
//! PushMessages   asks for the objects of a reply, in a session, until the ServerApp has seen the reply    (from 1.33)
//! PushObject     stores an object that a session waits for, and answers "not stored" to a repetition       (from 1.33)
//! ```
//! Each costs the node its round. The SuperLink is always asked first, so that it decides about every access. It compares the
//! node of the request with the key that has signed it. This funnel reads the same node, since it reads a message only if
//! [every reader reads the same](strict); any other is forwarded without a record, an acknowledgement or a replay. Then:
//!
//! - The inbound end completes these calls even if the caller has disconnected, so that it receives the answer. It stores a
//!   message that was handed out until the node has confirmed or answered it, and an answer that asked for objects until the
//!   node has used its session. Both are redelivered only to the same peer and node, and an answer only for the same reply.
//!   One `PullMessages` is in progress at a time, until the SuperLink answers: a SuperLink does not hand out again what was
//!   on its way to a funnel that was killed.
//! - Both ends record what was pushed, whatever the outcome, since either may fail. If a repeated object is "not stored", it
//!   counts as stored. So does an object that the SuperLink reported as stored in the same run, whichever peer pushed it: its
//!   id is the hash of its content.
//! - If neither end received the answer to a reply, because the inbound end was killed, and the SuperLink asks for nothing
//!   when the reply is repeated, the funnel asks for all its objects, without a session. The SuperLink then stores those that
//!   any session waits for, including the session of another node whose reply has the same object. That node's own push is
//!   then "not stored", but is known to be stored.
//!
//! All records are dropped after ten minutes.

mod answers;
mod background;
mod body;
mod calls;
mod field_reader;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod messages;
mod peers;
mod pushes;
mod replay;
mod shares;
mod store;
mod strict;
mod turns;

use std::{pin::Pin, sync::Arc};

use http::{Request, Response};
use iroh::EndpointId;

use self::store::{ReadReply, ReplayStore};
use crate::{
    hop::Body,
    protocol::{Api, CallError, Method, Wire},
};

/// The records of the calls of peers, at one end of the tunnel. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Redelivery {
    end: End,
    store: Arc<ReplayStore>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Inbound,
    Outbound,
}

/// A call that is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pull,
    /// Confirms that the node has received the message that it pulled.
    Confirmation,
    /// Answers a message, which also confirms it.
    Reply,
    Object,
}

impl Kind {
    fn of(end: End, method: Option<&Method>) -> Option<Self> {
        match (method.filter(|method| method.api() == Api::Fleet)?.name(), end) {
            ("PullMessages", End::Inbound) => Some(Self::Pull),
            ("ConfirmMessageReceived", End::Inbound) => Some(Self::Confirmation),
            ("PushMessages", _) => Some(Self::Reply),
            ("PushObject", _) => Some(Self::Object),
            _ => None,
        }
    }
}

/// A call whose answer may have to be replaced.
#[derive(Debug)]
pub(crate) struct ReplayableCall {
    caller: Caller,
    kind: Kind,
    read: Option<ReadReply>,
}

/// The caller of a call, and the store for its records.
#[derive(Clone, Debug)]
struct Caller {
    end: End,
    store: Arc<ReplayStore>,
    peer: EndpointId,
    wire: Wire,
}

impl Redelivery {
    /// Creates the records of an inbound end, beside a SuperLink.
    pub(crate) fn inbound() -> Self {
        Self::at(End::Inbound)
    }

    /// Creates the records of an outbound end, beside SuperNodes.
    pub(crate) fn outbound() -> Self {
        Self::at(End::Outbound)
    }

    fn at(end: End) -> Self {
        Self { end, store: Arc::default() }
    }

    /// Returns the call, to or from `peer`, if it is one of those that are replayed.
    pub(crate) fn watch(&self, peer: EndpointId, method: Option<&Method>, wire: Wire) -> Option<ReplayableCall> {
        let kind = Kind::of(self.end, method)?;
        let read = if kind == Kind::Reply { Some(self.store.read_reply(peer)?) } else { None };
        let caller = Caller { end: self.end, store: Arc::clone(&self.store), peer, wire };
        Some(ReplayableCall { caller, kind, read })
    }
}

impl ReplayableCall {
    /// Forwards the call with `send`, and returns its answer or the one that replaces it. `permit` is held until the call has
    /// ended.
    ///
    /// The future is boxed: most calls are not of this kind, and their futures would grow by its size.
    ///
    /// # Cancel safety
    /// If the future is dropped at the inbound end after the SuperLink may have received the complete call, the call continues
    /// in the background for at most 30 s.
    pub(crate) fn forward<F, T>(
        self,
        request: Request<Body>,
        send: impl FnOnce(Request<Body>) -> F + Send + 'static,
        permit: T,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Body>, CallError>> + Send>>
    where
        F: Future<Output = Result<Response<Body>, CallError>> + Send + 'static,
        T: Send + 'static,
    {
        let Self { caller, kind, read } = self;
        match kind {
            Kind::Pull => Box::pin(caller.pull(request, send, permit)),
            Kind::Confirmation => Box::pin(caller.confirm(request, send)),
            Kind::Reply => Box::pin(caller.push_reply(request, send, (permit, read))),
            Kind::Object => Box::pin(caller.push_object(request, send, permit)),
        }
    }
}
