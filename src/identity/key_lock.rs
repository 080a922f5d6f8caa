//! The lock that keeps two funnels from running with one key file.

use std::{
    fmt,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    process,
};

use tracing::{debug, warn};

use crate::atomic_file::{self, beside};

/// Whether a locked file can still be read. On Windows it cannot: there, the process id is in a file of its own for that
/// reason, and the key file itself is never locked.
const LOCKED_FILES_ARE_READABLE: bool = cfg!(not(windows));
/// The longest file with a process id, in bytes.
const MAX_PID_FILE: u64 = 32;

/// Keeps other funnels from running with the same key file, until it is dropped or its process ends.
///
/// Commands that only read the key do not need it.
#[derive(Debug)]
pub(crate) struct KeyLock {
    /// `None` where nothing can be locked.
    _held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    /// Names this process for those that are refused.
    pid_file: PathBuf,
    /// The lock file, and the key file itself: a funnel of another user may not be able to create the lock file.
    _locked: [Option<File>; 2],
}

impl KeyLock {
    /// Locks a key file, which must exist, and a file beside it or in `state_dir` (`.lock`) unless that folder is read-only, and
    /// names this process in another one (`.pid`). Where locks do not work, the funnel runs without one, with a warning.
    ///
    /// # Errors
    /// [`KeyInUse`] if another funnel has locked it.
    pub(crate) fn acquire(key_file: &Path, state_dir: Option<&Path>) -> Result<Self, KeyInUse> {
        // One lock, whichever path leads to the file.
        let key_file = fs::canonicalize(key_file).unwrap_or_else(|_| key_file.to_owned());
        let state_path = match (state_dir, key_file.file_name()) {
            (Some(state_dir), Some(name)) => state_dir.join(name),
            _ => key_file.clone(),
        };
        let pid_file = beside(&state_path, ".pid");
        let mut locked = [None, None];
        for (file, locked) in lock_files(&key_file, &state_path).into_iter().zip(&mut locked) {
            match file.as_ref().map(File::try_lock) {
                Some(Err(TryLockError::WouldBlock)) => {
                    return Err(KeyInUse { holder: read_pid(&pid_file), key_file });
                }
                Some(Err(TryLockError::Error(error))) => {
                    debug!(key_file = %key_file.display(), %error, "this file system cannot lock files");
                }
                Some(Ok(())) => *locked = file,
                None => {}
            }
        }
        if locked.iter().all(Option::is_none) {
            warn!(
                key_file = %key_file.display(),
                "the key file cannot be locked here: make sure that no other funnel runs with it"
            );
            return Ok(Self { _held: None });
        }
        // One of a process that was killed would name the wrong one.
        let _ = fs::remove_file(&pid_file);
        if let Err(error) = write_pid(&pid_file, &state_path) {
            debug!(path = %pid_file.display(), %error, "cannot write the process id");
        }
        Ok(Self { _held: Some(Held { pid_file, _locked: locked }) })
    }
}

impl Drop for Held {
    /// Removes the process id; the lock is released afterwards.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.pid_file);
    }
}

/// Opens the files to lock: that beside the key file, or where state is kept, and the key file itself.
fn lock_files(key_file: &Path, state_path: &Path) -> [Option<File>; 2] {
    let beside = atomic_file::open_lock(state_path).map_err(|error| {
        debug!(key_file = %key_file.display(), %error, "no lock file beside the key file");
    });
    let key = atomic_file::open(key_file).ok().flatten().filter(|_| LOCKED_FILES_ARE_READABLE);
    [beside.ok(), key]
}

/// Writes the process id, to the key file's owner, or the folder's if the key is in another one.
fn write_pid(path: &Path, state_path: &Path) -> io::Result<()> {
    atomic_file::replace_like(path, format!("{}\n", process::id()).as_bytes(), state_path)
}

fn read_pid(path: &Path) -> Option<u32> {
    atomic_file::read(path, MAX_PID_FILE).ok()??.trim().parse().ok()
}

/// A key file with which another funnel runs.
#[derive(Debug, thiserror::Error)]
#[error(
    "the key file {key_file} is in use: {} runs with it; stop that one, or give this one a key of its own (--key-file)",
    Holder(*.holder)
)]
pub(crate) struct KeyInUse {
    key_file: PathBuf,
    /// The process of that funnel; `None` if it is not known.
    holder: Option<u32>,
}

struct Holder(Option<u32>);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pid) if pid == process::id() => write!(f, "another funnel of this process ({pid})"),
            Some(pid) => write!(f, "the funnel of process {pid}"),
            None => f.write_str("another funnel"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_locked_once_whichever_path_leads_to_it_until_the_lock_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let key_file = folder.path().join("secret.key");
        fs::write(&key_file, "key").unwrap();
        let lock = KeyLock::acquire(&key_file, None).unwrap();
        let refused = KeyLock::acquire(&folder.path().join(".").join("secret.key"), None).unwrap_err().to_string();
        let pid = process::id();
        assert!(refused.contains("secret.key is in use"), "{refused}");
        assert!(refused.contains(&format!("another funnel of this process ({pid}) runs with it")), "{refused}");
        assert_eq!(fs::read_to_string(&key_file).unwrap(), "key", "it can be read");
        drop(lock);
        KeyLock::acquire(&key_file, None).unwrap();
        assert!(!beside(&key_file, ".pid").exists());
    }

    #[test]
    fn what_a_killed_process_left_is_replaced_and_an_unknown_process_is_not_named() {
        let folder = tempfile::tempdir().unwrap();
        let (key_file, pid_file) = (folder.path().join("secret.key"), folder.path().join("secret.key.pid"));
        fs::write(&key_file, "key").unwrap();
        fs::write(&pid_file, "1").unwrap();
        let _lock = KeyLock::acquire(&key_file, None).unwrap();
        assert_eq!(read_pid(&pid_file), Some(process::id()));
        for content in ["", "-1", "none", &"1".repeat(1000)] {
            fs::write(&pid_file, content).unwrap();
            let refused = KeyLock::acquire(&key_file, None).unwrap_err().to_string();
            assert!(refused.contains("in use: another funnel runs with it"), "{refused}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_a_key_file_has_its_lock() {
        let folder = tempfile::tempdir().unwrap();
        let (key_file, link) = (folder.path().join("secret.key"), folder.path().join("link"));
        fs::write(&key_file, "key").unwrap();
        std::os::unix::fs::symlink(&key_file, &link).unwrap();
        let _lock = KeyLock::acquire(&link, None).unwrap();
        KeyLock::acquire(&key_file, None).unwrap_err();
    }

    #[test]
    fn where_no_lock_file_can_be_made_the_key_file_itself_is_locked() {
        let folder = tempfile::tempdir().unwrap();
        let key_file = folder.path().join("secret.key");
        fs::write(&key_file, "key").unwrap();
        // Even root cannot make a file where a folder is.
        fs::create_dir(beside(&key_file, ".lock")).unwrap();
        fs::create_dir(beside(&key_file, ".pid")).unwrap();
        let lock = KeyLock::acquire(&key_file, None).unwrap();
        assert_eq!(KeyLock::acquire(&key_file, None).is_err(), LOCKED_FILES_ARE_READABLE);
        drop(lock);
        KeyLock::acquire(&key_file, None).unwrap();
    }
}
