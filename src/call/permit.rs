//! Limits the calls that each peer has in progress: their number, their bytes, and how often it abandons them.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use iroh::EndpointId;
use pin_project_lite::pin_project;
use tokio::time::sleep;

use super::{
    abandoned::AbandonedCalls,
    peer_bytes::{CallBytes, PeerBytes},
};
use crate::{
    config::CallLimits,
    hop::Body,
    protocol::{BoxError, CallError},
    tunnel::Size,
};

/// Of the descriptors that are free, the part that one peer may have. With this, the peers that have the most have equal
/// shares, and some remain free for others.
const SHARE_OF_FREE: usize = 4;
/// Of a peer's calls, the part that only small ones may be.
const KEPT_FOR_SMALL: usize = 8;

/// The permits of all peers.
#[derive(Debug)]
pub(crate) struct Permits {
    limits: CallLimits,
    pool: Arc<Pool>,
    peers: Mutex<HashMap<EndpointId, PeerCalls>>,
}

/// The descriptors of all calls: each takes one towards an upstream over HTTP/1.1.
#[derive(Debug)]
struct Pool {
    max: usize,
    used: AtomicUsize,
}

/// The permits of one peer, shared by all its sessions.
#[derive(Clone, Debug)]
pub(crate) struct PeerCalls(Arc<Peer>);

#[derive(Debug)]
struct Peer {
    id: EndpointId,
    limits: CallLimits,
    pool: Arc<Pool>,
    in_progress: Mutex<InProgress>,
    abandoned: Mutex<AbandonedCalls>,
    bytes: PeerBytes,
}

#[derive(Clone, Copy, Debug, Default)]
struct InProgress {
    bulk: usize,
    small: usize,
}

/// A permit for one call of a peer, returned when its last clone is dropped: a call may outlive its response.
#[derive(Clone, Debug)]
pub(crate) struct CallPermit(Arc<Permitted>);

#[derive(Debug)]
struct Permitted {
    peer: Arc<Peer>,
    size: Size,
    progress: AtomicU8,
    bytes: CallBytes,
}

/// How far a call has got.
mod progress {
    pub(super) const RECEIVED: u8 = 0;
    /// An upstream may handle it.
    pub(super) const SENT: u8 = 1;
    /// Its caller has the whole response.
    pub(super) const COMPLETE: u8 = 2;
}

impl Permits {
    /// Creates the permits of all peers, whose calls may take `max_descriptors`.
    pub(crate) fn new(limits: CallLimits, max_descriptors: usize) -> Self {
        let pool = Arc::new(Pool { max: max_descriptors, used: AtomicUsize::new(0) });
        Self { limits, pool, peers: Mutex::default() }
    }

    /// Returns the permits of `peer`.
    pub(crate) fn of(&self, peer: EndpointId) -> PeerCalls {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        // One that has abandoned calls is remembered: a new link does not make up for them.
        peers.retain(|_, calls| Arc::strong_count(&calls.0) > 1 || !calls.0.abandoned().is_empty());
        let new = || {
            PeerCalls(Arc::new(Peer {
                id: peer,
                limits: self.limits.clone(),
                pool: Arc::clone(&self.pool),
                in_progress: Mutex::default(),
                abandoned: Mutex::default(),
                bytes: PeerBytes::new(self.limits.max_bytes_per_peer),
            }))
        };
        peers.entry(peer).or_insert_with(new).clone()
    }
}

impl PeerCalls {
    /// Acquires a permit for a call of this size.
    ///
    /// # Errors
    /// [`CallError`] with `UNAVAILABLE` if the peer has too many calls in progress.
    pub(crate) fn permit(&self, size: Size) -> Result<CallPermit, CallError> {
        let Peer { id, limits, pool, .. } = &*self.0;
        let mut in_progress = self.0.in_progress();
        let free = pool.max.saturating_sub(pool.used.load(Relaxed));
        let most = limits.max_calls_per_peer.min(free / SHARE_OF_FREE);
        let (InProgress { bulk, small }, kept) = (*in_progress, most / KEPT_FOR_SMALL);
        let has_room = match size {
            Size::Bulk => bulk + small < most && bulk < limits.max_bulk_calls_per_peer.min(most - kept),
            Size::Small => small < kept.max(most.saturating_sub(bulk)).max(1),
        };
        if !has_room {
            let (calls, of_kind) = match size {
                Size::Bulk => (bulk, " that may move megabytes"),
                Size::Small => (bulk + small, ""),
            };
            return Err(CallError::unavailable(format_args!(
                "peer {} has {calls} calls under way here{of_kind}, the most it may have",
                id.fmt_short()
            )));
        }
        in_progress.add(size);
        pool.used.fetch_add(1, Relaxed);
        drop(in_progress);
        let (progress, bytes) = (AtomicU8::new(progress::RECEIVED), self.0.bytes.call());
        Ok(CallPermit(Arc::new(Permitted { peer: Arc::clone(&self.0), size, progress, bytes })))
    }
}

impl InProgress {
    fn add(&mut self, size: Size) {
        *self.of(size) += 1;
    }

    fn remove(&mut self, size: Size) {
        *self.of(size) -= 1;
    }

    fn of(&mut self, size: Size) -> &mut usize {
        match size {
            Size::Bulk => &mut self.bulk,
            Size::Small => &mut self.small,
        }
    }
}

