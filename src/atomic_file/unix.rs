//! Files on Unix: a folder is opened once, and files are used relative to it, as they were opened.

mod found;
mod readers;
mod walk;

use std::{
    ffi::{OsStr, OsString},
    fs::{File, Permissions},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt, PermissionsExt, fchown},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{AtFlags, Mode, OFlags};

use self::{
    found::Found,
    walk::{MissingFolders, Purpose, Walk},
};
use super::{Access, Audience};

/// How often a file that appears and vanishes is tried to be opened.
const ATTEMPTS: usize = 8;

/// Where a file is, or will be: an open folder and a name in it.
#[derive(Debug)]
pub(super) struct Place {
    folder: Arc<OwnedFd>,
    name: OsString,
    /// For messages.
    path: PathBuf,
    /// The user whose link led here: only that user's files may be used.
    led_by: Option<u32>,
    /// The name is a link of `/proc` to something without a path, such as a pipe.
    is_proc_link: bool,
}

impl Place {
    /// Finds a file that is read.
    pub(super) fn to_read(path: &Path) -> io::Result<Self> {
        Walk::new(path, Purpose::Read, MissingFolders::Refuse)?.run()
    }

    /// Finds a file that is changed, replaced or created.
    pub(super) fn to_change(path: &Path) -> io::Result<Self> {
        Walk::new(path, Purpose::Change, MissingFolders::Refuse)?.run()
    }

    /// Finds a file that is changed, replaced or created, and creates its folder if that is absent.
    pub(super) fn with_folder(path: &Path) -> io::Result<Self> {
        Walk::new(path, Purpose::Change, MissingFolders::Create)?.run()
    }

    /// Returns the path, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the file in the same folder with `suffix` after its name.
    pub(super) fn beside(&self, suffix: &str) -> Self {
        self.named(super::beside(Path::new(&self.name), suffix))
    }

    /// Returns the file of that name in the same folder.
    pub(super) fn named(&self, name: impl AsRef<OsStr>) -> Self {
        let name = name.as_ref();
        Self {
            folder: Arc::clone(&self.folder),
            name: name.to_owned(),
            path: self.path.with_file_name(name),
            led_by: self.led_by,
            is_proc_link: false,
        }
    }

    /// Looks at the file, and checks that it is a regular one which may be replaced; `None` if there is none.
    pub(super) fn look(&self) -> io::Result<Option<Found>> {
        let folder = Found::of(&*self.folder)?;
        let found = Found::at(&*self.folder, &self.name)?;
        match &found {
            Some(found) => found.check_regular().and_then(|()| found.check_owner(&folder, self.led_by))?,
            None => folder.check_led_by(self.led_by)?,
        }
        Ok(found)
    }

