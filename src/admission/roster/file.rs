//! The roster's file, which several processes may change at once, and the ledger beside it.

#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use tokio::sync::watch;

use super::{
    Roster, RosterError, format,
    ledger::{Ledger, LedgerFile},
};
use crate::{admission::Timestamp, atomic_file};

/// The longest file that is read, in bytes: room for thousands of peers.
const MAX_ROSTER: u64 = 4 << 20;

/// The file with the roster. If it does not exist, the roster is empty.
///
/// Beside it is a ledger of the peers that were denied and of the invitations that were used or revoked (for `peers.toml`:
/// `peers.revoked.toml`), which is above it: an older copy of the roster brings none of them back. Clones share what they
/// have read of it, so that an older copy of the ledger does not either, while a process lives.
#[derive(Clone)]
pub struct RosterFile {
    path: PathBuf,
    /// Everything that this process has seen in the ledger.
    known: watch::Sender<Ledger>,
}

/// The content of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content<T> {
    /// There is no file.
    Absent,
    /// There is nothing in it.
    Empty,
    Valid(T),
}

impl RosterFile {
    /// Creates a roster file at `path`, without touching the file system.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), known: watch::Sender::default() }
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what is in force: the roster and the ledger. It is empty if there are no files.
    ///
    /// # Errors
    /// [`RosterError`] if a file cannot be read or is not valid.
    pub fn load(&self) -> Result<Roster, RosterError> {
        let ledger = self.known_with(&self.ledger().read()?.unwrap_or_default());
        let mut roster = self.read()?.unwrap_or_default();
        ledger.apply(&mut roster);
        Ok(roster)
    }

    /// Changes the roster in the file, atomically: a reader finds either the old one or the new one, and changes by other
    /// processes come before or after. If `change` fails, the file stays as it is.
    ///
    /// What the change takes away (denials, uses of invitations) is written to the ledger first, and what it gives back (a
    /// denied peer that is allowed or removed) last: if the process is killed in between, it is not given back.
    ///
    /// Blocks until other changes are done; not for asynchronous code.
    ///
    /// # Errors
    /// [`RosterError`] if a file cannot be read, locked or written; inside of `Ok`, the error that `change` returned.
    pub fn update<T, E>(&self, change: impl FnOnce(&mut Roster) -> Result<T, E>) -> Result<Result<T, E>, RosterError> {
        let failed = |source| RosterError::write(&self.path, source);
        let _lock = atomic_file::lock(&self.path).map_err(failed)?;
        let recorded = self.ledger().read()?.unwrap_or_default();
        let mut ledger = self.known_with(&recorded);
        let mut roster = self.read()?.unwrap_or_default();
        ledger.absorb(&roster);
        ledger.apply(&mut roster);
        let before = roster.clone();
        let changed = match change(&mut roster) {
            Ok(changed) => changed,
            Err(error) => return Ok(Err(error)),
        };
        let overruled = ledger.overruled(&roster).used;
        if !overruled.is_empty() {
            let reason = format!("the invitation {overruled:?} was used or revoked before; make a new one");
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, reason)));
        }
        let text = format::write(&roster);
        check_readable(&text).map_err(failed)?;
        let now = Timestamp::now();
        ledger.take_away(&before, &roster, now);
        self.write(&recorded, &mut ledger, &roster, &text)?;
        self.known.send_modify(|known| known.merge(&ledger));
        Ok(Ok(changed))
    }

    /// Writes the ledger and the roster, in this order for what is taken away and in the other one for what is given back.
    fn write(&self, recorded: &Ledger, ledger: &mut Ledger, roster: &Roster, text: &str) -> Result<(), RosterError> {
        let file = self.ledger();
        let record = |from: &Ledger, to: &Ledger| if from == to { Ok(()) } else { file.write(to) };
        record(recorded, ledger).map_err(|source| RosterError::write_ledger(file.path(), source))?;
        if let Err(source) = atomic_file::replace(&self.path, text.as_bytes()) {
            // The invitation was not used. A denial stays: nothing admits the peer until the operator says so.
            let kept = ledger.clone().with_invitations_of(recorded);
            let is_restored = record(ledger, &kept).is_ok();
            return Err(match kept.denied() > recorded.denied() {
                true if is_restored => RosterError::denied_by_ledger_alone(&self.path, source),
                _ => RosterError::write(&self.path, source),
            });
        }
        let taken = ledger.clone();
        ledger.give_back(roster, Timestamp::now());
        record(&taken, ledger).map_err(|source| RosterError::still_denied(file.path(), source))
    }

    /// Writes to the ledger what this process has seen and it lacks, and returns what is in it then. Blocks as
    /// [`update`](Self::update) does.
    pub(super) fn record(&self) -> Result<Ledger, RosterError> {
        let file = self.ledger();
        let failed = |source| RosterError::write_ledger(file.path(), source);
        let _lock = atomic_file::lock(&self.path).map_err(failed)?;
        let recorded = file.read()?.unwrap_or_default();
        let ledger = self.known_with(&recorded);
        if ledger != recorded {
            file.write(&ledger).map_err(failed)?;
        }
        Ok(ledger)
    }

    /// Reads the roster as it is in its file.
    pub(super) fn read(&self) -> Result<Content<Roster>, RosterError> {
        let text = atomic_file::read(&self.path, MAX_ROSTER).map_err(|source| RosterError::read(&self.path, source))?;
        Content::of(text, format::read).map_err(|mistake| RosterError::invalid(&self.path, mistake))
    }

    pub(super) fn ledger(&self) -> LedgerFile {
        LedgerFile::of_roster(&self.path)
    }

    pub(super) fn known(&self) -> &watch::Sender<Ledger> {
        &self.known
    }

    /// Adds to what this process has seen in the ledger, and returns all of it.
    pub(super) fn known_with(&self, read: &Ledger) -> Ledger {
        self.known.send_if_modified(|known| {
            let is_new = !known.covers(read);
            if is_new {
                known.merge(read);
            }
            is_new
        });
        let mut known = self.known.borrow().clone();
        known.prune(Timestamp::now());
        known
    }
}

impl PartialEq for RosterFile {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for RosterFile {}

impl fmt::Debug for RosterFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RosterFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<T> Content<T> {
    /// Reads the text of a file; `None` if there is no file.
    pub(super) fn of<E>(text: Option<String>, read: impl FnOnce(&str) -> Result<T, E>) -> Result<Self, E> {
        match text {
            None => Ok(Self::Absent),
            Some(text) if text.trim().is_empty() => Ok(Self::Empty),
            Some(text) => read(&text).map(Self::Valid),
        }
    }
}

impl<T: Default> Content<T> {
    pub(super) fn unwrap_or_default(self) -> T {
        match self {
            Self::Absent | Self::Empty => T::default(),
            Self::Valid(content) => content,
        }
    }
}

/// Checks that the text can be read again: otherwise the operator could no longer use the roster.
fn check_readable(text: &str) -> io::Result<()> {
    if text.len() as u64 > MAX_ROSTER {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it would have more than {MAX_ROSTER} bytes")));
    }
    format::read(text).map(drop).map_err(io::Error::other)
}
