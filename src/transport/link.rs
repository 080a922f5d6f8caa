//! One QUIC connection, and who keeps it open.

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
    stream::{Budget, IrohStream, Turns},
};

/// A QUIC connection to one peer.
///
/// It stays open while a clone of it, a stream on it or, on the dialling side, its connector lives. When the last
/// of them is dropped it is closed with [`Code::DONE`].
#[derive(Clone, Debug)]
pub struct Link(Arc<Guard>);

/// What tells whether the peer answers: where `asking` grows and `received` stands still, it is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// QUIC frames sent that the peer has to acknowledge: those with data, and pings.
    pub asking: u64,
    /// UDP datagrams received.
    pub received: u64,
}

impl Traffic {
    pub(crate) fn of(connection: &Connection) -> Self {
        let stats = connection.stats();
        Self { asking: stats.frame_tx.stream + stats.frame_tx.ping, received: stats.udp_rx.datagrams }
    }
}

#[derive(Debug)]
struct Guard {
    connection: Connection,
    budget: Budget,
    turns: Turns,
    /// The peer has been silent for too long.
    is_given_up: AtomicBool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.connection.close(Code::DONE.into(), b"");
    }
}

impl Link {
    pub(super) fn new(connection: Connection) -> Self {
        Self::sharing(connection, Budget::default())
    }

    /// A link whose unread data counts together with that of its peer's other links.
    pub(super) fn sharing(connection: Connection, budget: Budget) -> Self {
        Self(Arc::new(Guard { connection, budget, turns: Turns::default(), is_given_up: AtomicBool::new(false) }))
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.0.connection
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.0.budget
    }

    pub(super) fn turns(&self) -> &Turns {
        &self.0.turns
    }

    /// The peer's public key.
    pub fn peer(&self) -> EndpointId {
        self.connection().remote_id()
    }

    /// The peer as a request handler sees it.
    pub fn peer_info(&self) -> PeerInfo {
        PeerInfo::of(self.connection())
    }

    /// The network path in use, `None` when there are several and none is selected.
    pub fn path(&self) -> Option<Path> {
        Path::of(self.connection())
    }

    /// Waits until the path in use is one that is `wanted`, and returns it; `None` when the link is closed.
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

    /// What has gone to and fro since the link was opened.
    pub fn traffic(&self) -> Traffic {
        Traffic::of(self.connection())
    }

    /// Opens a bi-stream. The peer notices it with the first byte written.
    ///
    /// Waits while the peer's limit of concurrent streams is reached.
    ///
    /// # Errors
    /// [`LinkLost`] when the link is closed.
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
    /// [`LinkLost`] when the link is closed.
    ///
    /// # Cancel safety
    /// Dropping the future loses no stream.
    pub async fn accept(&self) -> Result<IrohStream, LinkLost> {
        match self.connection().accept_bi().await {
            Ok((send, recv)) => Ok(IrohStream::new(send, recv, self.clone())),
            Err(reason) => Err(self.lost(reason)),
        }
    }

    /// Closes the link for everyone on it; `reason` is what the peer's operator reads (at most 1 KiB).
    ///
    /// What the peer has not received yet is lost: finish streams first.
    pub fn close(&self, code: Code, reason: &str) {
        self.connection().close(code.into(), reason.as_bytes());
    }

    /// Ends the link for everyone on it, as one whose peer has fallen silent.
    #[cfg(feature = "funnel")]
    pub(crate) fn give_up(&self) -> LinkLost {
        self.0.is_given_up.store(true, Ordering::Relaxed);
        self.close(Code::CANCELLED, "no answer");
        self.lost(ConnectionError::LocallyClosed)
    }

    /// Waits until the link is closed by either side or lost.
    pub async fn closed(&self) -> LinkLost {
        let reason = self.connection().closed().await;
        self.lost(reason)
    }

    /// Why the link is closed, `None` while it is open.
    pub fn close_reason(&self) -> Option<LinkLost> {
        self.connection().close_reason().map(|reason| self.lost(reason))
    }

    pub(super) fn lost(&self, reason: ConnectionError) -> LinkLost {
        let is_silent = reason == ConnectionError::LocallyClosed && self.0.is_given_up.load(Ordering::Relaxed);
        LinkLost::new(self.peer(), if is_silent { ConnectionError::TimedOut } else { reason })
    }
}