    /// Opens an existing regular file. Never waits.
    pub(super) fn open(&self, access: Access) -> io::Result<File> {
        // Opening a device or a pipe may have an effect; nobody but root can put another device there now.
        self.look()?.ok_or(io::ErrorKind::NotFound)?;
        let flags = flags(access) | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::openat(&*self.folder, &self.name, flags, Mode::empty())?);
        let (opened, folder) = (Found::of(&file)?, Found::of(&*self.folder)?);
        opened.check_regular()?;
        opened.check_owner(&folder, self.led_by)?;
        if access != Access::Read {
            opened.check_writable_in(&folder)?;
        }
        Ok(file)
    }

    /// Opens a device or a pipe; `None` if this is something else. A pipe is waited for.
    pub(super) fn open_special(&self, access: Access) -> io::Result<Option<File>> {
        let found = if self.is_proc_link {
            Some(Found::behind(&*self.folder, &self.name)?)
        } else {
            Found::at(&*self.folder, &self.name)?
        };
        let Some(found) = found.filter(Found::is_special) else { return Ok(None) };
        let folder = Found::of(&*self.folder)?;
        found.check_owner(&folder, self.led_by)?;
        let nofollow = if self.is_proc_link { OFlags::empty() } else { OFlags::NOFOLLOW };
        let file = File::from(rustix::fs::openat(&*self.folder, &self.name, flags(access) | nofollow, Mode::empty())?);
        let opened = Found::of(&file)?;
        if !opened.is_special() {
            return Err(io::Error::other("it was replaced while it was being opened"));
        }
        opened.check_owner(&folder, self.led_by)?;
        Ok(Some(file))
    }

    /// Opens a regular file, or creates it, readable by this user alone, and calls `created` with it.
    pub(super) fn open_or_create(&self, access: Access, created: impl Fn(&File) -> io::Result<()>) -> io::Result<File> {
        for _ in 0..ATTEMPTS {
            match self.open(access) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => return opened,
            }
            match self.create_for(flags(access), Audience::Owner) {
                Ok(file) => return created(&file).map(|()| file),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("it is created and removed again and again"))
    }

    /// Creates the file; nothing may have its name, not even a link.
    pub(super) fn create(&self, audience: Audience) -> io::Result<File> {
        self.create_for(OFlags::WRONLY | OFlags::CLOEXEC, audience)
    }

    fn create_for(&self, flags: OFlags, audience: Audience) -> io::Result<File> {
        Found::of(&*self.folder)?.check_led_by(self.led_by)?;
        let mode = match audience {
            Audience::Owner => Mode::RUSR | Mode::WUSR,
            Audience::Everybody => Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH,
        };
        let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&*self.folder, &self.name, flags, mode)?;
        rustix::fs::fchmod(&file, mode)?;
        Ok(file.into())
    }

    /// Gives `file`, which this process has created, the owner and mode of the file that was `before` in this place, or else
    /// the owner of the folder: a command that root runs must not take a file away from the funnel's user.
    pub(super) fn hand_over(&self, file: &File, before: Option<&Found>) -> io::Result<()> {
        let Some(before) = before else {
            let folder = Found::of(&*self.folder)?;
            // Only root can. Any other user keeps the files that it creates.
            let _ = fchown(file, Some(folder.uid), Some(folder.gid));
            return Ok(());
        };
        if file.metadata()?.uid() != before.uid {
            fchown(file, Some(before.uid), None).map_err(|error| {
                let reason =
                    format!("it belongs to another user ({}): run this command as that user, or as root", before.uid);
                io::Error::new(error.kind(), reason)
            })?;
        }
        // A group that this user is not in is lost, and with it the access of that group.
        let _ = fchown(file, None, Some(before.gid));
        let is_groups = file.metadata()?.gid() == before.gid;
        let mode = if is_groups { before.mode } else { before.mode & !0o070 };
        file.set_permissions(Permissions::from_mode(mode & 0o777))
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&*self.folder, &self.name, AtFlags::empty())?)
    }

    pub(super) fn rename_to(&self, to: &Self) -> io::Result<()> {
        Ok(rustix::fs::renameat(&*self.folder, &self.name, &*to.folder, &to.name)?)
    }

    /// Returns whether the file is mounted by itself, as far as this system tells.
    pub(super) fn is_mounted(&self) -> bool {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{StatxAttributes, StatxFlags, statx};
            let found = statx(&*self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
            found.is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
        }
        #[cfg(not(target_os = "linux"))]
        false
    }

    /// Gives the file a second name. It does not follow links.
    pub(super) fn link_to(&self, to: &Self) -> io::Result<()> {
        Ok(rustix::fs::linkat(&*self.folder, &self.name, &*to.folder, &to.name, AtFlags::empty())?)
    }

    /// Writes the folder to the disk: only then does the new file survive a crash. An error changes nothing for readers.
    pub(super) fn sync(&self) {
        // The handle of the folder may be one that cannot be read.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let _ = rustix::fs::openat(&*self.folder, ".", flags, Mode::empty()).and_then(rustix::fs::fsync);
    }
}

fn flags(access: Access) -> OFlags {
    let flags = match access {
        Access::Read => OFlags::RDONLY,
        Access::Lock => OFlags::RDWR,
        Access::Append => OFlags::WRONLY | OFlags::APPEND,
        Access::Write => OFlags::WRONLY,
    };
    flags | OFlags::CLOEXEC | OFlags::NOCTTY
}
