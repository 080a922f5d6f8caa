//! Shares the upstreams among peers: a bounded number of calls at a time, heartbeats first, then peer by peer.
//!
//! A SuperLink is one Python process. Calls that reach it at once are served together, slowly: 250 small calls of one peer
//! would delay the heartbeat of another by more than a second.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use iroh::EndpointId;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

/// How long a call counts as one that is being served. If the upstream takes longer to answer, others begin meanwhile: it
/// waits for something else than its turn, or it hangs.
const MAX_SERVICE: Duration = Duration::from_secs(2);
/// The heartbeats that are served at a time, besides other calls.
const HEARTBEATS: usize = 4;

/// What a call waits for in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// A call that is late after a few seconds.
    Heartbeat,
    /// Any other call.
    Ordinary,
}

/// The calls that wait for the upstreams, and those that are being served. Clones share the queue.
#[derive(Clone, Debug)]
pub(crate) struct FairQueue(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// The ordinary calls that are served at a time, of all peers and of one.
    capacity: usize,
    capacity_of_peer: usize,
    next_id: u64,
    /// By id, so that the first is the one that began first.
    in_service: BTreeMap<u64, InService>,
    peers: HashMap<EndpointId, Peer>,
    served: Counts,
    waiting: Counts,
}

#[derive(Debug)]
struct InService {
    peer: EndpointId,
    urgency: Urgency,
    since: Instant,
}

/// The calls of one peer.
#[derive(Debug, Default)]
struct Peer {
    served: Counts,
    heartbeats: Line,
    ordinary: Line,
}

/// The waiting calls of one peer and one urgency, in order.
#[derive(Debug, Default)]
struct Line {
    waiting: BTreeMap<u64, oneshot::Sender<u64>>,
    /// The last call that was served.
    last: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    heartbeats: usize,
    ordinary: usize,
}

/// A call that is being served. Drop it when the upstream has answered.
#[derive(Debug)]
pub(crate) struct Slot {
    queue: FairQueue,
    id: u64,
}

/// A call that waits. Dropping it leaves the queue.
struct Waiting<'a> {
    queue: &'a FairQueue,
    peer: EndpointId,
    urgency: Urgency,
    id: u64,
    served: oneshot::Receiver<u64>,
}

