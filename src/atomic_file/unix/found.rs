//! What was found under a name, and whether it may be used.

use std::{ffi::OsStr, io, os::fd::AsFd};

use rustix::{
    fs::{AtFlags, FileType, Stat},
    io::Errno,
};

use crate::atomic_file::not_regular;

/// Access for writing, for the group and for others.
const OTHERS_WRITE: u32 = 0o022;

/// What one look at a file returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::atomic_file) struct Found {
    pub(super) kind: FileType,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    links: u64,
}

impl Found {
    /// Looks at an open file or folder.
    pub(super) fn of(file: impl AsFd) -> io::Result<Self> {
        Ok(Self::from(&rustix::fs::fstat(file)?))
    }

    /// Looks at `name` in a folder, without following a link; `None` if there is none.
    pub(super) fn at(folder: impl AsFd, name: &OsStr) -> io::Result<Option<Self>> {
        match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Self::from(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Looks at what the link `name` leads to.
    pub(super) fn behind(folder: impl AsFd, name: &OsStr) -> io::Result<Self> {
        Ok(Self::from(&rustix::fs::statat(folder, name, AtFlags::empty())?))
    }

    /// Returns whether it is a device, a pipe or a socket.
    pub(super) fn is_special(&self) -> bool {
        !matches!(self.kind, FileType::RegularFile | FileType::Directory | FileType::Symlink)
    }

    pub(super) fn check_regular(&self) -> io::Result<()> {
        match self.kind {
            FileType::RegularFile => Ok(()),
            FileType::Directory => Err(not_regular("a folder")),
            FileType::Symlink => Err(not_regular("a symbolic link")),
            FileType::Fifo => Err(not_regular("a named pipe")),
            FileType::Socket => Err(not_regular("a socket")),
            FileType::CharacterDevice | FileType::BlockDevice => Err(not_regular("a device")),
            FileType::Unknown => Err(not_regular("something unknown")),
        }
    }

    /// Checks that the file is not another user's, which somebody else linked here.
    pub(super) fn check_owner(&self, folder: &Self, led_by: Option<u32>) -> io::Result<()> {
        self.check_led_by(led_by)?;
        if self.has_other_names() && self.uid != folder.uid {
            return Err(denied(format!(
                "it is a hard link to a file of user {} in a folder of user {}: copy that file here instead",
                self.uid, folder.uid
            )));
        }
        Ok(())
    }

    /// Checks that it belongs to the user whose symbolic link led to it.
    pub(super) fn check_led_by(&self, led_by: Option<u32>) -> io::Result<()> {
        match led_by {
            Some(user) if user != self.uid => Err(denied(format!(
                "a link of user {user} leads to a place of user {}: use the path of that place",
                self.uid
            ))),
            _ => Ok(()),
        }
    }

    /// Checks that the content may be changed: nobody but the folder's owner can have put another file's name there.
    pub(super) fn check_writable_in(&self, folder: &Self) -> io::Result<()> {
        if self.has_other_names() && folder.mode & OTHERS_WRITE != 0 {
            return Err(denied("it is a hard link, in a folder that several users can write to: remove it".to_owned()));
        }
        Ok(())
    }

    pub(super) fn has_other_names(&self) -> bool {
        self.kind != FileType::Directory && self.links > 1
    }
}

impl From<&Stat> for Found {
    #[allow(clippy::unnecessary_cast, reason = "the types differ between platforms")]
    fn from(stat: &Stat) -> Self {
        Self {
            kind: FileType::from_raw_mode(stat.st_mode),
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode as u32,
            links: stat.st_nlink as u64,
        }
    }
}

pub(super) fn denied(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, reason)
}
