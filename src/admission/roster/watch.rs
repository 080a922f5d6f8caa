//! Follows the file while a funnel runs.

use std::{
    fs::{self, Metadata},
    time::{Duration, SystemTime},
};

use tokio::{sync::watch, task::spawn_blocking, time::timeout};
use tracing::{error, info};

use super::{Roster, RosterFile};
use crate::report::chain;

/// Between two looks: an operator who removes a peer should not have to wait.
const INTERVAL: Duration = Duration::from_millis(500);
/// File systems tell times apart that are this far from each other; most do far better.
const TICK: Duration = Duration::from_secs(2);

/// Makes a follower look at once. Clones nudge the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nudge {
    wanted: watch::Sender<u64>,
    looked: watch::Sender<u64>,
}

impl Nudge {
    /// Waits until what the file held when this was called is in force, or something newer. Waits for ever if nobody
    /// follows.
    pub(crate) async fn caught_up(&self) {
        let mut number = 0;
        self.wanted.send_modify(|wanted| {
            *wanted += 1;
            number = *wanted;
        });
        // The sender is here.
        let _ = self.looked.subscribe().wait_for(|looked| *looked >= number).await;
    }
}

/// Hands every new roster to `apply`, for ever. A file that cannot be used leaves the last one in force.
pub(crate) async fn follow(file: RosterFile, nudge: Nudge, mut apply: impl FnMut(Roster)) {
    let mut follower = Follower { file, seen: Stamp::Unknown, trouble: None };
    let mut wanted = nudge.wanted.subscribe();
    loop {
        // It cannot fail: the sender is here.
        let _ = timeout(INTERVAL, wanted.wait_for(|wanted| *wanted > *nudge.looked.borrow())).await;
        let number = *wanted.borrow_and_update();
        if let Some(roster) = follower.look().await {
            apply(roster);
        }
        nudge.looked.send_replace(number);
    }
}

struct Follower {
    file: RosterFile,
    seen: Stamp,
    /// What is wrong with the file, once it was said.
    trouble: Option<String>,
}

impl Follower {
    /// The roster to put in force, if there is a new one.
    async fn look(&mut self) -> Option<Roster> {
        let Look::New(stamp, read) = look(self.file.clone(), self.seen).await else { return None };
        // Some editors remove or empty a file before they write it again: once gone is not gone.
        let is_first_absence = stamp == Stamp::Absent && self.seen != Stamp::Absent;
        self.seen = stamp;
        match read {
            Ok(_) if is_first_absence => None,
            Ok(roster) => {
                if self.trouble.take().is_some() {
                    info!(path = %self.file.path().display(), "the roster is in force again");
                }
                Some(roster)
            }
            Err(problem) => {
                if self.trouble.as_ref() != Some(&problem) {
                    error!("{problem}; the roster before stays in force until this is mended");
                    self.trouble = Some(problem);
                }
                None
            }
        }
    }
}

/// By what a changed file is told from an unchanged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stamp {
    Unknown,
    /// There is none, or nothing in it.
    Absent,
    /// Written so recently that it may change once more without a sign of it.
    Fresh,
    Settled {
        modified: SystemTime,
        changed: SystemTime,
        len: u64,
    },
}

enum Look {
    Same,
    New(Stamp, Result<Roster, String>),
}

async fn look(file: RosterFile, seen: Stamp) -> Look {
    let look = spawn_blocking(move || {
        let stamp = fs::metadata(file.path()).map_or(Stamp::Absent, |metadata| Stamp::of(&metadata));
        if stamp == seen && matches!(stamp, Stamp::Settled { .. }) {
            return Look::Same;
        }
        match file.find() {
            Ok(Some(roster)) => Look::New(stamp, Ok(roster)),
            Ok(None) => Look::New(Stamp::Absent, Ok(Roster::default())),
            Err(error) => Look::New(stamp, Err(chain(&error))),
        }
    });
    look.await.unwrap_or(Look::Same)
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let Ok(modified) = metadata.modified() else { return Self::Fresh };
        let changed = changed(metadata).unwrap_or(modified);
        match changed.max(modified).elapsed() {
            Ok(age) if age > TICK => Self::Settled { modified, changed, len: metadata.len() },
            // Younger, or from a future that a wrong clock sees.
            _ => Self::Fresh,
        }
    }
}

/// When the file came to be as it is, which no copying, moving or touching sets back.
#[cfg(unix)]
fn changed(metadata: &Metadata) -> Option<SystemTime> {
    use std::os::unix::fs::MetadataExt;
    let since = Duration::new(metadata.ctime().try_into().ok()?, metadata.ctime_nsec().try_into().ok()?);
    SystemTime::UNIX_EPOCH.checked_add(since)
}

#[cfg(not(unix))]
fn changed(_: &Metadata) -> Option<SystemTime> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs::File;

    use iroh::SecretKey;

    use super::*;

    #[tokio::test]
    async fn a_damaged_file_puts_nothing_in_force_until_it_is_mended() {
        let folder = tempfile::tempdir().unwrap();
        let (file, nudge) = (RosterFile::new(folder.path().join("peers.toml")), Nudge::default());
        let (sender, mut in_force) = tokio::sync::mpsc::unbounded_channel();
        let _following = tokio_util::task::AbortOnDropHandle::new(tokio::spawn({
            let (file, nudge) = (file.clone(), nudge.clone());
            async move { follow(file, nudge, |roster| sender.send(roster).unwrap()).await }
        }));
        let mut in_force_of = async |text: &str| {
            fs::write(file.path(), text).unwrap();
            nudge.caught_up().await;
            std::iter::from_fn(|| in_force.try_recv().ok()).last()
        };
        let [first, second] = [SecretKey::generate().public(), SecretKey::generate().public()];
        let text = |peer| format!("[[peer]]\nid = \"{peer}\"\n");
        assert!(in_force_of(&text(first)).await.unwrap().peer(first).is_some());
        for damaged in ["[[peer", "[[peer]]\nid = 1", &text(second).repeat(2)] {
            // It may have looked once more before the damage was done.
            assert!(in_force_of(damaged).await.is_none_or(|roster| roster.peer(first).is_some()), "{damaged}");
        }
        assert!(in_force_of(&text(second)).await.unwrap().peer(second).is_some());
    }

    #[tokio::test]
    async fn a_file_that_looks_as_old_and_as_long_as_before_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = RosterFile::new(folder.path().join("peers.toml"));
        let old = SystemTime::now() - Duration::from_secs(3600);
        let write = || {
            let peer = SecretKey::generate().public();
            let other = RosterFile::new(folder.path().join("other.toml"));
            other.update(|roster| roster.allow(peer, None, crate::protocol::Api::Fleet.into())).unwrap().unwrap();
            File::options().write(true).open(other.path()).unwrap().set_modified(old).unwrap();
            fs::rename(other.path(), file.path()).unwrap();
            peer
        };
        write();
        let settled = loop {
            match look(file.clone(), Stamp::Unknown).await {
                Look::New(stamp @ Stamp::Settled { .. }, _) => break stamp,
                _ => tokio::task::yield_now().await,
            }
        };
        assert!(matches!(look(file.clone(), settled).await, Look::Same));
        let peer = write();
        let Look::New(_, Ok(roster)) = look(file, settled).await else { panic!("the change is not seen") };
        assert!(roster.peer(peer).is_some());
    }
}
