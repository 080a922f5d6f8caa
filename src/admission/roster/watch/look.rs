//! One look at the files.

use std::{
    fs::{self, Metadata},
    io,
    path::Path,
    time::{Duration, SystemTime},
};

use super::super::{Roster, RosterError, RosterFile, file::Content, ledger::Ledger};

/// Two changes of a file further apart than this have different times on every file system; on most a far shorter time is
/// enough.
const TIME_RESOLUTION: Duration = Duration::from_secs(2);

/// What was found in the two files.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) stamps: Stamps,
    pub(super) ledger: Seen<Ledger>,
    pub(super) roster: Seen<Roster>,
}

/// What was found in a file.
#[derive(Debug)]
pub(super) enum Seen<T> {
    Unchanged,
    Absent,
    Empty,
    Valid(T),
    Failed(RosterError),
}

/// The stamps of the two files at the last look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stamps {
    ledger: Stamp,
    roster: Stamp,
}

/// What distinguishes a changed file from an unchanged one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stamp {
    /// It has to be read at the next look, whatever its times are.
    #[default]
    Unknown,
    /// Written so recently that it may change once more without a new time.
    Fresh,
    Settled {
        modified: SystemTime,
        changed: SystemTime,
        len: u64,
    },
}

/// Looks at the files, and reads those that have changed since `last`. Blocks.
///
/// The ledger is read first. So a peer that `peers allow` allows is never found denied by the roster and allowed by the ledger,
/// which would be a new denial: the roster was written before the ledger.
pub(super) fn look(file: &RosterFile, last: Stamps) -> Look {
    let of_ledger = file.ledger();
    let (ledger_stamp, ledger) = see(of_ledger.path(), last.ledger, || of_ledger.read(), RosterError::read_ledger);
    if let Seen::Valid(ledger) = &ledger {
        file.known_with(ledger);
    }
    let (roster_stamp, roster) = see(file.path(), last.roster, || file.read(), RosterError::read);
    Look { stamps: Stamps { ledger: ledger_stamp, roster: roster_stamp }, ledger, roster }
}

fn see<T>(
    path: &Path,
    last: Stamp,
    read: impl FnOnce() -> Result<Content<T>, RosterError>,
    failed: impl FnOnce(&Path, io::Error) -> RosterError,
) -> (Stamp, Seen<T>) {
    let stamp = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Stamp::of(&metadata),
        Ok(_) => {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file; put the file back");
            return (Stamp::Unknown, Seen::Failed(failed(path, error)));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return (Stamp::Unknown, Seen::Absent),
        Err(error) => return (Stamp::Unknown, Seen::Failed(failed(path, error))),
    };
    if stamp == last && matches!(stamp, Stamp::Settled { .. }) {
        return (stamp, Seen::Unchanged);
    }
    match read() {
        Ok(Content::Absent) => (Stamp::Unknown, Seen::Absent),
        Ok(Content::Empty) => (Stamp::Unknown, Seen::Empty),
        Ok(Content::Valid(content)) => (stamp, Seen::Valid(content)),
        Err(error) if error.is_mistake() => (stamp, Seen::Failed(error)),
        // It may be readable the next time without a change of it: a disk error, or no descriptor left.
        Err(error) => (Stamp::Unknown, Seen::Failed(error)),
    }
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

    #[test]
    fn a_file_that_looks_as_old_and_as_long_as_before_is_read_again() {
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
            let stamps = look(&file, Stamps::default()).stamps;
            if matches!(stamps.roster, Stamp::Settled { .. }) {
                break stamps;
            }
            std::thread::yield_now();
        };
        assert!(matches!(look(&file, settled).roster, Seen::Unchanged));
        let peer = write();
        let Seen::Valid(roster) = look(&file, settled).roster else { panic!("the change is not noticed") };
        assert!(roster.peer(peer).is_some());
    }
}
