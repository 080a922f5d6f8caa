//! Where the roster lives, and how it is changed by several at once.

use std::{
    error::Error,
    fmt,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use super::{Roster, format};
use crate::whole_file;

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
        let written = whole_file::replace(&self.path, format::write(&roster).as_bytes());
        written.map_err(|error| self.failed(Problem::Write(error)))?;
        Ok(Ok(changed))
    }

    /// Reads it, `None` if there is no such file.
    pub(super) fn find(&self) -> Result<Option<Roster>, RosterError> {
        let text = whole_file::read(&self.path, MAX_ROSTER).map_err(|error| self.failed(Problem::Read(error)))?;
        text.map(|text| format::read(&text).map_err(|mistake| self.failed(Problem::Text(mistake)))).transpose()
    }

    fn lock(&self) -> io::Result<File> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        whole_file::lock(&self.path)
    }

    fn failed(&self, problem: Problem) -> RosterError {
        RosterError { path: self.path.clone(), problem }
    }
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
    use std::convert::Infallible;

    use iroh::SecretKey;

    use super::*;

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
