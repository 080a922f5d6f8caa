//! The status of a funnel's peers, in a file that `flower-iroh-funnel peers` reads: last link, path and traffic.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use iroh::EndpointId;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
    time::timeout,
};
use tracing::warn;

use super::{Admission, LinkReport, Timestamp, roster::RosterHealth};
use crate::{atomic_file, report::OnChange};

/// The interval between two samples of the links. What a link moves between its last sample and its end is not counted.
const INTERVAL: Duration = Duration::from_secs(5);
/// The longest file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;
/// The most peers that are kept: where every peer is admitted, one may come with any number of keys.
const MAX_PEERS: usize = 16_384;

/// The status of a funnel and its peers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FunnelStatus {
    /// The ticket under which the funnel was last reached.
    #[serde(default)]
    pub ticket: Option<String>,
    /// Whether the funnel can follow its roster; `None` if it has none, or is of an older release.
    #[serde(default)]
    pub roster: Option<RosterHealth>,
    /// The peers, by endpoint id.
    #[serde(default)]
    pub peers: BTreeMap<EndpointId, PeerStatus>,
}

/// The status of one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PeerStatus {
    /// When it last had a link.
    pub seen: Timestamp,
    /// The path of its link; `None` if it has no link.
    pub path: Option<String>,
    /// UDP payload sent to it, in bytes, since it was first seen.
    pub sent: u64,
    /// UDP payload received from it, in bytes, since it was first seen.
    pub received: u64,
}

/// The file with a funnel's status.
#[derive(Clone, Debug)]
pub struct StatusFile {
    path: PathBuf,
}

impl StatusFile {
    /// Returns the file beside a roster.
    pub fn of_roster(roster: &Path) -> Self {
        Self { path: roster.with_extension("seen.json") }
    }

    /// Reads the status; it is empty if there is no file, or none that can be read.
    pub fn load(&self) -> FunnelStatus {
        let text = atomic_file::read(&self.path, MAX_FILE).ok().flatten();
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    fn store(&self, status: &FunnelStatus) -> std::io::Result<()> {
        let json = serde_json::to_vec_pretty(status).expect("texts and numbers are JSON");
        atomic_file::replace(&self.path, &json)
    }
}

/// Asks the task that keeps the file up to date to do so now.
#[derive(Debug)]
pub(crate) struct SaveRequests {
    sender: mpsc::Sender<oneshot::Sender<()>>,
    /// `None` once the task has taken it.
    receiver: Mutex<Option<mpsc::Receiver<oneshot::Sender<()>>>>,
}

impl SaveRequests {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(1);
        Self { sender, receiver: Mutex::new(Some(receiver)) }
    }

    /// Waits until the file has been written, or cannot be.
    pub(crate) async fn save(&self) {
        let (reply, saved) = oneshot::channel();
        if self.sender.send(reply).await.is_ok() {
            let _ = saved.await;
        }
    }

