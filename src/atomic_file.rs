//! Files that are replaced atomically: a reader never finds half of one, and a full disk leaves the old one.
//!
//! On Unix no path is used twice: its folder is opened once, without following links of other users, and everything else
//! happens relative to that folder, on files that were opened and looked at. What another user puts there in between is
//! refused, or is not touched.

mod home;
mod in_place;
mod lock;
#[cfg(not(unix))]
mod other;
mod private_file;
#[cfg(test)]
mod tests;
#[cfg(unix)]
mod unix;

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

pub use self::home::expand_home;
#[cfg(not(unix))]
use self::other as platform;
use self::platform::Place;
#[cfg(unix)]
use self::unix as platform;
pub(crate) use self::{
    lock::{lock, open_lock},
    private_file::{FileError, PrivateFile},
};

/// The byte order mark, which some editors put at the beginning of a text.
const BOM: char = '\u{feff}';

/// The users that can read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Readers {
    /// Its owner, or those whom root has handed it to.
    Intended,
    /// Others as well, with this mode.
    #[cfg_attr(not(unix), allow(dead_code, reason = "file modes are Unix's"))]
    Others { mode: u32 },
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    /// Reads and writes a lock file.
    Lock,
    Append,
    /// Writes to a device or a pipe, or over the content of a file.
    Write,
}

/// Who may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Audience {
    /// Its owner alone: mode 0600, whatever the process's umask is.
    Owner,
    /// Everybody: mode 0644, whatever the process's umask is.
    Everybody,
}

/// Replaces the content of `path`, and keeps its owner and mode. One that is mounted by itself, which cannot be replaced, is
/// changed where it is: `content` is text that may end with empty lines. A new file is readable by this user alone (mode 0600 on
/// Unix), or by the folder's owner if root writes it. A symbolic link stays one.
///
/// Safe for root in another user's folder: a link of that user is followed only to that user's files.
///
/// # Errors
/// The file cannot be written, or is not a regular file. It is unchanged.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_at(&Place::to_change(path)?, content, Audience::Owner, None)
}

/// Replaces the content of `path` as [`replace`] does; a new file gets the owner and the mode of `model`, if that exists.
pub(crate) fn replace_like(path: &Path, content: &[u8], model: &Path) -> io::Result<()> {
    let model = Place::to_change(model)?;
    replace_at(&Place::to_change(path)?, content, Audience::Owner, Some(&model))
}

/// Replaces the content of `path` as [`replace`] does; a new file is readable by everybody.
pub(crate) fn replace_public(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_at(&Place::to_change(path)?, content, Audience::Everybody, None)
}

/// Replaces the content of `path` as [`replace_public`] does, or writes to it if it is a device or a pipe. A named pipe is
/// waited for, until another process reads it.
pub(crate) fn write_public(path: &Path, content: &[u8]) -> io::Result<()> {
    let place = Place::to_change(path)?;
    match place.open_special(Access::Write)? {
        Some(mut device) => device.write_all(content),
        None => replace_at(&place, content, Audience::Everybody, None),
    }
}

fn replace_at(place: &Place, content: &[u8], audience: Audience, model: Option<&Place>) -> io::Result<()> {
    let found = place.look()?;
    let exists = found.is_some();
    let before = match (found, model) {
        (None, Some(model)) => model.look()?,
        (found, _) => found,
    };
    let draft = place.beside(".tmp");
    let write = || {
        // A process that was killed may have left one. Anything else in its place is neither followed nor written to.
        let _ = draft.remove();
        let mut file = draft.create(audience)?;
        file.write_all(content)?;
        place.hand_over(&file, before.as_ref())?;
        file.sync_all()?;
        draft.rename_to(place)
    };
    let written = write();
    if written.is_ok() {
        place.sync();
        return written;
    }
    let written = match written {
        // The draft, if there could be one, stays beside it meanwhile.
        Err(error) if exists && in_place::is_needed(place, &error) => in_place::rewrite(place, content),
        failed => failed,
    };
    // The first error is the one to report.
    let _ = draft.remove();
    written
}

