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
/// The prompt calls that are served at a time, and the open ones, besides the ordinary ones.
const FEW: usize = 4;

/// What a call waits for in the queue. Each kind has a capacity of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// A heartbeat, which is late after a few seconds, or a poll, of which one is made at a time.
    Prompt,
    /// A call whose request was received.
    Ordinary,
    /// A call whose request may be a stream that its sender has not ended.
    Open,
}

/// A number for each urgency.
type Counts = [usize; Urgency::ALL.len()];

/// The calls that wait for the upstreams, and those that are being served. Clones share the queue.
#[derive(Clone, Debug)]
pub(crate) struct FairQueue(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// The calls that are served at a time, of all peers and of one.
    capacity: Counts,
    capacity_of_peer: Counts,
    /// Counts calls as they enter and as they are served.
    next_number: u64,
    /// By number, so that the first is the one that is served longest.
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
    lines: [Line; Urgency::ALL.len()],
}

/// The waiting calls of one peer and one urgency, in order.
#[derive(Debug, Default)]
struct Line {
    waiting: BTreeMap<u64, oneshot::Sender<u64>>,
    /// When a call was last served, or else when the first one entered.
    last: u64,
}

/// A call that is being served. Drop it when the upstream has answered.
#[derive(Debug)]
pub(crate) struct Slot {
    queue: FairQueue,
    number: u64,
}

/// A call that waits. Dropping it leaves the queue.
struct Waiting<'a> {
    queue: &'a FairQueue,
    peer: EndpointId,
    urgency: Urgency,
    entered: u64,
    served: oneshot::Receiver<u64>,
}

impl Urgency {
    const ALL: [Self; 3] = [Self::Prompt, Self::Ordinary, Self::Open];
}

