//! Where the roster lives, and how it is changed by several at once.

use std::{
    error::Error,
    fmt,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use super::{Roster, format};
use crate::atomic_file;

/// Room for thousands of peers.
const MAX_ROSTER: u64 = 4 << 20;

/// The file with the roster. It need not exist: then nobody is on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterFile {
    path: PathBuf,
}

impl RosterFile {
    /// The roster in the file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it.
    ///
    /// # Errors
    /// The file cannot be read, or is no roster.
    pub fn load(&self) -> Result<Roster, RosterError> {
        Ok(self.find()?.unwrap_or_default())
    }

    /// Changes it: nobody else does meanwhile, readers find the old one or the new one, and where `change` fails the old
    /// one stays.
    ///
    /// Waits for others who change it. Blocks; not for asynchronous code.
    ///
    /// # Errors
    /// What `change` returns, or the file cannot be read, locked or written.
    pub fn update<T, E>(&self, change: impl FnOnce(&mut Roster) -> Result<T, E>) -> Result<Result<T, E>, RosterError> {
        let _lock = self.lock().map_err(|error| self.failed(Problem::Write(error)))?;
        let mut roster = self.load()?;
        let changed = match change(&mut roster) {
            Ok(changed) => changed,
            Err(error) => return Ok(Err(error)),
        };
        let text = format::write(&roster);
        check_readable(&text).map_err(|error| self.failed(Problem::Write(error)))?;
        let written = atomic_file::replace(&self.path, text.as_bytes());
        written.map_err(|error| self.failed(Problem::Write(error)))?;
        Ok(Ok(changed))
    }

    /// Reads it, `None` if there is no such file, or nothing in it.
    pub(super) fn find(&self) -> Result<Option<Roster>, RosterError> {
        let text = atomic_file::read(&self.path, MAX_ROSTER).map_err(|error| self.failed(Problem::Read(error)))?;
        text.filter(|text| !text.is_empty())
            .map(|text| format::read(&text).map_err(|mistake| self.failed(Problem::Text(mistake))))
            .transpose()
    }

    fn lock(&self) -> io::Result<File> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        atomic_file::lock(&self.path)
    }

    fn failed(&self, problem: Problem) -> RosterError {
        RosterError { path: self.path.clone(), problem }
    }
}

/// A roster that could not be read again would shut its operator out of it.
fn check_readable(text: &str) -> io::Result<()> {
    if text.len() as u64 > MAX_ROSTER {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it would have more than {MAX_ROSTER} bytes")));
    }
    format::read(text).map(drop).map_err(io::Error::other)
}

/// A roster that cannot be used.
#[derive(Debug)]
pub struct RosterError {
    path: PathBuf,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    Read(io::Error),
    Write(io::Error),
    Text(String),
}

impl RosterError {
    /// Whether what is written in the file is wrong; else it could not be read or written.
    pub fn is_mistake(&self) -> bool {
        matches!(self.problem, Problem::Text(_))
    }
}

impl fmt::Display for RosterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.problem {
            Problem::Read(_) => write!(f, "cannot read the roster {path}"),
            Problem::Write(_) => write!(f, "cannot change the roster {path}, which stays as it was"),
            Problem::Text(mistake) => write!(f, "a mistake in the roster {path}: {mistake}"),
        }
    }
}

impl Error for RosterError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.problem {
            Problem::Read(error) | Problem::Write(error) => Some(error),
            Problem::Text(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, num::NonZeroU32, time::Duration};

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
