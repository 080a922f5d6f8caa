//! One connection that is not authenticated yet.

use std::{
    net::IpAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tokio_util::sync::{CancellationToken, DropGuard};

use crate::transport::{ArrivalSlot, ArrivalSlots};

/// A connection that is not authenticated yet. Its request holds this until the client is registered or refused.
#[derive(Debug)]
pub(super) struct Arriving {
    state: Mutex<State>,
    has_begun: AtomicBool,
    displaced: CancellationToken,
    settled: DropGuard,
}

#[derive(Debug)]
struct State {
    /// Where it comes from, as far as it is known.
    client: IpAddr,
    slot: ArrivalSlot,
}

impl Arriving {
    pub(super) fn new(client: IpAddr, slot: ArrivalSlot, displaced: CancellationToken) -> Self {
        let settled = CancellationToken::new().drop_guard();
        Self { state: Mutex::new(State { client, slot }), has_begun: AtomicBool::new(false), displaced, settled }
    }

    /// Is cancelled when the slot goes to another connection.
    pub(super) fn displaced(&self) -> CancellationToken {
        self.displaced.clone()
    }

    /// Is cancelled when this is dropped.
    pub(super) fn settled(&self) -> CancellationToken {
        self.settled.token().clone()
    }

    pub(super) fn client(&self) -> IpAddr {
        self.lock().client
    }

    /// Records that it was not idle, and comes from `client`.
    pub(super) fn active(&self, client: IpAddr) {
        let mut state = self.lock();
        state.client = client;
        state.slot.active(&client.into());
    }

    /// Returns whether this is its first handshake.
    pub(super) fn begin_attempt(&self) -> bool {
        !self.has_begun.swap(true, Relaxed)
    }

    /// Moves it to the slots of those that have proven something.
    pub(super) fn prove(&self, proven: &ArrivalSlots) {
        let mut state = self.lock();
        if let Some(slot) = proven.take(state.client.into(), self.displaced.clone()) {
            state.slot = slot;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