impl Peer {
    fn in_progress(&self) -> MutexGuard<'_, InProgress> {
        self.in_progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn abandoned(&self) -> MutexGuard<'_, AbandonedCalls> {
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallPermit {
    /// Returns the peer whose call it is.
    pub(crate) fn peer(&self) -> EndpointId {
        self.0.peer.id
    }

    /// Returns the limits of the peer's calls.
    pub(super) fn limits(&self) -> &CallLimits {
        &self.0.peer.limits
    }

    /// Returns the count of the bytes of this call.
    pub(super) fn bytes(&self) -> &CallBytes {
        &self.0.bytes
    }

    /// Waits while the peer has abandoned too many calls.
    pub(super) async fn pace(&self) {
        while let Some(delay) = self.abandoned_delay() {
            sleep(delay).await;
        }
    }

    fn abandoned_delay(&self) -> Option<Duration> {
        self.0.peer.abandoned().delay()
    }

    /// Records that an upstream may handle the call from now on.
    pub(super) fn sent(&self) {
        // One that is made again in the background may be complete.
        self.0.progress.fetch_max(progress::SENT, Relaxed);
    }

    /// Records that the caller has the whole response, or an error of this funnel.
    pub(super) fn complete(&self) {
        self.0.progress.store(progress::COMPLETE, Relaxed);
    }
}

impl Drop for Permitted {
    fn drop(&mut self) {
        if *self.progress.get_mut() == progress::SENT {
            self.peer.abandoned().record();
        }
        let mut in_progress = self.peer.in_progress();
        in_progress.remove(self.size);
        self.peer.pool.used.fetch_sub(1, Relaxed);
    }
}

pin_project! {
    /// A response body that holds its call's permit.
    pub(crate) struct PermitBody {
        #[pin]
        body: Body,
        permit: Option<CallPermit>,
    }

    impl PinnedDrop for PermitBody {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            // Not everyone polls for the end of a body that reports it.
            if let Some(permit) = this.permit && this.body.is_end_stream() {
                permit.complete();
            }
        }
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
        let this = self.project();
        let polled = this.body.poll_frame(cx);
        let is_over = match &polled {
            // Not everyone polls for the end after the trailers.
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers(),
            // An error breaks off the response, and it is not the caller's.
            Poll::Ready(None | Some(Err(_))) => true,
            Poll::Pending => false,
        };
        if let (true, Some(permit)) = (is_over, this.permit) {
            permit.complete();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, stream};
    use http::HeaderMap;
    use http_body_util::{BodyExt, StreamBody};
    use iroh::SecretKey;

    use super::*;
    use crate::hop;

    fn permits(max_descriptors: usize) -> Permits {
        Permits::new(
            CallLimits { max_calls_per_peer: 10, max_bulk_calls_per_peer: 6, ..CallLimits::default() },
            max_descriptors,
        )
    }

    fn peer() -> EndpointId {
        SecretKey::generate().public()
    }

    fn all(calls: &PeerCalls, size: Size) -> Vec<CallPermit> {
        std::iter::from_fn(|| calls.permit(size).ok()).collect()
    }

    #[test]
    fn bulk_calls_leave_places_for_small_ones_and_both_come_back() {
        let permits = permits(usize::MAX);
        let (one, other) = (permits.of(peer()), permits.of(peer()));
        let (bulk, small) = (all(&one, Size::Bulk), all(&one, Size::Small));
        assert_eq!((bulk.len(), small.len()), (6, 4));
        let error = one.permit(Size::Small).unwrap_err().to_string();
        assert!(error.ends_with("has 10 calls under way here, the most it may have"), "{error}");
        assert!(other.permit(Size::Bulk).is_ok());
        drop((bulk, small));
        assert_eq!(all(&one, Size::Small).len(), 10);
        assert_eq!(permits.pool.used.load(Relaxed), 0);
    }

    #[test]
    fn a_peer_has_a_part_of_the_free_descriptors_and_others_find_some() {
        let permits = permits(40);
        let peers: Vec<_> = (0..6).map(|_| permits.of(peer())).collect();
        let taken: Vec<_> = peers.iter().map(|calls| all(calls, Size::Small)).collect();
        let counts: Vec<_> = taken.iter().map(Vec::len).collect();
        assert_eq!(counts, [8, 6, 5, 4, 3, 3]);
        drop(taken);
        let bulk = all(&peers[0], Size::Bulk);
        assert!(
            bulk.len() == 6 && peers[0].permit(Size::Small).is_ok(),
            "a heartbeat passes beside its peer's uploads"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_counts_as_abandoned_only_if_it_was_sent_and_its_response_was_not_taken() {
        let permits = permits(usize::MAX);
        let calls = permits.of(peer());
        let abandoned = || calls.0.abandoned().is_empty();
        drop(calls.permit(Size::Small).unwrap());
        assert!(abandoned(), "it was not sent");
        let permit = calls.permit(Size::Small).unwrap();
        permit.sent();
        drop(PermitBody::new(hop::full(Bytes::new()), Some(permit)));
        assert!(abandoned(), "it is complete");
        let permit = calls.permit(Size::Small).unwrap();
        permit.sent();
        let trailers = stream::once(async { Ok::<_, BoxError>(Frame::trailers(HeaderMap::new())) });
        let mut answer = PermitBody::new(hop::boxed(StreamBody::new(trailers)), Some(permit));
        assert!(answer.frame().await.unwrap().unwrap().is_trailers());
        drop(answer);
        assert!(abandoned(), "it is complete with its trailers");
        let permit = calls.permit(Size::Small).unwrap();
        permit.sent();
        drop(PermitBody::new(hop::full("unread".into()), Some(permit)));
        assert!(!abandoned());

        let id = calls.0.id;
        drop(calls);
        let calls = permits.of(id);
        for _ in 0..300 {
            calls.permit(Size::Small).unwrap().sent();
        }
        drop(calls);
        let later = permits.of(id).permit(Size::Small).unwrap();
        assert!(later.pace().now_or_never().is_none(), "a new session does not make up for abandoned calls");
        later.pace().await;
    }
}
