//! A file with a peer in it, which its operator may replace.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};
use tracing::{debug, warn};

use super::{
    PeerAddr,
    peer::{InvalidPeer, read_peer},
};

/// How long a look waits for its disk. It goes on, and the next one has its result.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A file with a ticket, an invitation or an id, and what was last read from it.
#[derive(Debug)]
pub(crate) struct TicketFile {
    path: PathBuf,
    last: PeerAddr,
    /// Whether the last attempt to read it failed, so that a failure is logged once.
    is_unusable: bool,
    /// A look whose disk has not answered.
    looking: Option<JoinHandle<Result<PeerAddr, InvalidPeer>>>,
}

impl TicketFile {
    /// Returns the file that a peer was read from, if it was.
    pub(crate) fn of(peer: PeerAddr) -> Option<Self> {
        Some(Self { path: peer.file.clone()?, last: peer, is_unusable: false, looking: None })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file again, and returns the peer in it if that has changed. A file that cannot be used is logged once, and
    /// the last peer stays in use.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: a change is found the next time.
    pub(crate) async fn changed(&mut self) -> Option<PeerAddr> {
        let path = self.path.clone();
        let looking = self.looking.get_or_insert_with(|| spawn_blocking(move || read_peer(&path)));
        let read = timeout(TIMEOUT, looking).await.ok()?;
        self.looking = None;
        match read.ok()? {
            Ok(peer) => {
                self.is_unusable = false;
                (peer != self.last).then(|| self.last.clone_from(&peer))?;
                Some(peer)
            }
            Err(error) => {
                // It is being replaced, or belongs to another time.
                match std::mem::replace(&mut self.is_unusable, true) {
                    false if error.missing_file().is_none() => warn!("{error}; its last content stays in use"),
                    _ => debug!("{error}; its last content stays in use"),
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use iroh::{EndpointAddr, SecretKey};

    use super::*;
    use crate::address_lookup::{parse_peer, write_ticket};

    #[tokio::test]
    async fn a_ticket_file_is_read_again_and_one_that_cannot_be_used_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ticket");
        let addr = |port: u16| {
            EndpointAddr::from(SecretKey::from_bytes(&[7; 32]).public()).with_ip_addr(([127, 0, 0, 1], port).into())
        };
        write_ticket(&path, addr(1)).unwrap();
        let peer = parse_peer(&format!("@{}", path.display())).unwrap();
        let mut file = TicketFile::of(peer).unwrap();
        assert!(file.changed().await.is_none());
        for content in ["", "endpointab", "\u{0}"] {
            fs::write(&path, content).unwrap();
            assert!(file.changed().await.is_none());
        }
        fs::remove_file(&path).unwrap();
        assert!(file.changed().await.is_none());
        write_ticket(&path, addr(2)).unwrap();
        assert_eq!(file.changed().await.unwrap().addr(), &addr(2));
        assert!(file.changed().await.is_none());
        let ticket = iroh_tickets::endpoint::EndpointTicket::new(addr(2)).to_string();
        assert!(TicketFile::of(parse_peer(&ticket).unwrap()).is_none());
    }
}
