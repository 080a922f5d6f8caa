//! Limits how many calls each peer has in progress.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use iroh::EndpointId;
use pin_project_lite::pin_project;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    hop::{Body, settings::MAX_CALLS_OF_PEER},
    protocol::{BoxError, CallError, HELLO_PATH},
};

/// The permits of all peers.
#[derive(Debug, Default)]
pub(crate) struct Permits(Mutex<HashMap<EndpointId, Weak<Semaphore>>>);

/// The permits of one peer, shared by all its sessions.
#[derive(Clone, Debug)]
pub(crate) struct PeerCalls {
    peer: EndpointId,
    free: Arc<Semaphore>,
}

/// A permit for one call of a peer, returned when its last clone is dropped: a call may outlive its response.
#[derive(Clone, Debug)]
pub(crate) struct CallPermit {
    _permit: Arc<OwnedSemaphorePermit>,
}

pin_project! {
    /// A response body that holds its call's permit.
    pub(crate) struct PermitBody {
        #[pin]
        body: Body,
        permit: Option<CallPermit>,
    }
}

impl Permits {
    /// Returns the permits of `peer`.
    pub(crate) fn of(&self, peer: EndpointId) -> PeerCalls {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|_, free| free.strong_count() > 0);
        let free = peers.get(&peer).and_then(Weak::upgrade).unwrap_or_else(|| {
            let free = Arc::new(Semaphore::new(MAX_CALLS_OF_PEER));
            peers.insert(peer, Arc::downgrade(&free));
            free
        });
        PeerCalls { peer, free }
    }
}

impl PeerCalls {
    /// Acquires a permit for a call. Hello needs none: the funnel answers it itself, and a new link must not wait for the
    /// calls of a dead one.
    ///
    /// # Errors
    /// [`CallError`] with `UNAVAILABLE` if the peer has too many calls in progress.
    pub(crate) fn permit(&self, path: &str) -> Result<Option<CallPermit>, CallError> {
        if path == HELLO_PATH {
            return Ok(None);
        }
        let permit = Arc::clone(&self.free).try_acquire_owned().map_err(|_| {
            let peer = self.peer.fmt_short();
            CallError::unavailable(format_args!(
                "peer {peer} has {MAX_CALLS_OF_PEER} calls under way here, the most it may have"
            ))
        })?;
        Ok(Some(CallPermit { _permit: Arc::new(permit) }))
    }
}

impl PermitBody {
    pub(crate) fn new(body: Body, permit: Option<CallPermit>) -> Self {
        Self { body, permit }
    }
}

impl HttpBody for PermitBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