impl FairQueue {
    /// Creates a queue for upstreams that serve `capacity` ordinary calls at a time. A quarter of each capacity is kept free of
    /// calls of the same peer.
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = [FEW, capacity.max(1), FEW];
        Self(Arc::new(Mutex::new(State {
            capacity,
            capacity_of_peer: capacity.map(|all| all - all / 4),
            next_number: 1,
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
                served = &mut waiting.served => if let Ok(number) = served {
                    return Slot { queue: self.clone(), number };
                },
                () = sleep_until(overdue) => self.lock().dispatch(),
            }
        }
    }

    fn enter(&self, peer: EndpointId, urgency: Urgency) -> Result<Slot, Waiting<'_>> {
        let mut state = self.lock();
        let entered = state.number();
        // Whoever waits comes first, unless only its own peer's limit holds it back.
        if state.has_capacity(urgency) && state.has_capacity_for(peer, urgency) && state.next_peer(urgency).is_none() {
            state.serve(entered, peer, urgency);
            return Ok(Slot { queue: self.clone(), number: entered });
        }
        let (sender, served) = oneshot::channel();
        let line = &mut state.peers.entry(peer).or_default().lines[urgency as usize];
        line.waiting.insert(entered, sender);
        if line.last == 0 {
            line.last = entered;
        }
        state.waiting[urgency as usize] += 1;
        state.dispatch();
        Err(Waiting { queue: self, peer, urgency, entered, served })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    /// Serves waiting calls while there is capacity.
    fn dispatch(&mut self) {
        self.end_overdue();
        for urgency in Urgency::ALL {
            while self.has_capacity(urgency) {
                let Some(peer) = self.next_peer(urgency) else { break };
                let number = self.number();
                let line = &mut self.peers.entry(peer).or_default().lines[urgency as usize];
                let Some((_, sender)) = line.waiting.pop_first() else { break };
                line.last = number;
                self.waiting[urgency as usize] -= 1;
                // Otherwise its caller has left.
                if sender.send(number).is_ok() {
                    self.serve(number, peer, urgency);
                } else {
                    self.forget_if_idle(peer);
                }
            }
        }
    }

    /// Returns the peer whose call is next: of those with the fewest calls in service, the one that was served longest ago.
    fn next_peer(&self, urgency: Urgency) -> Option<EndpointId> {
        if self.waiting[urgency as usize] == 0 {
            return None;
        }
        let at = urgency as usize;
        let waiting = self
            .peers
            .iter()
            .filter(|(peer, calls)| !calls.lines[at].waiting.is_empty() && self.has_capacity_for(**peer, urgency));
        let next = waiting.min_by_key(|(_, calls)| (calls.served[at], calls.lines[at].last));
        next.map(|(peer, _)| *peer)
    }

    fn has_capacity(&self, urgency: Urgency) -> bool {
        self.served[urgency as usize] < self.capacity[urgency as usize]
    }

    fn has_capacity_for(&self, peer: EndpointId, urgency: Urgency) -> bool {
        let served = self.peers.get(&peer).map_or(0, |calls| calls.served[urgency as usize]);
        served < self.capacity_of_peer[urgency as usize]
    }

    fn serve(&mut self, number: u64, peer: EndpointId, urgency: Urgency) {
        self.in_service.insert(number, InService { peer, urgency, since: Instant::now() });
        self.served[urgency as usize] += 1;
        self.peers.entry(peer).or_default().served[urgency as usize] += 1;
    }

    /// Ends the service of a call; it may have ended already, as overdue.
    fn end(&mut self, number: u64) {
        let Some(InService { peer, urgency, .. }) = self.in_service.remove(&number) else { return };
        self.served[urgency as usize] -= 1;
        if let Some(calls) = self.peers.get_mut(&peer) {
            calls.served[urgency as usize] -= 1;
        }
        self.forget_if_idle(peer);
    }

    /// Ends the service of calls that the upstream has not answered in time.
    fn end_overdue(&mut self) {
        while let Some((number, call)) = self.in_service.first_key_value()
            && call.since.elapsed() >= MAX_SERVICE
        {
            let number = *number;
            self.end(number);
        }
    }

    /// Returns when the next call is overdue.
    fn next_overdue(&self) -> Instant {
        let oldest = self.in_service.first_key_value().map(|(_, call)| call.since);
        oldest.unwrap_or_else(Instant::now) + MAX_SERVICE
    }

    fn forget_if_idle(&mut self, peer: EndpointId) {
        let is_idle =
            |calls: &Peer| calls.served == Counts::default() && calls.lines.iter().all(|line| line.waiting.is_empty());
        if self.peers.get(&peer).is_some_and(is_idle) {
            self.peers.remove(&peer);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.end(self.number);
        state.dispatch();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        let line = |calls: &mut Peer| calls.lines[self.urgency as usize].waiting.remove(&self.entered).is_some();
        if state.peers.get_mut(&self.peer).is_some_and(line) {
            state.waiting[self.urgency as usize] -= 1;
            state.forget_if_idle(self.peer);
        }
        // It was served, and has not noticed.
        if let Ok(number) = self.served.try_recv() {
            state.end(number);
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
        let open = queue.slot(many, Urgency::Open).await;
        assert!(queue.slot(one, Urgency::Prompt).now_or_never().is_some());
        assert!(queue.slot(one, Urgency::Ordinary).now_or_never().is_none());
        drop((served, others, waiting, open));
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
        assert_eq!((of_one.len(), queue.lock().peers[&many].served[Urgency::Ordinary as usize]), (4, 4));
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
        assert_eq!(queue.lock().served[Urgency::Ordinary as usize], 1);
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

    #[tokio::test(start_paused = true)]
    async fn sites_with_one_call_at_a_time_are_served_equally_often() {
        let (queue, peers) = (FairQueue::new(4), (0..12).map(|_| peer()).collect::<Vec<_>>());
        let mut slots = Vec::new();
        let enter = |at: usize| Some(Box::pin(queue.slot(peers[at], Urgency::Ordinary)));
        let mut waiting: Vec<_> = (0..peers.len()).map(enter).collect();
        let mut turns = vec![0; peers.len()];
        for _ in 0..300 {
            for (at, slot) in waiting.iter_mut().enumerate() {
                if let Some(served) = slot.as_mut().and_then(|slot| slot.as_mut().now_or_never()) {
                    turns[at] += 1;
                    slots.push((at, served));
                    *slot = None;
                }
            }
            let (at, slot) = slots.remove(0);
            drop(slot);
            // Polls without an await use up the task's budget.
            tokio::task::yield_now().await;
            waiting[at] = enter(at);
        }
        assert!(turns.iter().all(|turns| (20..=30).contains(turns)), "{turns:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_waited_long_is_overdue_from_when_it_is_served() {
        let (queue, one, other) = (FairQueue::new(4), peer(), peer());
        let first = all(&queue, one, 3).await;
        let mut waited = Box::pin(queue.slot(one, Urgency::Ordinary));
        assert!(waited.as_mut().now_or_never().is_none());
        let hung = queue.slot(other, Urgency::Ordinary).await;
        advance(MAX_SERVICE / 2).await;
        drop(first);
        let served = waited.await;
        advance(MAX_SERVICE / 2).await;
        queue.lock().end_overdue();
        assert_eq!(
            queue.lock().served[Urgency::Ordinary as usize],
            1,
            "the one that hangs is overdue, and not the other"
        );
        drop((hung, served));
    }
}