    pub(crate) fn take(&self) -> Option<mpsc::Receiver<oneshot::Sender<()>>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Samples the links of peers and keeps the file up to date, at intervals and on request, indefinitely. `ticket` returns this
/// funnel's ticket.
pub(crate) async fn watch(
    file: StatusFile,
    admission: Admission,
    ticket: impl Fn() -> String,
    mut requests: mpsc::Receiver<oneshot::Sender<()>>,
) {
    let (mut stored, mut counted) = (file.load(), Counted::new());
    let mut problem = OnChange::default();
    let mut status = stored.clone();
    let mut request: Option<oneshot::Sender<()>> = None;
    loop {
        status.update(&admission.reports(), &mut counted);
        status.prune(MAX_PEERS, |peer| admission.is_on_roster(peer));
        status.ticket = Some(ticket());
        status.roster = admission.roster_health();
        if status != stored {
            let (to, now) = (file.clone(), status.clone());
            match spawn_blocking(move || to.store(&now)).await {
                Ok(Ok(())) => {
                    stored = status.clone();
                    problem.clear();
                }
                Ok(Err(error)) => problem.run(error.kind(), |_| {
                    warn!(path = %file.path.display(), %error, "cannot write the status of peers");
                }),
                Err(_) => {}
            }
        }
        if let Some(reply) = request.take() {
            let _ = reply.send(());
        }
        request = timeout(INTERVAL, requests.recv()).await.ok().flatten();
    }
}

/// The traffic that is counted already, by link.
type Counted = BTreeMap<u64, (u64, u64)>;

impl FunnelStatus {
    /// Adds the links' present state and the traffic that is not counted yet.
    fn update(&mut self, links: &[LinkReport], counted: &mut Counted) {
        for peer in self.peers.values_mut() {
            peer.path = None;
        }
        let now = Timestamp::now();
        for link in links {
            let (sent, received) = counted.insert(link.number, (link.sent, link.received)).unwrap_or_default();
            let new = PeerStatus { seen: now, path: None, sent: 0, received: 0 };
            let peer = self.peers.entry(link.peer).or_insert(new);
            peer.seen = now;
            peer.path = link.path.clone().or(peer.path.take());
            peer.sent += link.sent - sent;
            peer.received += link.received - received;
        }
        counted.retain(|number, _| links.iter().any(|link| link.number == *number));
    }

    /// Removes peers past a maximum: first those that are not on the roster, of these the ones seen longest ago.
    fn prune(&mut self, max: usize, is_on_roster: impl Fn(EndpointId) -> bool) {
        let excess = self.peers.len().saturating_sub(max);
        if excess == 0 {
            return;
        }
        let mut all: Vec<_> = self.peers.iter().map(|(id, peer)| (is_on_roster(*id), peer.seen, *id)).collect();
        all.sort();
        for (_, _, peer) in all.into_iter().take(excess) {
            self.peers.remove(&peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use iroh::SecretKey;

    use super::*;

    #[test]
    fn traffic_adds_up_over_links_and_is_kept() {
        let peer = SecretKey::generate().public();
        let link =
            |number, sent| LinkReport { number, peer, path: Some("direct".to_owned()), sent, received: 2 * sent };
        let (mut status, mut counted) = (FunnelStatus::default(), Counted::new());
        status.update(&[link(1, 10)], &mut counted);
        status.update(&[link(1, 15), link(2, 1)], &mut counted);
        status.update(&[link(2, 4)], &mut counted);
        let seen = &status.peers[&peer];
        assert_eq!((seen.sent, seen.received, seen.path.as_deref()), (19, 38, Some("direct")));
        status.update(&[], &mut counted);
        assert_eq!(status.peers[&peer].path, None);
        assert!(counted.is_empty());

        let folder = tempfile::tempdir().unwrap();
        let file = StatusFile::of_roster(&folder.path().join("peers.toml"));
        assert_eq!(file.load(), FunnelStatus::default());
        file.store(&status).unwrap();
        assert_eq!(file.load(), status);
    }

    #[test]
    fn past_the_maximum_peers_off_the_roster_that_were_seen_longest_ago_are_removed_first() {
        let peers: Vec<_> = (0..6).map(|_| SecretKey::generate().public()).collect();
        let seen = |peer| LinkReport { number: 1, peer, path: None, sent: 0, received: 0 };
        let (mut status, member) = (FunnelStatus::default(), peers[0]);
        for (age, peer) in peers.iter().enumerate() {
            status.update(&[seen(*peer)], &mut Counted::new());
            let moment = Timestamp::now().plus(Duration::from_secs(60 * age as u64));
            status.peers.get_mut(peer).unwrap().seen = moment;
        }
        status.prune(3, |peer| peer == member);
        assert!([member, peers[4], peers[5]].iter().all(|peer| status.peers.contains_key(peer)));
        assert_eq!(status.peers.len(), 3);
    }
}
