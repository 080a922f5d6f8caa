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

/// Puts `content` in the place of what `path` holds, readable by this user alone (mode 0600 on Unix). What is no file, a
/// device or a pipe, is written to and stays.
///
/// On an error the file is as it was.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_by(path, content, write)
}

/// The same for what everybody may read.
pub(crate) fn replace_public(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_by(path, content, |draft, content| fs::write(draft, content))
}

fn replace_by(path: &Path, content: &[u8], write: impl FnOnce(&Path, &[u8]) -> io::Result<()>) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return OpenOptions::new().write(true).open(path)?.write_all(content);
    }
    let draft = beside(path, ".tmp");
    let written = write(&draft, content).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&draft);
    }
    written
}

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
    let file = open_private(OpenOptions::new().write(true).create(true).truncate(false), &beside(path, ".lock"))?;
    file.lock()?;
    Ok(file)
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

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = open_private(OpenOptions::new().write(true).create(true).truncate(true), path)?;
    file.write_all(content)?;
    file.sync_all()
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
