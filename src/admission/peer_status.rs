//! When peers were seen, by which path, and what they moved: for `flower-iroh-funnel peers`, which reads the file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use iroh::EndpointId;
use serde::{Deserialize, Serialize};
use tokio::{task::spawn_blocking, time::sleep};
use tracing::warn;

use super::{Admission, LinkReport, Timestamp};
use crate::atomic_file;

/// Between two looks at the links. What a link moved after the last one before its end is not counted.
const INTERVAL: Duration = Duration::from_secs(5);
const MAX_FILE: u64 = 16 << 20;
/// Peers that are remembered: where everybody is let in, anybody may come under any number of keys.
const MAX_PEERS: usize = 16_384;

/// What a funnel has seen of its peers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FunnelStatus {
    /// The ticket under which the funnel was last reached.
    #[serde(default)]
    pub ticket: Option<String>,
    /// By endpoint id.
    #[serde(default)]
    pub peers: BTreeMap<EndpointId, PeerStatus>,
}

/// What a funnel has seen of one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PeerStatus {
    /// When it last had a link.
    pub seen: Timestamp,
    /// The path of its link, `None` when it has none.
    pub path: Option<String>,
    /// UDP payload sent to it, in bytes, since it was first seen.
    pub sent: u64,
    /// UDP payload received from it, in bytes, since it was first seen.
    pub received: u64,
}

/// The file with them.
#[derive(Clone, Debug)]
pub struct StatusFile {
    path: PathBuf,
}

impl StatusFile {
    /// The file beside a roster.
    pub fn of_roster(roster: &Path) -> Self {
        Self { path: roster.with_extension("seen.json") }
    }

    /// What it holds: nothing, if there is no such file or none that can be read.
    pub fn load(&self) -> FunnelStatus {
        let text = atomic_file::read(&self.path, MAX_FILE).ok().flatten();
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    fn store(&self, sightings: &FunnelStatus) -> std::io::Result<()> {
        let json = serde_json::to_vec_pretty(sightings).expect("texts and numbers are JSON");
        atomic_file::replace(&self.path, &json)
    }
}

/// Watches the links of peers and keeps the file, for ever. `ticket` tells where this funnel is.
pub(crate) async fn watch(file: StatusFile, admission: Admission, ticket: impl Fn() -> String) {
    let (mut stored, mut counted) = (file.load(), BTreeMap::new());
    let mut is_failing = false;
    let mut sightings = stored.clone();
    loop {
        sightings.look(&admission.reports(), &mut counted);
        sightings.forget(MAX_PEERS, |peer| admission.is_on_roster(peer));
        sightings.ticket = Some(ticket());
        if sightings != stored {
            let (to, now) = (file.clone(), sightings.clone());
            match spawn_blocking(move || to.store(&now)).await {
                Ok(Ok(())) => (stored, is_failing) = (sightings.clone(), false),
                Ok(Err(error)) if !std::mem::replace(&mut is_failing, true) => {
                    warn!(path = %file.path.display(), %error, "cannot write what is known of peers");
                }
                _ => {}
            }
        }
        sleep(INTERVAL).await;
    }
}

/// By link, what of its traffic is counted already.
type Counted = BTreeMap<u64, (u64, u64)>;

impl FunnelStatus {
    fn look(&mut self, links: &[LinkReport], counted: &mut Counted) {
        for sighting in self.peers.values_mut() {
            sighting.path = None;
        }
        let now = Timestamp::now();
        for link in links {
            let (sent, received) = counted.insert(link.number, (link.sent, link.received)).unwrap_or_default();
            let new = PeerStatus { seen: now, path: None, sent: 0, received: 0 };
            let sighting = self.peers.entry(link.peer).or_insert(new);
            sighting.seen = now;
            sighting.path = link.path.clone().or(sighting.path.take());
            sighting.sent += link.sent - sent;
            sighting.received += link.received - received;
        }
        counted.retain(|number, _| links.iter().any(|link| link.number == *number));
    }

    /// Forgets those past so many: first who is not on the roster, and of these who was seen longest ago.
    fn forget(&mut self, max: usize, is_on_roster: impl Fn(EndpointId) -> bool) {
        let excess = self.peers.len().saturating_sub(max);
        if excess == 0 {
            return;
        }
        let mut all: Vec<_> =
            self.peers.iter().map(|(peer, sighting)| (is_on_roster(*peer), sighting.seen, *peer)).collect();
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
        let (mut sightings, mut counted) = (FunnelStatus::default(), Counted::new());
        sightings.look(&[link(1, 10)], &mut counted);
        sightings.look(&[link(1, 15), link(2, 1)], &mut counted);
        sightings.look(&[link(2, 4)], &mut counted);
        let seen = &sightings.peers[&peer];
        assert_eq!((seen.sent, seen.received, seen.path.as_deref()), (19, 38, Some("direct")));
        sightings.look(&[], &mut counted);
        assert_eq!(sightings.peers[&peer].path, None);
        assert!(counted.is_empty());

        let folder = tempfile::tempdir().unwrap();
        let file = StatusFile::of_roster(&folder.path().join("peers.toml"));
        assert_eq!(file.load(), FunnelStatus::default());
        file.store(&sightings).unwrap();
        assert_eq!(file.load(), sightings);
    }

    #[test]
    fn past_so_many_those_are_forgotten_who_are_not_on_the_roster_and_were_seen_longest_ago() {
        let peers: Vec<_> = (0..6).map(|_| SecretKey::generate().public()).collect();
        let seen = |peer| LinkReport { number: 1, peer, path: None, sent: 0, received: 0 };
        let (mut sightings, member) = (FunnelStatus::default(), peers[0]);
        for (age, peer) in peers.iter().enumerate() {
            sightings.look(&[seen(*peer)], &mut Counted::new());
            let moment = Timestamp::now().plus(Duration::from_secs(60 * age as u64));
            sightings.peers.get_mut(peer).unwrap().seen = moment;
        }
        sightings.forget(3, |peer| peer == member);
        assert!([member, peers[4], peers[5]].iter().all(|peer| sightings.peers.contains_key(peer)));
        assert_eq!(sightings.peers.len(), 3);
    }
}
