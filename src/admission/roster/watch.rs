//! Watches the roster's file while a funnel runs.

use std::{
    fs::{self, Metadata},
    time::{Duration, SystemTime},
};

use tokio::{sync::watch, task::spawn_blocking, time::timeout};
use tracing::{error, info};

use super::{Roster, RosterError, RosterFile};
use crate::report::{OnChange, chain};

/// The interval between two checks: an operator who removes a peer should not have to wait.
const INTERVAL: Duration = Duration::from_millis(500);
/// Two changes of a file further apart than this have different times on every file system; on most a far shorter time is
/// enough.
const TIME_RESOLUTION: Duration = Duration::from_secs(2);

/// Makes a watcher read the file at once. Clones share the watcher.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReloadHandle {
    requested: watch::Sender<u64>,
    done: watch::Sender<u64>,
}

impl ReloadHandle {
    /// Waits until the file's content as of this call, or a newer one, is in force. Waits indefinitely if there is no
    /// watcher.
    pub(crate) async fn reload(&self) {
        let mut number = 0;
        self.requested.send_modify(|requested| {
            *requested += 1;
            number = *requested;
        });
        // It cannot fail: self holds the sender.
        let _ = self.done.subscribe().wait_for(|done| *done >= number).await;
    }
}

/// Passes every new roster to `apply`, indefinitely. While the file cannot be used, the last valid roster stays in force.
pub(crate) async fn watch(file: RosterFile, reload: ReloadHandle, mut apply: impl FnMut(Roster)) {
    let mut watcher = Watcher { file, last: Stamp::Unknown, problem: OnChange::default() };
    let mut requested = reload.requested.subscribe();
    loop {
        // It cannot fail: `reload` holds the sender.
        let _ = timeout(INTERVAL, requested.wait_for(|requested| *requested > *reload.done.borrow())).await;
        let number = *requested.borrow_and_update();
        if let Some(roster) = watcher.check().await {
            apply(roster);
        }
        reload.done.send_replace(number);
    }
}

struct Watcher {
    file: RosterFile,
    last: Stamp,
    /// Why the file cannot be used.
    problem: OnChange<String>,
}

impl Watcher {
    /// Returns the roster to put in force, if the file has changed to a valid one.
    async fn check(&mut self) -> Option<Roster> {
        let Check::Changed(stamp, read) = check(self.file.clone(), self.last).await else { return None };
        // Some editors remove or empty a file before they write it again: an absence counts only when it is seen twice.
        let is_first_absence = stamp == Stamp::Absent && self.last != Stamp::Absent;
        self.last = stamp;
        match read {
            Ok(_) if is_first_absence => None,
            Ok(roster) => {
                if self.problem.clear().is_some() {
                    info!(path = %self.file.path().display(), "the roster is in force again");
                }
                Some(roster)
            }
            Err(error) => {
                self.problem.run(chain(&error), |problem| {
                    error!("{problem}; the last valid roster stays in force until this is fixed");
                });
                None
            }
        }
    }
}

/// What distinguishes a changed file from an unchanged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stamp {
    Unknown,
    /// There is no file, or an empty one.
    Absent,
    /// Written so recently that it may change once more without a new time.
    Fresh,
    Settled {
        modified: SystemTime,
        changed: SystemTime,
        len: u64,
    },
}

enum Check {
    Unchanged,
    Changed(Stamp, Result<Roster, RosterError>),
}

async fn check(file: RosterFile, last: Stamp) -> Check {
    let check = spawn_blocking(move || {
        let stamp = fs::metadata(file.path()).map_or(Stamp::Absent, |metadata| Stamp::of(&metadata));
        if stamp == last && matches!(stamp, Stamp::Settled { .. }) {
            return Check::Unchanged;
        }
        match file.load_if_present() {
            Ok(Some(roster)) => Check::Changed(stamp, Ok(roster)),
            Ok(None) => Check::Changed(Stamp::Absent, Ok(Roster::default())),
            Err(error) => Check::Changed(stamp, Err(error)),
        }
    });
    check.await.unwrap_or(Check::Unchanged)
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let Ok(modified) = metadata.modified() else { return Self::Fresh };
        let changed = changed(metadata).unwrap_or(modified);
        match changed.max(modified).elapsed() {
            Ok(age) if age > TIME_RESOLUTION => Self::Settled { modified, changed, len: metadata.len() },
            // Younger, or with a time in the future by a clock that is wrong.
            _ => Self::Fresh,
        }
    }
}

/// Returns when the file last changed in any way; copying, moving and touching do not set this time back.
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
        let (file, reload) = (RosterFile::new(folder.path().join("peers.toml")), ReloadHandle::default());
        let (sender, mut in_force) = tokio::sync::mpsc::unbounded_channel();
        let _watching = tokio_util::task::AbortOnDropHandle::new(tokio::spawn({
            let (file, reload) = (file.clone(), reload.clone());
            async move { watch(file, reload, |roster| sender.send(roster).unwrap()).await }
        }));
        let mut in_force_of = async |text: &str| {
            fs::write(file.path(), text).unwrap();
            reload.reload().await;
            std::iter::from_fn(|| in_force.try_recv().ok()).last()
        };
        let [first, second] = [SecretKey::generate().public(), SecretKey::generate().public()];
        let text = |peer| format!("[[peer]]\nid = \"{peer}\"\n");
        assert!(in_force_of(&text(first)).await.unwrap().peer(first).is_some());
        for damaged in ["[[peer", "[[peer]]\nid = 1", &text(second).repeat(2)] {
            // The watcher may have read the file once more before it was damaged.
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
            match check(file.clone(), Stamp::Unknown).await {
                Check::Changed(stamp @ Stamp::Settled { .. }, _) => break stamp,
                _ => tokio::task::yield_now().await,
            }
        };
        assert!(matches!(check(file.clone(), settled).await, Check::Unchanged));
        let peer = write();
        let Check::Changed(_, Ok(roster)) = check(file, settled).await else { panic!("the change is not noticed") };
        assert!(roster.peer(peer).is_some());
    }
}
