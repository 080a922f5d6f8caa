//! Walks a path from folder to folder, by handles: what was looked at is what is used.
//!
//! Links of root and of this process's user are followed. For root, and wherever a file is changed, a link of another user is
//! followed as well, but then the file must belong to that user. So nobody makes root use a file that is not root's own
//! choice and not theirs, however fast they exchange folders, links and files.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags},
    io::Errno,
};

use super::{
    Place,
    found::{Found, denied},
};

/// The most links that are followed, as in Linux.
const MAX_LINKS: usize = 40;
const ROOT: u32 = 0;
/// The mode of a folder like `/tmp`: everybody creates files, and only their owners rename them.
const STICKY_FOR_ALL: u32 = 0o1002;

/// What a file is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Read,
    Change,
}

/// What happens to folders that do not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MissingFolders {
    Refuse,
    Create,
}

pub(super) struct Walk {
    folder: OwnedFd,
    path: PathBuf,
    /// The names to go, the next one last.
    rest: Vec<OsString>,
    links: usize,
    led_by: Option<u32>,
    user: u32,
    purpose: Purpose,
    missing: MissingFolders,
}

impl Walk {
    pub(super) fn new(path: &Path, purpose: Purpose, missing: MissingFolders) -> io::Result<Self> {
        let mut walk = Self {
            // The working folder may be one that this user cannot use.
            folder: open_folder(CWD, OsStr::new(if path.has_root() { "/" } else { "." }), OFlags::NOFOLLOW)?,
            path: PathBuf::new(),
            rest: Vec::new(),
            links: 0,
            led_by: None,
            user: rustix::process::geteuid().as_raw(),
            purpose,
            missing,
        };
        walk.push(path);
        Ok(walk)
    }

    fn push(&mut self, path: &Path) {
        self.rest.extend(path.components().rev().map(|component| component.as_os_str().to_owned()));
    }

