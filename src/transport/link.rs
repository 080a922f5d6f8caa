//! One QUIC connection, shared by its users.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures_util::StreamExt;
use iroh::{
    EndpointId,
    endpoint::{Connection, ConnectionError},
};

use super::{
    Code, LinkLost, Path, PeerInfo,
    stream::{BulkTurns, IrohStream, MemoryBudget},
};

/// A QUIC connection to one peer. Clones share it.
///
/// It stays open while a clone of it, a stream on it or, on the dialling side, its connector lives. When the last of these
/// is dropped, the link is closed with [`Code::DONE`].
#[derive(Clone, Debug)]
pub struct Link(Arc<Guard>);

/// Counters of one link since it was opened, from which a silent peer can be told.
///
/// While `ack_eliciting_sent` grows and `datagrams_received` does not, the peer is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkStats {
    /// QUIC frames sent that the peer has to acknowledge: stream data and pings.
    pub ack_eliciting_sent: u64,
    /// UDP datagrams received.
    pub datagrams_received: u64,
}

impl LinkStats {
    pub(crate) fn of(connection: &Connection) -> Self {
        let stats = connection.stats();
        Self {
            ack_eliciting_sent: stats.frame_tx.stream + stats.frame_tx.ping,
            datagrams_received: stats.udp_rx.datagrams,
        }
    }

    /// As [`of`](Self::of), and counts the probes by which noq asks for the acknowledgement of other frames, such as those
    /// that change a path.
    pub(super) fn with_probes(connection: &Connection) -> Self {
        let mut stats = Self::of(connection);
        stats.ack_eliciting_sent += connection.stats().frame_tx.immediate_ack;
        stats
    }
}

#[derive(Debug)]
struct Guard {
    connection: Connection,
    memory_budget: MemoryBudget,
    bulk_turns: BulkTurns,
    /// Closed by [`Link::give_up`], since the peer was silent for too long.
    is_silent: AtomicBool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.connection.close(Code::DONE.into(), b"");
    }
}

impl Link {
    pub(super) fn new(connection: Connection) -> Self {
        Self::with_memory_budget(connection, MemoryBudget::default())
    }

    /// Creates a link whose unread data counts towards `memory_budget`, which the peer's other links share.
    pub(super) fn with_memory_budget(connection: Connection, memory_budget: MemoryBudget) -> Self {
        Self(Arc::new(Guard {
            connection,
            memory_budget,
            bulk_turns: BulkTurns::default(),
            is_silent: AtomicBool::new(false),
        }))
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.0.connection
    }

    pub(super) fn memory_budget(&self) -> &MemoryBudget {
        &self.0.memory_budget
    }

    pub(super) fn bulk_turns(&self) -> &BulkTurns {
        &self.0.bulk_turns
    }

    /// Returns the peer's public key.
    pub fn peer(&self) -> EndpointId {
        self.connection().remote_id()
    }

    /// Returns what a request handler learns about the peer.
    pub fn peer_info(&self) -> PeerInfo {
        PeerInfo::of(self.connection())
    }

    /// Returns the network path in use; `None` if there are several and none is selected.
    pub fn path(&self) -> Option<Path> {
        Path::of(self.connection())
    }

    /// Waits until the path in use satisfies `wanted`, and returns it; `None` when the link is closed.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn path_where(&self, mut wanted: impl FnMut(&Path) -> bool) -> Option<Path> {
        let mut changes = self.connection().paths_stream();
        while changes.next().await.is_some() {
            if let Some(path) = self.path().filter(&mut wanted) {
                return Some(path);
            }
        }
        None
    }

    /// Returns the counters of this link.
    pub fn stats(&self) -> LinkStats {
        LinkStats::of(self.connection())
    }

    /// Opens a bi-stream. The peer sees it once the first byte is written.
    ///
    /// Waits while the peer's limit of concurrent streams is reached.
    ///
    /// # Errors
    /// [`LinkLost`] if the link is closed, with the peer's close reason where it gave one.
    ///
    /// # Cancel safety
    /// Dropping the future opens nothing.
    pub async fn open(&self) -> Result<IrohStream, LinkLost> {
        match self.connection().open_bi().await {
            Ok((send, recv)) => Ok(IrohStream::new(send, recv, self.clone())),
            Err(reason) => Err(self.lost(reason)),
        }
    }

    /// Waits for the next bi-stream that the peer opens.
    ///
    /// # Errors
    /// [`LinkLost`] if the link is closed, with the peer's close reason where it gave one.
    ///
    /// # Cancel safety
    /// Dropping the future loses no stream.
    pub async fn accept(&self) -> Result<IrohStream, LinkLost> {
        match self.connection().accept_bi().await {
            Ok((send, recv)) => Ok(IrohStream::new(send, recv, self.clone())),
            Err(reason) => Err(self.lost(reason)),
        }
    }

    /// Closes the link for all its users, at once. `reason` (at most 1 KiB) is meant for the peer's operator.
    ///
    /// Data that the peer has not received yet is lost: finish streams first.
    pub fn close(&self, code: Code, reason: &str) {
        self.connection().close(code.into(), reason.as_bytes());
    }

    /// Closes the link for all its users, and has it report that the peer fell silent.
    #[cfg(feature = "funnel")]
    pub(crate) fn give_up(&self) -> LinkLost {
        self.0.is_silent.store(true, Ordering::Relaxed);
        self.close(Code::CANCELLED, "no answer");
        self.lost(ConnectionError::LocallyClosed)
    }

    /// Waits until the link is closed by either side or lost, and returns why.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn closed(&self) -> LinkLost {
        let reason = self.connection().closed().await;
        self.lost(reason)
    }

    /// Returns why the link is closed; `None` while it is open.
    pub fn close_reason(&self) -> Option<LinkLost> {
        self.connection().close_reason().map(|reason| self.lost(reason))
    }

    pub(super) fn lost(&self, reason: ConnectionError) -> LinkLost {
        let is_silent = reason == ConnectionError::LocallyClosed && self.0.is_silent.load(Ordering::Relaxed);
        LinkLost::new(self.peer(), if is_silent { ConnectionError::TimedOut } else { reason })
    }
}
