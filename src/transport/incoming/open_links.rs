//! The open links of one peer, and which of them is silent.

use std::{cmp::Reverse, time::Duration};

use iroh::endpoint::{Connection, WeakConnectionHandle};
use tokio::time::Instant;
use tracing::debug;

use super::{
    super::{LinkStats, silence::SilenceTimer},
    Code,
};

/// The interval between two samples, which are taken while another link waits for a place.
pub(super) const TICK: Duration = Duration::from_millis(250);
/// The time without a datagram after which a link gives way to another. A live link is silent for 2 s and a round trip at
/// most: after 2 s, the path keep-alive of [`quic_config`](super::super::quic_config) asks the peer for an acknowledgement.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(3);
/// The part of it for which an acknowledgement must have been missing: with a longer keep-alive, as iroh's own of 5 s, a peer
/// may be silent since it was sent nothing.
const ACK_TIMEOUT: Duration = Duration::from_secs(1);

/// The open links of one peer, oldest first.
#[derive(Debug, Default)]
pub(super) struct OpenLinks {
    links: Vec<OpenLink>,
    /// The number of samples taken so far.
    samples: u32,
    last_sample: Option<Instant>,
}

#[derive(Debug)]
struct OpenLink {
    id: usize,
    connection: WeakConnectionHandle,
    silence: SilenceTimer,
}

impl OpenLinks {
    pub(super) fn add(&mut self, connection: &Connection) {
        self.links.push(OpenLink {
            id: connection.stable_id(),
            connection: connection.weak_handle(),
            silence: SilenceTimer::new(LinkStats::with_probes(connection), TICK),
        });
    }

    /// Removes a link by its stable id.
    pub(super) fn remove(&mut self, id: usize) {
        self.links.retain(|link| link.id != id);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Returns the number of links that are not closed, and removes the others.
    pub(super) fn count(&mut self) -> usize {
        self.links.retain(|link| link.open().is_some());
        self.links.len()
    }

    /// Takes a sample, unless the last one was taken less than a tick ago, and returns the number of samples.
    pub(super) fn sample(&mut self) -> u32 {
        if self.last_sample.is_none_or(|last| last.elapsed() >= TICK) {
            self.last_sample = Some(Instant::now());
            self.samples = self.samples.wrapping_add(1);
            for link in &mut self.links {
                if let Some(connection) = link.open() {
                    link.silence.sample(LinkStats::with_probes(&connection));
                }
            }
        }
        self.samples
    }

    /// Closes the link that has been silent for longest, if any has been for too long, and returns whether there was one.
    ///
    /// Its peer, if it is only cut off, comes back as to any link that was given up.
    pub(super) fn close_silent(&mut self) -> bool {
        let silent = self.links.iter().enumerate().filter(|(_, link)| link.is_silent());
        let Some((at, _)) = silent.min_by_key(|(_, link)| Reverse(link.silence.since_received())) else {
            return false;
        };
        if let Some(connection) = self.links.remove(at).open() {
            debug!(peer = %connection.remote_id().fmt_short(), "a silent link gives way to a new one of its peer");
            connection.close(Code::CANCELLED.into(), b"no answer: it gives way to a new link of its peer");
        }
        true
    }

    /// Returns whether every link has received a datagram within the last `samples`.
    pub(super) fn all_received_within(&self, samples: u32) -> bool {
        self.links.iter().all(|link| link.silence.since_received() < TICK * samples)
    }
}

impl OpenLink {
    /// Returns the connection if it is neither dropped nor closed.
    fn open(&self) -> Option<Connection> {
        self.connection.upgrade().filter(|connection| connection.close_reason().is_none())
    }

    fn is_silent(&self) -> bool {
        self.silence.since_received() >= SILENCE_TIMEOUT && self.silence.elapsed() >= ACK_TIMEOUT
    }
}
