//! Files on other platforms: no owners, modes or links are changed.
//!
//! The access list of the folder protects a file: on Windows, application data belongs to its user.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
};

use super::Readers;

pub(super) fn check_link(_path: &Path, _target: &Path) -> io::Result<()> {
    Ok(())
}

pub(crate) fn hand_over(_file: &File, _path: &Path) -> io::Result<()> {
    Ok(())
}

pub(super) fn keep_mode(_file: &File, _path: &Path) -> io::Result<()> {
    Ok(())
}

pub(super) fn sync_folder(_path: &Path) {}

pub(crate) fn readers(_file: &File) -> io::Result<Readers> {
    Ok(Readers::Owner)
}

pub(super) fn make_private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}