/// Creates `path`, and its folder (mode 0700) if that is absent, with an owner and a mode as [`replace`] gives them. The content is
/// complete before the file has its name, except on a file system without hard links. `draft` is the name that it has until
/// then, which no other process uses.
///
/// # Errors
/// The file exists, or cannot be written.
pub(crate) fn create(path: &Path, draft: &str, content: &[u8]) -> io::Result<()> {
    let place = Place::with_folder(path)?;
    let write = |to: &Place| {
        let mut file = to.create(Audience::Owner)?;
        place.hand_over(&file, None)?;
        file.write_all(content)?;
        file.sync_all()
    };
    let draft = place.named(draft);
    let written = write(&draft).and_then(|()| match draft.link_to(&place) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => write(&place),
        linked => linked,
    });
    let removed = draft.remove();
    written.and(removed)?;
    place.sync();
    Ok(())
}

/// Opens `path` to append to it, and creates it, and its folder, if it is absent; a new one is readable by this user alone. A
/// device or a pipe is opened as well; see [`rotate`].
pub(crate) fn append(path: &Path) -> io::Result<File> {
    let place = Place::with_folder(path)?;
    if let Some(device) = place.open_special(Access::Append)? {
        return Ok(device);
    }
    place.open_or_create(Access::Append, |created| place.hand_over(created, None))
}

/// Renames the regular file `path` to `….old`, in place of an earlier one: `….1` is logrotate's.
///
/// # Errors
/// [`NotFound`](io::ErrorKind::NotFound) if there is no such file, or it cannot be renamed.
pub(crate) fn rotate(path: &Path) -> io::Result<()> {
    let place = Place::to_change(path)?;
    place.look()?.ok_or(io::ErrorKind::NotFound)?;
    place.rename_to(&place.beside(".old"))
}

/// Reads the regular file `path`, without a byte order mark; `None` if there is no such file. Never waits for a pipe.
///
/// # Errors
/// It cannot be read, is not a regular file, is not UTF-8, or is longer than `max` bytes.
pub(crate) fn read(path: &Path, max: u64) -> io::Result<Option<String>> {
    open(path)?.map(|file| read_text(file, max)).transpose()
}

/// Opens the regular file `path` for reading; `None` if there is no such file. Never waits for a pipe.
///
/// # Errors
/// It cannot be opened, or is not a regular file.
pub(crate) fn open(path: &Path) -> io::Result<Option<File>> {
    match Place::to_read(path).and_then(|place| place.open(Access::Read)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// Opens `path` as [`open`] does, and finds out who can read it.
pub(crate) fn open_private(path: &Path) -> io::Result<Option<(File, Readers)>> {
    let opened = Place::to_read(path).and_then(|place| {
        let file = place.open(Access::Read)?;
        let readers = place.readers(&file)?;
        Ok((file, readers))
    });
    match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// Opens `path` for reading, and finds out who can read it. A pipe is waited for: for what an operator gives a process at its
/// start, and it reads once.
pub(crate) fn open_private_input(path: &Path) -> io::Result<(File, Readers)> {
    let place = Place::to_read(path)?;
    let file = match place.open_special(Access::Read)? {
        Some(pipe) => pipe,
        None => place.open(Access::Read)?,
    };
    let readers = place.readers(&file)?;
    Ok((file, readers))
}

/// Reads an open file, without a byte order mark.
///
/// # Errors
/// It cannot be read, is not a regular file, is not UTF-8, or is longer than `max` bytes.
pub(crate) fn read_text(file: File, max: u64) -> io::Result<String> {
    if !file.metadata()?.is_file() {
        return Err(not_regular("a folder, a device or a pipe"));
    }
    let mut text = String::new();
    if file.take(max + 1).read_to_string(&mut text)? as u64 > max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {max} bytes")));
    }
    if text.starts_with(BOM) {
        text.remove(0);
    }
    Ok(text)
}

/// Returns a text without a byte order mark at its beginning.
pub(crate) fn without_bom(text: &str) -> &str {
    text.strip_prefix(BOM).unwrap_or(text)
}

/// Returns whether what is written is wrong: the content of a file, or its name. Otherwise the machine refuses it now.
pub(crate) fn is_mistake(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, InvalidData, InvalidFilename};
    matches!(error.kind(), FileTooLarge | InvalidData | InvalidFilename)
}

fn not_regular(kind: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("it is {kind}, not a regular file: name another, or remove it"))
}

/// Appends `suffix` to a path.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
