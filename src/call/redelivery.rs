//! Three Fleet calls are not idempotent; the funnel replays them.
//!
//! A SuperNode makes a call again that got no answer. Three calls of the Fleet API do something else the second time (in
//! Flower 1.30 to 1.42):
//!
//! ```text
//! PullMessages   hands out a message once
//! PushMessages   asks for the objects of a reply, in a session, until the ServerApp has seen the reply    (from 1.33)
//! PushObject     stores an object that a session waits for, and says "not stored" when it comes again     (from 1.33)
//! ```
//! Each costs the node its round. The SuperLink is always asked first: it decides who may have anything. Then:
//!
//! - The inbound end carries these calls to their end even if their caller is gone, so that it sees the answer. It keeps a
//!   message that was handed out until the node has confirmed or answered it, and an answer that asked for objects until the
//!   node has used its session. Both go to the same peer and node only, an answer to the same reply only. One `PullMessages`
//!   is made at a time, while the SuperLink answers: what is on its way to a funnel that is killed, a SuperLink hands to no
//!   one again.
//! - Both ends remember what was pushed, whatever became of it, since either may be what breaks. An object that comes again
//!   and is "not stored" is stored. So is one of which the SuperLink said so in the same run, whoever pushed it: its id is the
//!   hash of its content.
//! - Where the answer to a reply was seen by neither, since the inbound end was killed, a reply that comes again and is asked
//!   for nothing is asked for all its objects, in no session. A SuperLink then stores those that any session waits for, that
//!   of another node's reply with the same object too; that node's own push is then "not stored", and known to be stored.
//!
//! All of it is forgotten after ten minutes.

mod answers;
mod background;
mod body;
mod calls;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod store;
mod messages;
mod pushes;
mod replay;
mod field_reader;
mod turns;

use std::{pin::Pin, sync::Arc};

use http::{Request, Response};
use iroh::EndpointId;

use self::store::{ReadReply, ReplayStore};
use crate::{
    hop::Body,
    protocol::{Api, CallError, Method, Wire},
};

/// What one end of the tunnel keeps of the calls of its peers. Clones are one.
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
    /// The node has the message that it pulled.
    Confirmation,
    /// The same, and it answers it.
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

/// A call whose answer may have to be replaced by another one.
#[derive(Debug)]
pub(crate) struct ReplayableCall {
    caller: Caller,
    kind: Kind,
    read: Option<ReadReply>,
}

/// Who makes a call, and what is kept of the calls.
#[derive(Clone, Debug)]
struct Caller {
    end: End,
    store: Arc<ReplayStore>,
    peer: EndpointId,
    wire: Wire,
}

impl Redelivery {
    /// Where a SuperLink is.
    pub(crate) fn inbound() -> Self {
        Self::at(End::Inbound)
    }

    /// Where SuperNodes are.
    pub(crate) fn outbound() -> Self {
        Self::at(End::Outbound)
    }

    fn at(end: End) -> Self {
        Self { end, store: Arc::default() }
    }

    /// A call that goes to `peer` or comes from it, if it is one of those that are replayed.
    pub(crate) fn watch(&self, peer: EndpointId, method: Option<&Method>, wire: Wire) -> Option<ReplayableCall> {
        let kind = Kind::of(self.end, method)?;
        let read = if kind == Kind::Reply { Some(self.store.read_reply(peer)?) } else { None };
        let caller = Caller { end: self.end, store: Arc::clone(&self.store), peer, wire };
        Some(ReplayableCall { caller, kind, read })
    }
}

impl ReplayableCall {
    /// Makes the call by `send` and returns its answer, or a better one. `permit` is held until the call has ended.
    ///
    /// Boxed: within its caller's future it would be moved with every call, and most are none of these.
    ///
    /// # Cancel safety
    /// Dropped at the inbound end, a call that the SuperLink may have got as a whole goes on for half a minute at most.
    pub(crate) fn carry<F, T>(
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
