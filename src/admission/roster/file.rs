//! The roster's file, which several processes may change at once.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{Roster, format};
use crate::atomic_file;

/// The longest file that is read, in bytes: room for thousands of peers.
const MAX_ROSTER: u64 = 4 << 20;

/// The file with the roster. If it does not exist, the roster is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterFile {
    path: PathBuf,
}

impl RosterFile {
    /// Creates a roster file at `path`, without touching the file system.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the roster; it is empty if there is no file.
    ///
    /// # Errors
    /// [`RosterError`] if the file cannot be read or is not a valid roster.
    pub fn load(&self) -> Result<Roster, RosterError> {
        Ok(self.load_if_present()?.unwrap_or_default())
    }

    /// Changes the roster in the file, atomically: a reader finds either the old one or the new one, and changes by other
    /// processes come before or after. If `change` fails, the file stays as it is.
    ///
    /// Blocks until other changes are done; not for asynchronous code.
    ///
    /// # Errors
    /// [`RosterError`] if the file cannot be read, locked or written; inside of `Ok`, the error that `change` returned.
    pub fn update<T, E>(&self, change: impl FnOnce(&mut Roster) -> Result<T, E>) -> Result<Result<T, E>, RosterError> {
        let failed = |source| RosterError(Kind::Write { path: self.path.clone(), source });
        let _lock = atomic_file::lock(&self.path).map_err(failed)?;
        let mut roster = self.load()?;
        let changed = match change(&mut roster) {
            Ok(changed) => changed,
            Err(error) => return Ok(Err(error)),
        };
        let text = format::write(&roster);
        check_readable(&text).map_err(failed)?;
        atomic_file::replace(&self.path, text.as_bytes()).map_err(failed)?;
        Ok(Ok(changed))
    }

    /// Reads the roster; `None` if there is no file, or an empty one.
    pub(super) fn load_if_present(&self) -> Result<Option<Roster>, RosterError> {
        let path = || self.path.clone();
        let text = atomic_file::read(&self.path, MAX_ROSTER)
            .map_err(|source| RosterError(Kind::Read { path: path(), source }))?;
        text.filter(|text| !text.is_empty())
            .map(|text| format::read(&text).map_err(|mistake| RosterError(Kind::Invalid { path: path(), mistake })))
            .transpose()
    }
}

/// Checks that the text can be read again: otherwise the operator could no longer use the roster.
fn check_readable(text: &str) -> io::Result<()> {
    if text.len() as u64 > MAX_ROSTER {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it would have more than {MAX_ROSTER} bytes")));
    }
    format::read(text).map(drop).map_err(io::Error::other)
}

/// A roster that cannot be used.
///
/// Its source is the [`io::Error`], if the file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct RosterError(Kind);

#[derive(Debug, thiserror::Error)]
enum Kind {
    #[error("cannot read the roster {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot change the roster {}, which stays as it was", .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("a mistake in the roster {}: {mistake}", .path.display())]
    Invalid { path: PathBuf, mistake: String },
}

impl RosterError {
    /// Returns whether the content of the file is invalid; otherwise the file could not be read or written.
    pub fn is_mistake(&self) -> bool {
        matches!(self.0, Kind::Invalid { .. })
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, fs, num::NonZeroU32, time::Duration};

    use iroh::SecretKey;

    use super::{super::NotInvited, *};
    use crate::{address_lookup::Invitation, admission::Timestamp, protocol::Api};

    const HOUR: Duration = Duration::from_secs(3600);

    fn add(roster: &mut Roster) -> Result<(), Infallible> {
        roster.deny(SecretKey::generate().public());
        Ok(())
    }

    #[test]
    fn many_who_change_it_at_once_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = RosterFile::new(folder.path().join("below").join("peers.toml"));
        assert_eq!(file.load().unwrap(), Roster::default());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..5).for_each(|_| file.update(add).unwrap().unwrap()));
            }
        });
        assert_eq!(file.load().unwrap().peers().len(), 40);
    }

    #[test]
    fn a_change_that_fails_and_a_damaged_file_leave_it_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let file = RosterFile::new(folder.path().join("peers.toml"));
        file.update(add).unwrap().unwrap();
        let before = fs::read_to_string(file.path()).unwrap();
        assert_eq!(file.update(|_| Err::<(), _>("no")).unwrap(), Err("no"));
        assert_eq!(fs::read_to_string(file.path()).unwrap(), before);
        fs::write(file.path(), "[[peer").unwrap();
        assert!(file.update(add).unwrap_err().to_string().contains("a mistake in the roster"));
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "[[peer");
    }

    #[test]
    fn an_invitation_for_several_is_used_through_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = RosterFile::new(folder.path().join("peers.toml"));
        let (now, fleet) = (Timestamp::now(), Api::Fleet.into());
        let invitation = Invitation::new(SecretKey::generate().public().into());
        let (name, uses, expires) = ("site".parse().unwrap(), NonZeroU32::new(3).unwrap(), now.plus(HOUR));
        file.update(|roster| roster.invite(&invitation, name, fleet, uses, expires)).unwrap().unwrap();
        let redeem = || file.update(|roster| roster.redeem(SecretKey::generate().public(), invitation.secret(), now));
        let names: Vec<_> = (0..3).map(|_| redeem().unwrap().unwrap().name.unwrap().to_string()).collect();
        assert_eq!(names, ["site", "site-2", "site-3"]);
        assert_eq!(redeem().unwrap(), Err(NotInvited::Unknown));
        assert_eq!(file.load().unwrap().peers().len(), 3);
    }

    #[test]
    fn what_would_be_too_long_to_be_read_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = RosterFile::new(folder.path().join("peers.toml"));
        file.update(add).unwrap().unwrap();
        let crowd = |roster: &mut Roster| {
            roster.peers = vec![roster.peers[0].clone(); 50_000];
            Ok::<_, Infallible>(())
        };
        assert!(file.update(crowd).is_err());
        assert_eq!(file.load().unwrap().peers().len(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = RosterFile::new(folder.path().join("peers.toml"));
        file.update(add).unwrap().unwrap();
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
