//! Files on other platforms: no owners, modes or links are changed.
//!
//! The access list of the folder protects a file: on Windows, application data belongs to its user.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use super::{Access, Audience, Readers, not_regular};

/// Where a file is, or will be.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
}

impl Place {
    pub(super) fn to_read(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned() })
    }

    /// Resolves a symbolic link, so that it stays one.
    pub(super) fn to_change(path: &Path) -> io::Result<Self> {
        Ok(Self { path: fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()) })
    }

    pub(super) fn with_folder(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        Self::to_change(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn beside(&self, suffix: &str) -> Self {
        Self { path: super::beside(&self.path, suffix) }
    }

    pub(super) fn named(&self, name: &str) -> Self {
        Self { path: self.path.with_file_name(name) }
    }

    /// Checks that this is a regular file; `None` if there is none.
    pub(super) fn look(&self) -> io::Result<Option<()>> {
        match fs::metadata(&self.path) {
            Ok(found) if found.is_file() => Ok(Some(())),
            Ok(_) => Err(not_regular("a folder, a device or a pipe")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn open(&self, access: Access) -> io::Result<File> {
        self.look()?.ok_or(io::ErrorKind::NotFound)?;
        options(access).open(&self.path)
    }

    /// Opens a device or a pipe; `None` if this is something else.
    pub(super) fn open_special(&self, access: Access) -> io::Result<Option<File>> {
        if fs::metadata(&self.path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            return options(access).open(&self.path).map(Some);
        }
        Ok(None)
    }

    pub(super) fn open_or_create(
        &self,
        access: Access,
        created: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<File> {
        let file = options(access).create(true).open(&self.path)?;
        created(&file)?;
        Ok(file)
    }

    pub(super) fn create(&self, _audience: Audience) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).open(&self.path)
    }

    pub(super) fn hand_over(&self, _file: &File, _before: Option<&()>) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    pub(super) fn rename_to(&self, to: &Self) -> io::Result<()> {
        fs::rename(&self.path, &to.path)
    }

    pub(super) fn link_to(&self, to: &Self) -> io::Result<()> {
        fs::hard_link(&self.path, &to.path)
    }

    pub(super) fn sync(&self) {}

    pub(super) fn readers(&self, _file: &File) -> io::Result<Readers> {
        Ok(Readers::Intended)
    }

    pub(super) fn is_mounted(&self) -> bool {
        false
    }
}

fn options(access: Access) -> OpenOptions {
    let mut options = OpenOptions::new();
    match access {
        Access::Read => options.read(true),
        Access::Lock => options.read(true).write(true),
        Access::Append => options.append(true),
        Access::Write => options.write(true),
    };
    options
}