impl FairQueue {
    /// Creates a queue for upstreams that serve `capacity` ordinary calls at a time. A quarter of them is kept free of calls
    /// of the same peer.
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self(Arc::new(Mutex::new(State {
            capacity,
            capacity_of_peer: capacity - capacity / 4,
            next_id: 1,
            in_service: BTreeMap::new(),
            peers: HashMap::new(),
            served: Counts::default(),
            waiting: Counts::default(),
        })))
    }

    /// Waits until a call of `peer` may be sent to an upstream.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue.
    pub(crate) async fn slot(&self, peer: EndpointId, urgency: Urgency) -> Slot {
        let mut waiting = match self.enter(peer, urgency) {
            Ok(slot) => return slot,
            Err(waiting) => waiting,
        };
        loop {
            let overdue = self.lock().next_overdue();
            tokio::select! {
                biased;
                served = &mut waiting.served => if let Ok(id) = served {
                    return Slot { queue: self.clone(), id };
                },
                () = sleep_until(overdue) => self.lock().dispatch(),
            }
        }
    }

    fn enter(&self, peer: EndpointId, urgency: Urgency) -> Result<Slot, Waiting<'_>> {
        let mut state = self.lock();
        let id = state.next_id;
        state.next_id += 1;
        // Whoever waits is waited for by this call too, unless only its own peer's limit holds it back.
        if state.has_capacity(urgency) && state.peer_has_capacity(peer, urgency) && !state.has_waiting(peer, urgency) {
            state.serve(id, peer, urgency);
            return Ok(Slot { queue: self.clone(), id });
        }
        let (sender, served) = oneshot::channel();
        state.peers.entry(peer).or_default().line(urgency).waiting.insert(id, sender);
        *state.waiting.of(urgency) += 1;
        state.dispatch();
        Err(Waiting { queue: self, peer, urgency, id, served })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Serves waiting calls while there is capacity.
    fn dispatch(&mut self) {
        self.end_overdue();
        for urgency in [Urgency::Heartbeat, Urgency::Ordinary] {
            while *self.waiting.of(urgency) > 0 && self.has_capacity(urgency) {
                let Some(peer) = self.next_peer(urgency) else { break };
                let line = self.peers.entry(peer).or_default().line(urgency);
                let Some((id, sender)) = line.waiting.pop_first() else { break };
                line.last = self.next_id;
                self.next_id += 1;
                *self.waiting.of(urgency) -= 1;
                // Otherwise its caller has left.
                if sender.send(id).is_ok() {
                    self.serve(id, peer, urgency);
                } else {
                    self.forget_if_idle(peer);
                }
            }
        }
    }

    /// Returns the peer whose call is next: of those with the fewest calls in service, the one that was served longest ago.
    fn next_peer(&self, urgency: Urgency) -> Option<EndpointId> {
        let waiting = self.peers.iter().filter(|(peer, calls)| {
            !calls.line_ref(urgency).waiting.is_empty() && self.peer_has_capacity(**peer, urgency)
        });
        let next = waiting.min_by_key(|(_, calls)| (calls.served.get(urgency), calls.line_ref(urgency).last));
        next.map(|(peer, _)| *peer)
    }

    fn has_capacity(&self, urgency: Urgency) -> bool {
        match urgency {
            Urgency::Heartbeat => self.served.heartbeats < HEARTBEATS,
            Urgency::Ordinary => self.served.ordinary < self.capacity,
        }
    }

    fn peer_has_capacity(&self, peer: EndpointId, urgency: Urgency) -> bool {
        let served = self.peers.get(&peer).map_or(0, |calls| calls.served.get(urgency));
        match urgency {
            Urgency::Heartbeat => served < HEARTBEATS,
            Urgency::Ordinary => served < self.capacity_of_peer,
        }
    }

    /// Returns whether a call waits that has a claim before a new one of `peer`.
    fn has_waiting(&self, peer: EndpointId, urgency: Urgency) -> bool {
        if self.waiting.get(urgency) == 0 {
            return false;
        }
        let own = self.peers.get(&peer).is_some_and(|calls| !calls.line_ref(urgency).waiting.is_empty());
        own || self.next_peer(urgency).is_some()
    }

    fn serve(&mut self, id: u64, peer: EndpointId, urgency: Urgency) {
        self.in_service.insert(id, InService { peer, urgency, since: Instant::now() });
        *self.served.of(urgency) += 1;
        *self.peers.entry(peer).or_default().served.of(urgency) += 1;
    }

    /// Ends the service of a call; it may have ended already, as overdue.
    fn end(&mut self, id: u64) {
        let Some(InService { peer, urgency, .. }) = self.in_service.remove(&id) else { return };
        *self.served.of(urgency) -= 1;
        if let Some(calls) = self.peers.get_mut(&peer) {
            *calls.served.of(urgency) -= 1;
        }
        self.forget_if_idle(peer);
    }

    /// Ends the service of calls that the upstream has not answered in time.
    fn end_overdue(&mut self) {
        while let Some((id, call)) = self.in_service.first_key_value()
            && call.since.elapsed() >= MAX_SERVICE
        {
            let id = *id;
            self.end(id);
        }
    }

    /// Returns when the next call is overdue.
    fn next_overdue(&self) -> Instant {
        let oldest = self.in_service.first_key_value().map(|(_, call)| call.since);
        oldest.unwrap_or_else(Instant::now) + MAX_SERVICE
    }

    fn forget_if_idle(&mut self, peer: EndpointId) {
        if self.peers.get(&peer).is_some_and(Peer::is_idle) {
            self.peers.remove(&peer);
        }
    }
}

impl Peer {
    fn line(&mut self, urgency: Urgency) -> &mut Line {
        match urgency {
            Urgency::Heartbeat => &mut self.heartbeats,
            Urgency::Ordinary => &mut self.ordinary,
        }
    }

    fn line_ref(&self, urgency: Urgency) -> &Line {
        match urgency {
            Urgency::Heartbeat => &self.heartbeats,
            Urgency::Ordinary => &self.ordinary,
        }
    }

    fn is_idle(&self) -> bool {
        self.served == Counts::default() && self.heartbeats.waiting.is_empty() && self.ordinary.waiting.is_empty()
    }
}

