//! How many calls each peer has under way.

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
    protocol::{BoxError, Failure, HELLO_PATH},
};

/// The calls of all peers.
#[derive(Debug, Default)]
pub(crate) struct Calls(Mutex<HashMap<EndpointId, Weak<Semaphore>>>);

/// The calls of one peer, over all its sessions.
#[derive(Clone, Debug)]
pub(crate) struct CallsOfPeer {
    peer: EndpointId,
    free: Arc<Semaphore>,
}

/// What a call has of its peer's, until its last clone is gone. It goes with the request, for what outlives the response.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    _permit: Arc<OwnedSemaphorePermit>,
}

pin_project! {
    /// A response body that keeps its call's place.
    pub(crate) struct Counted {
        #[pin]
        body: Body,
        place: Option<Place>,
    }
}

impl Calls {
    pub(crate) fn of(&self, peer: EndpointId) -> CallsOfPeer {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|_, free| free.strong_count() > 0);
        let free = peers.get(&peer).and_then(Weak::upgrade).unwrap_or_else(|| {
            let free = Arc::new(Semaphore::new(MAX_CALLS_OF_PEER));
            peers.insert(peer, Arc::downgrade(&free));
            free
        });
        CallsOfPeer { peer, free }
    }
}

impl CallsOfPeer {
    /// A place for a call. Hello needs none: it asks nobody, and a new link must not wait for the calls of a dead one.
    ///
    /// # Errors
    /// An unavailable [`Failure`] when the peer has too many calls under way.
    pub(crate) fn take(&self, path: &str) -> Result<Option<Place>, Failure> {
        if path == HELLO_PATH {
            return Ok(None);
        }
        let permit = Arc::clone(&self.free).try_acquire_owned().map_err(|_| {
            let peer = self.peer.fmt_short();
            Failure::unavailable(format_args!("peer {peer} has {MAX_CALLS_OF_PEER} calls under way here, and not more"))
        })?;
        Ok(Some(Place { _permit: Arc::new(permit) }))
    }
}

impl Counted {
    pub(crate) fn new(body: Body, place: Option<Place>) -> Self {
        Self { body, place }
    }
}

impl HttpBody for Counted {
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