    pub(super) fn run(mut self) -> io::Result<Place> {
        while let Some(name) = self.rest.pop() {
            let is_place = name == "/" || name == "." || name == "..";
            if !is_place && self.rest.is_empty() {
                match Found::at(&self.folder, &name)? {
                    Some(found) if found.kind == FileType::Symlink => {
                        if self.follow(&name)? == Followed::ProcLink {
                            return Ok(self.place(name, true));
                        }
                    }
                    _ => return Ok(self.place(name, false)),
                }
                continue;
            }
            match open_folder(&self.folder, &name, OFlags::NOFOLLOW) {
                Ok(folder) => self.enter(folder, &name),
                Err(Errno::NOENT) if self.missing == MissingFolders::Create => self.create_folder(&name)?,
                // It is a link, or no folder.
                Err(Errno::NOTDIR | Errno::LOOP | Errno::MLINK) if !is_place => drop(self.follow(&name)?),
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder, not a file"))
    }

    fn place(self, name: OsString, is_proc_link: bool) -> Place {
        let path = self.path.join(&name);
        Place { folder: Arc::new(self.folder), name, path, led_by: self.led_by, is_proc_link }
    }

    fn enter(&mut self, folder: OwnedFd, name: &OsStr) {
        self.folder = folder;
        self.path.push(name);
    }

    fn create_folder(&mut self, name: &OsStr) -> io::Result<()> {
        Found::of(&self.folder)?.check_led_by(self.led_by)?;
        match rustix::fs::mkdirat(&self.folder, name, Mode::RWXU) {
            Ok(()) => {
                // The umask may have taken access from the owner. If this cannot be undone, using the folder fails.
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let _ = rustix::fs::openat(&self.folder, name, flags, Mode::empty())
                    .and_then(|created| rustix::fs::fchmod(created, Mode::RWXU));
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let folder = open_folder(&self.folder, name, OFlags::NOFOLLOW)?;
        self.enter(folder, name);
        Ok(())
    }

    /// Goes on at the target of the link `name`.
    fn follow(&mut self, name: &OsStr) -> io::Result<Followed> {
        let link = Link::read(&self.folder, name)?;
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        self.note_owner(&link.found)?;
        if link.is_in_proc && !self.rest.is_empty() {
            // Only the kernel can follow it: it may lead to another file system's root, which has no path here.
            let folder = open_folder(&self.folder, name, OFlags::empty())?;
            self.enter(folder, name);
            return Ok(Followed::Link);
        }
        if link.is_in_proc && Found::behind(&self.folder, name)?.is_special() {
            return Ok(Followed::ProcLink);
        }
        self.push(&link.target);
        Ok(Followed::Link)
    }

    /// Notes that a link of another user was followed.
    fn note_owner(&mut self, link: &Found) -> io::Result<()> {
        let folder = Found::of(&self.folder)?;
        if link.has_other_names() && link.uid != folder.uid {
            return Err(denied(format!(
                "{} has a hard link to a symbolic link of user {}",
                self.path.display(),
                link.uid
            )));
        }
        // As Linux's protected_symlinks: everybody can put a link into such a folder.
        let is_shared = folder.mode & STICKY_FOR_ALL == STICKY_FOR_ALL;
        let is_changed = self.purpose == Purpose::Change && self.rest.is_empty();
        let is_restricted = self.user == ROOT || is_changed || is_shared;
        if !is_restricted || link.uid == ROOT || link.uid == self.user {
            return Ok(());
        }
        if self.led_by.is_some_and(|user| user != link.uid) {
            return Err(denied("links of several users lead there: use the path of the file itself".to_owned()));
        }
        self.led_by = Some(link.uid);
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
enum Followed {
    Link,
    /// A link of `/proc` to something without a path: only the kernel can follow it.
    ProcLink,
}

/// A symbolic link, with its target and its owner from one and the same link.
struct Link {
    found: Found,
    target: PathBuf,
    is_in_proc: bool,
}

#[cfg(target_os = "linux")]
impl Link {
    fn read(folder: impl AsFd, name: &OsStr) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let link = rustix::fs::openat(folder, name, flags, Mode::empty())?;
        let found = Found::of(&link)?;
        check_link(&found)?;
        let target = rustix::fs::readlinkat(&link, "", Vec::new())?;
        let is_in_proc = rustix::fs::fstatfs(&link)?.f_type == rustix::fs::PROC_SUPER_MAGIC;
        Ok(Self { found, target: to_path(target), is_in_proc })
    }
}

/// There is no handle of a link here: it is looked at before and after it is read.
#[cfg(not(target_os = "linux"))]
impl Link {
    fn read(folder: impl AsFd, name: &OsStr) -> io::Result<Self> {
        use rustix::fs::{AtFlags, readlinkat, statat};
        let look = || statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW);
        let before = look()?;
        let found = Found::from(&before);
        check_link(&found)?;
        let target = readlinkat(&folder, name, Vec::new())?;
        let after = look()?;
        let identity = |stat: &rustix::fs::Stat| (stat.st_dev, stat.st_ino, stat.st_ctime, stat.st_ctime_nsec);
        if identity(&before) != identity(&after) {
            return Err(io::Error::other("a link was replaced while it was being followed"));
        }
        Ok(Self { found, target: to_path(target), is_in_proc: false })
    }
}

fn check_link(found: &Found) -> io::Result<()> {
    if found.kind != FileType::Symlink {
        return Err(Errno::NOTDIR.into());
    }
    Ok(())
}

fn to_path(target: std::ffi::CString) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    OsString::from_vec(target.into_bytes()).into()
}

/// Opens a folder to use names in it; it may be one that cannot be listed.
fn open_folder(folder: impl AsFd, name: &OsStr, follow: OFlags) -> Result<OwnedFd, Errno> {
    #[cfg(target_os = "linux")]
    let access = OFlags::PATH;
    #[cfg(not(target_os = "linux"))]
    let access = OFlags::RDONLY;
    rustix::fs::openat(folder, name, access | OFlags::DIRECTORY | follow | OFlags::CLOEXEC, Mode::empty())
}
