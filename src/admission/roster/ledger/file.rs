//! The ledger's file, beside that of the roster, and changed under the same lock.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    super::{RosterError, file::Content},
    Ledger, format,
};
use crate::atomic_file;

/// The longest file that is read, in bytes: room for tens of thousands of entries.
const MAX_LEDGER: u64 = 4 << 20;

/// The ledger's file.
#[derive(Clone, Debug)]
pub(in crate::admission::roster) struct LedgerFile {
    path: PathBuf,
    roster: PathBuf,
}

impl LedgerFile {
    /// Returns the file beside a roster.
    pub(in crate::admission::roster) fn of_roster(roster: &Path) -> Self {
        Self { path: roster.with_extension("revoked.toml"), roster: roster.to_owned() }
    }

    pub(in crate::admission::roster) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the ledger.
    pub(in crate::admission::roster) fn read(&self) -> Result<Content<Ledger>, RosterError> {
        let text = atomic_file::read(&self.path, MAX_LEDGER);
        let text = text.map_err(|source| RosterError::read_ledger(&self.path, source))?;
        Content::of(text, format::read).map_err(|mistake| RosterError::invalid_ledger(&self.path, mistake))
    }

    /// Replaces the ledger; a new one belongs to the owner of the roster. The caller holds the lock of the roster.
    pub(in crate::admission::roster) fn write(&self, ledger: &Ledger) -> io::Result<()> {
        let text = format::write(ledger);
        if text.len() as u64 > MAX_LEDGER {
            let reason = format!("it would have more than {MAX_LEDGER} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
        }
        atomic_file::replace_like(&self.path, text.as_bytes(), &self.roster)
    }
}