impl Counts {
    fn of(&mut self, urgency: Urgency) -> &mut usize {
        match urgency {
            Urgency::Heartbeat => &mut self.heartbeats,
            Urgency::Ordinary => &mut self.ordinary,
        }
    }

    fn get(&self, urgency: Urgency) -> usize {
        match urgency {
            Urgency::Heartbeat => self.heartbeats,
            Urgency::Ordinary => self.ordinary,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.end(self.id);
        state.dispatch();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        let is_waiting = state.peers.get_mut(&self.peer).is_some_and(|calls| {
            let line = calls.line(self.urgency);
            line.waiting.remove(&self.id).is_some()
        });
        if is_waiting {
            *state.waiting.of(self.urgency) -= 1;
            state.forget_if_idle(self.peer);
        }
        // It was served, and has not noticed.
        if let Ok(id) = self.served.try_recv() {
            state.end(id);
            state.dispatch();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, future::join_all};
    use iroh::SecretKey;
    use tokio::time::advance;

    use super::*;

    fn peer() -> EndpointId {
        SecretKey::generate().public()
    }

    async fn all(queue: &FairQueue, peer: EndpointId, calls: usize) -> Vec<Slot> {
        join_all((0..calls).map(|_| queue.slot(peer, Urgency::Ordinary))).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_heartbeat_overtakes_the_calls_that_wait_and_needs_no_free_place_among_them() {
        let (queue, many, one) = (FairQueue::new(8), peer(), peer());
        let served = all(&queue, many, 6).await;
        let mut waiting: Vec<_> = (0..244).map(|_| Box::pin(queue.slot(many, Urgency::Ordinary))).collect();
        assert!(waiting.iter_mut().all(|slot| slot.as_mut().now_or_never().is_none()));
        let others = all(&queue, one, 2).await;
        assert!(queue.slot(one, Urgency::Heartbeat).now_or_never().is_some());
        assert!(queue.slot(one, Urgency::Ordinary).now_or_never().is_none());
        drop((served, others, waiting));
        assert!(queue.lock().peers.is_empty() && queue.lock().waiting == Counts::default());
    }

    #[tokio::test(start_paused = true)]
    async fn peers_are_served_in_turn_and_one_alone_has_three_quarters() {
        let (queue, many, one) = (FairQueue::new(8), peer(), peer());
        let mut served = all(&queue, many, 6).await;
        let mut waiting: Vec<_> = (0..10).map(|_| Box::pin(queue.slot(many, Urgency::Ordinary))).collect();
        assert!(waiting.iter_mut().all(|slot| slot.as_mut().now_or_never().is_none()), "two are kept for others");
        let mut others: Vec<_> = (0..6).map(|_| Box::pin(queue.slot(one, Urgency::Ordinary))).collect();
        let mut of_one: Vec<_> = others.iter_mut().filter_map(|slot| slot.as_mut().now_or_never()).collect();
        assert_eq!(of_one.len(), 2);
        // The next two places go to the peer with fewer calls, and then each has one in turn.
        served.truncate(4);
        of_one.extend(others.iter_mut().skip(2).filter_map(|slot| slot.as_mut().now_or_never()));
        assert_eq!((of_one.len(), queue.lock().peers[&many].served.ordinary), (4, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_leaves_the_queue_takes_no_place() {
        let (queue, one, other) = (FairQueue::new(1), peer(), peer());
        let served = queue.slot(one, Urgency::Ordinary).await;
        let mut first = Box::pin(queue.slot(one, Urgency::Ordinary));
        let mut second = Box::pin(queue.slot(other, Urgency::Ordinary));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        drop(served);
        // The first was served and leaves before it has noticed.
        drop(first);
        let second = second.await;
        assert_eq!(queue.lock().served.ordinary, 1);
        drop(second);
        assert!(queue.lock().peers.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_not_answered_does_not_hold_up_the_queue() {
        let (queue, one, other) = (FairQueue::new(4), peer(), peer());
        let hung = [all(&queue, one, 3).await, all(&queue, other, 1).await];
        let began = Instant::now();
        let next = queue.slot(other, Urgency::Ordinary).await;
        assert_eq!(began.elapsed(), MAX_SERVICE);
        drop((hung, next));
        assert_eq!(queue.lock().served, Counts::default());
        advance(MAX_SERVICE).await;
        assert!(queue.lock().in_service.is_empty());
    }
}
