//! Files that are replaced as a whole: whoever reads one never finds half of it, and a full disk leaves the old one.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// Who can read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Readers {
    /// The user whose it is.
    Owner,
    /// Others too, by this mode.
    #[cfg_attr(not(unix), allow(dead_code, reason = "file modes are Unix's"))]
    Others { mode: u32 },
}

/// Puts `content` in the place of what `path` holds, whose owner and mode stay; where there is nothing, readable by this user
/// alone (mode 0600 on Unix), or by the folder's owner where root writes. What is no file, a device or a pipe, is written
/// to and stays; so does a link.
///
/// Safe for root in a folder of somebody else's, who may put links there.
///
/// On an error the file is as it was.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_by(path, content, open_private)
}

/// The same, and where there is nothing, readable by everybody.
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
        // What a process left that was killed. Whatever else is in the way is not followed, nor written to.
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
        // The first error is the one to tell.
        Err(_) => drop(fs::remove_file(&draft)),
    }
    written
}

/// Where a link leads: it is to stay one.
///
/// # Errors
/// It leads to a file of another user's than the link itself, and the link is not root's.
fn linked(path: &Path) -> io::Result<PathBuf> {
    let Ok(target) = fs::canonicalize(path) else { return Ok(path.to_owned()) };
    check_link(path, &target)?;
    Ok(target)
}

#[cfg(unix)]
fn check_link(path: &Path, target: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let (link, file) = (fs::symlink_metadata(path)?.uid(), fs::symlink_metadata(target)?.uid());
    if link == 0 || link == file {
        return Ok(());
    }
    let reason = format!("it is a link of user {link} to {} of user {file}: name that file itself", target.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, reason))
}

#[cfg(not(unix))]
fn check_link(_: &Path, _: &Path) -> io::Result<()> {
    Ok(())
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Gives `file`, which this process has made, to whom `path` belongs, or else its folder: a command that root runs is to
/// take nothing away from the funnel.
#[cfg(unix)]
pub(crate) fn hand_over(file: &File, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let Ok(before) = fs::metadata(path) else {
        let folder = fs::metadata(folder(path))?;
        // Only root can; anybody else keeps what it makes.
        let _ = fchown(file, Some(folder.uid()), Some(folder.gid()));
        return Ok(());
    };
    if file.metadata()?.uid() != before.uid() {
        fchown(file, Some(before.uid()), None).map_err(|error| {
            let reason = format!("it belongs to another user ({}): run this as that user, or as root", before.uid());
            io::Error::new(error.kind(), reason)
        })?;
    }
    // A group that this user is not in is lost, and `keep_mode` sees it.
    let _ = fchown(file, None, Some(before.gid()));
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn hand_over(_: &File, _: &Path) -> io::Result<()> {
    Ok(())
}

/// Gives `file` the mode of `path`, but to no other group.
#[cfg(unix)]
fn keep_mode(file: &File, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let Ok(before) = fs::metadata(path) else { return Ok(()) };
    let is_groups = file.metadata()?.gid() == before.gid();
    let mode = if is_groups { before.mode() } else { before.mode() & !0o070 };
    file.set_permissions(fs::Permissions::from_mode(mode & 0o777))
}

#[cfg(not(unix))]
fn keep_mode(_: &File, _: &Path) -> io::Result<()> {
    Ok(())
}

/// A file is in its place for good only when its folder is on the disk. The file is the new one in any case.
#[cfg(unix)]
fn sync_folder(path: &Path) {
    let _ = File::open(folder(path)).and_then(|folder| folder.sync_all());
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) {}

/// What `path` holds, `None` if there is no such file.
///
/// # Errors
/// It cannot be read, is no UTF-8, or is longer than `max` bytes.
pub(crate) fn read(path: &Path, max: u64) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    if file.take(max + 1).read_to_string(&mut text)? as u64 > max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {max} bytes")));
    }
    Ok(Some(text))
}

/// Waits until nobody else changes `path`. The lock is a file of its own, since `path` is replaced; it ends with the
/// handle, or the process that holds it.
pub(crate) fn lock(path: &Path) -> io::Result<File> {
    let path = &linked(path)?;
    let lock = beside(path, ".lock");
    let file = match open_private(OpenOptions::new().write(true).create_new(true), &lock) {
        Ok(made) => {
            hand_over(&made, path)?;
            made
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => open_file(&lock)?,
        Err(error) => return Err(error),
    };
    file.lock()?;
    Ok(file)
}

/// Opens a file, and nothing that leads to one: what is opened is locked, and not written to.
fn open_file(path: &Path) -> io::Result<File> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is no file; remove it", path.display())));
    }
    OpenOptions::new().write(true).open(path)
}

#[cfg(unix)]
pub(crate) fn readers(file: &File) -> io::Result<Readers> {
    use std::os::unix::fs::PermissionsExt;
    let mode = file.metadata()?.permissions().mode();
    Ok(if mode & 0o077 == 0 { Readers::Owner } else { Readers::Others { mode: mode & 0o777 } })
}

/// Elsewhere the folder's own access list protects the file: on Windows application data belongs to its user.
#[cfg(not(unix))]
pub(crate) fn readers(_file: &File) -> io::Result<Readers> {
    Ok(Readers::Owner)
}

/// The same path with `suffix` at its end.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Opens what only this user may read.
pub(crate) fn open_private(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_a_failure_leaves_the_old_one() {
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
        assert!(beside(&path, ".lock").exists(), "one lock, whatever leads to the file");
        replace(&link, b"second").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[cfg(unix)]
    #[test]
    fn what_root_changes_belongs_to_whom_it_belonged() {
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
    fn what_root_writes_reaches_no_file_that_the_folders_owner_has_put_a_link_to() {
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
    fn what_is_no_file_is_written_to_and_stays() {
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
