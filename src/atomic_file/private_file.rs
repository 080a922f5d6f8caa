//! Files with a secret in them, which only their owner may read, and those whom root has handed them to.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use super::Readers;

/// A file with a secret in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PrivateFile<'a> {
    pub(crate) path: &'a Path,
    /// Its name in errors, for instance "the key file".
    pub(crate) name: &'static str,
    /// What to do if others can read it.
    pub(crate) if_exposed: &'static str,
}

impl PrivateFile<'_> {
    /// Opens the file; `None` if there is no such file.
    ///
    /// # Errors
    /// The file cannot be opened, is not a regular file, or others can read it.
    pub(crate) fn open(&self) -> Result<Option<File>, FileError> {
        match super::open_private(self.path).map_err(|error| self.failed(error))? {
            None => Ok(None),
            Some((file, Readers::Intended)) => Ok(Some(file)),
            Some((_, Readers::Others { mode })) => Err(FileError::Exposed {
                name: self.name,
                path: self.path.to_owned(),
                mode,
                if_exposed: self.if_exposed,
            }),
        }
    }

    /// Makes the error of a failed operation on the file.
    pub(crate) fn failed(&self, error: io::Error) -> FileError {
        FileError::io(self.name, self.path, error)
    }
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// It cannot be opened, read or written.
    #[error("cannot use {name} {path}")]
    Io { name: &'static str, path: PathBuf, source: io::Error },
    /// Others can read the secret in it.
    #[error("others can read {name} {path} (mode {mode:03o}); {if_exposed}")]
    Exposed { name: &'static str, path: PathBuf, mode: u32, if_exposed: &'static str },
}

impl FileError {
    /// Returns whether the content of the file is wrong, or its name; otherwise it cannot be used now.
    pub(crate) fn is_mistake(&self) -> bool {
        match self {
            Self::Io { source, .. } => super::is_mistake(source),
            Self::Exposed { .. } => false,
        }
    }

    pub(crate) fn io(name: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { name, path: path.to_owned(), source }
    }
}
