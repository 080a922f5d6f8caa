//! Errors of the roster's files.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::atomic_file;

/// A roster that cannot be used, or the ledger beside it.
///
/// Its source is the [`io::Error`], if a file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct RosterError(Kind);

#[derive(Debug, thiserror::Error)]
enum Kind {
    #[error("cannot read the roster {}{}", .path.display(), hint(.source))]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot change the roster {}, which stays as it was", .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("a mistake in the roster {}: {mistake}", .path.display())]
    Invalid { path: PathBuf, mistake: String },
    #[error("cannot read the ledger of denials and used invitations {}{}", .path.display(), hint(.source))]
    ReadLedger { path: PathBuf, source: io::Error },
    #[error("cannot write the ledger of denials and used invitations {}; nothing was changed", .path.display())]
    WriteLedger { path: PathBuf, source: io::Error },
    #[error(
        "the ledger of denials and used invitations {} is damaged: {mistake}; restore it from a copy, or remove it and \
         deny again who is to be denied (flower-iroh-funnel peers deny)",
        .path.display()
    )]
    InvalidLedger { path: PathBuf, mistake: String },
    #[error(
        "cannot change the roster {}, which stays as it was; the denial is in force all the same, since it is in the \
         ledger beside it",
        .path.display()
    )]
    DeniedByLedgerAlone { path: PathBuf, source: io::Error },
    #[error(
        "the roster was changed, but not the ledger {}: a peer that was denied stays denied; run this again",
        .path.display()
    )]
    StillDenied { path: PathBuf, source: io::Error },
}

/// What to do about a file that cannot be read.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => " (it must belong to the user of the funnel: change its owner or its mode)",
        _ => "",
    }
}

impl RosterError {
    /// Returns whether the content of a file is invalid; otherwise a file could not be read or written.
    pub fn is_mistake(&self) -> bool {
        match &self.0 {
            Kind::Invalid { .. } | Kind::InvalidLedger { .. } => true,
            Kind::Read { source, .. }
            | Kind::Write { source, .. }
            | Kind::ReadLedger { source, .. }
            | Kind::WriteLedger { source, .. }
            | Kind::DeniedByLedgerAlone { source, .. }
            | Kind::StillDenied { source, .. } => atomic_file::is_mistake(source),
        }
    }

    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        Self(Kind::Read { path: path.to_owned(), source })
    }

    pub(super) fn write(path: &Path, source: io::Error) -> Self {
        Self(Kind::Write { path: path.to_owned(), source })
    }

    pub(super) fn invalid(path: &Path, mistake: String) -> Self {
        Self(Kind::Invalid { path: path.to_owned(), mistake })
    }

    pub(super) fn read_ledger(path: &Path, source: io::Error) -> Self {
        Self(Kind::ReadLedger { path: path.to_owned(), source })
    }

    pub(super) fn write_ledger(path: &Path, source: io::Error) -> Self {
        Self(Kind::WriteLedger { path: path.to_owned(), source })
    }

    pub(super) fn invalid_ledger(path: &Path, mistake: String) -> Self {
        Self(Kind::InvalidLedger { path: path.to_owned(), mistake })
    }

    pub(super) fn denied_by_ledger_alone(path: &Path, source: io::Error) -> Self {
        Self(Kind::DeniedByLedgerAlone { path: path.to_owned(), source })
    }

    pub(super) fn still_denied(path: &Path, source: io::Error) -> Self {
        Self(Kind::StillDenied { path: path.to_owned(), source })
    }
}
