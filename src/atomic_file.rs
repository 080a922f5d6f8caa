//! Files that are replaced atomically: a reader never finds half of one, and a full disk leaves the old one.

#[cfg(not(unix))]
#[path = "atomic_file/other.rs"]
mod platform;
#[cfg(unix)]
#[path = "atomic_file/unix.rs"]
mod platform;
mod private_file;

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use self::platform::{check_link, keep_mode, make_private, sync_folder};
pub(crate) use self::{
    platform::{hand_over, readers},
    private_file::{FileError, PrivateFile},
};

/// The users that can read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Readers {
    /// Its owner alone.
    Owner,
    /// Others as well, with this mode.
    #[cfg_attr(not(unix), allow(dead_code, reason = "file modes are Unix's"))]
    Others { mode: u32 },
}

/// Replaces the content of `path`, and keeps its owner and mode. A new file is readable by this user alone (mode 0600 on
/// Unix), or by the folder's owner if root writes it. A device or a pipe is written to instead of replaced, and a symbolic
/// link stays one.
///
/// Safe for root in another user's folder, which may contain links of that user.
///
/// After an error the file is unchanged.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_by(path, content, open_private)
}

/// Replaces the content of `path` as [`replace`] does; a new file is readable by everybody.
pub(crate) fn replace_public(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_by(path, content, |options, draft| options.open(draft))
}

type Open = fn(&mut OpenOptions, &Path) -> io::Result<File>;

fn replace_by(path: &Path, content: &[u8], open: Open) -> io::Result<()> {
    let path = &linked(path)?;
    if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return OpenOptions::new().write(true).open(path)?.write_all(content);
    }
    let draft = beside(path, ".tmp");
    let write = || {
        // A process that was killed may have left one. Anything else in its place is neither followed nor written to.
        let _ = fs::remove_file(&draft);
        let mut file = open(OpenOptions::new().write(true).create_new(true), &draft)?;
        file.write_all(content)?;
        hand_over(&file, path)?;
        keep_mode(&file, path)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    let written = write();
    match written {
        Ok(()) => sync_folder(path),
        // The first error is the one to report.
        Err(_) => drop(fs::remove_file(&draft)),
    }
    written
}

/// Resolves a symbolic link, so that it stays one.
///
/// # Errors
/// The link and the file that it leads to belong to different users, and the link is not root's.
fn linked(path: &Path) -> io::Result<PathBuf> {
    let Ok(target) = fs::canonicalize(path) else { return Ok(path.to_owned()) };
    check_link(path, &target)?;
    Ok(target)
}

/// Reads `path`; `None` if there is no such file.
///
/// # Errors
/// It cannot be read, is not UTF-8, or is longer than `max` bytes.
pub(crate) fn read(path: &Path, max: u64) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    read_text(file, max).map(Some)
}

/// Reads an open file.
///
/// # Errors
/// It cannot be read, is not UTF-8, or is longer than `max` bytes.
pub(crate) fn read_text(file: File, max: u64) -> io::Result<String> {
    let mut text = String::new();
    if file.take(max + 1).read_to_string(&mut text)? as u64 > max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {max} bytes")));
    }
    Ok(text)
}

/// Locks `path` for a change; waits while another process holds the lock. The lock is a file of its own, since `path` is
/// replaced. It is released when the handle is dropped, or its process ends.
pub(crate) fn lock(path: &Path) -> io::Result<File> {
    let path = &linked(path)?;
    let lock = beside(path, ".lock");
    let file = match open_private(OpenOptions::new().write(true).create_new(true), &lock) {
        Ok(created) => {
            hand_over(&created, path)?;
            created
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => open_file(&lock)?,
        Err(error) => return Err(error),
    };
    file.lock()?;
    Ok(file)
}

/// Opens an existing lock file, and does not follow links. It is locked, never written to.
fn open_file(path: &Path) -> io::Result<File> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} is not a regular file; remove it", path.display()),
        ));
    }
    OpenOptions::new().write(true).open(path)
}

/// Appends `suffix` to a path.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Opens a file; a new one is readable by this user alone.
pub(crate) fn open_private(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    make_private(options).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_atomically_and_a_failure_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roster");
        assert_eq!(read(&path, 10).unwrap(), None);
        replace(&path, b"first").unwrap();
        replace(&path, b"second").unwrap();
        assert_eq!(read(&path, 10).unwrap().unwrap(), "second");
        assert_eq!(read(&path, 5).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
        fs::create_dir(beside(&path, ".tmp")).unwrap();
        assert!(replace(&path, b"third").is_err());
        assert_eq!(read(&path, 10).unwrap().unwrap(), "second");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_one_and_mode_and_group_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("roster"), folder.path().join("link"));
        replace(&path, b"first").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&path, &link).unwrap();
        let _lock = lock(&link).unwrap();
        assert!(beside(&path, ".lock").exists(), "one lock, whichever path leads to the file");
        replace(&link, b"second").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_root_changes_keeps_its_owner() {
        use std::os::unix::fs::{MetadataExt, chown};
        const OTHER: u32 = 54_321;
        let owner = |path: &Path| fs::metadata(path).map(|found| (found.uid(), found.gid())).unwrap();
        let folder = tempfile::tempdir().unwrap();
        if chown(folder.path(), Some(OTHER), Some(OTHER)).is_err() {
            eprintln!("skipped: only root can give files away");
            return;
        }
        let path = folder.path().join("roster");
        for content in [b"first", b"after"] {
            let _lock = lock(&path).unwrap();
            replace(&path, content).unwrap();
            assert_eq!(owner(&path), (OTHER, OTHER));
            assert_eq!(owner(&beside(&path, ".lock")), (OTHER, OTHER));
            chown(folder.path(), Some(0), Some(0)).unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn root_does_not_write_through_links_of_the_folders_owner() {
        use std::os::unix::fs::{MetadataExt, chown, lchown, symlink};
        const OTHER: u32 = 54_321;
        let folder = tempfile::tempdir().unwrap();
        let (path, roots) = (folder.path().join("roster"), folder.path().join("roots"));
        fs::write(&roots, "root's").unwrap();
        if chown(folder.path(), Some(OTHER), Some(OTHER)).is_err() {
            eprintln!("skipped: only root can give files away");
            return;
        }
        for suffix in ["", ".tmp", ".lock"] {
            symlink(&roots, beside(&path, suffix)).unwrap();
            lchown(beside(&path, suffix), Some(OTHER), Some(OTHER)).unwrap();
        }
        assert_eq!(replace(&path, b"content").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(lock(&path).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        fs::remove_file(&path).unwrap();
        replace(&path, b"content").unwrap();
        assert!(lock(&path).is_err());
        assert_eq!((fs::read_to_string(&roots).unwrap(), fs::metadata(&roots).unwrap().uid()), ("root's".into(), 0));
        assert_eq!(fs::read(&path).unwrap(), b"content");
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_written_to_and_stays() {
        use std::os::unix::fs::FileTypeExt;
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read_to_string(pipe).unwrap()
        });
        replace(&pipe, b"content").unwrap();
        assert_eq!(reader.join().unwrap(), "content");
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    }
}
