//! Locks on files that are replaced.

use std::{
    fmt,
    fs::{File, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{Access, Place, in_place};

/// How long a change waits for the lock: many times longer than a change takes.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(10);
/// The longest text that is read from a lock file: a process id and a line end.
const MAX_LEN: u64 = 16;

/// Locks `path` for a change; waits up to 5 s while another process holds the lock. The lock is a file of its own
/// (`….lock`), since `path` is replaced; its folder is created if it is absent. Where there can be none beside a file that is
/// mounted by itself, that is locked. It is released when the handle is dropped, or
/// its process ends.
///
/// # Errors
/// [`TimedOut`](io::ErrorKind::TimedOut) with a [`LockHeld`], or the lock file cannot be used.
pub(crate) fn lock(path: &Path) -> io::Result<File> {
    lock_within(path, TIMEOUT)
}

/// Locks `path` as [`lock`] does, and waits up to `timeout`; not at all if that is zero.
pub(crate) fn lock_within(path: &Path, timeout: Duration) -> io::Result<File> {
    let Lock { place: lock, mut file, is_separate } = open(path)?;
    let deadline = Instant::now() + timeout;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return Err(explained(&lock, error)),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                let held = LockHeld { lock: lock.path().to_owned(), holder: read_holder(&mut file), timeout };
                return Err(io::Error::new(io::ErrorKind::TimedOut, held));
            }
            Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
        }
    }
    if is_separate {
        // It is for messages alone: a full disk does not keep anybody from a change.
        let _ = write_holder(&mut file);
    }
    Ok(file)
}

/// Opens the lock file of `path`, which is not locked yet.
pub(crate) fn open_lock(path: &Path) -> io::Result<File> {
    open(path).map(|lock| lock.file)
}

/// A lock file.
struct Lock {
    place: Place,
    file: File,
    /// It is a file of its own.
    is_separate: bool,
}

fn open(path: &Path) -> io::Result<Lock> {
    let place = Place::with_folder(path)?;
    let lock = place.beside(".lock");
    let before = place.look()?;
    let hand_over = |created: &File| place.hand_over(created, before.as_ref());
    match lock.open_or_create(Access::Lock, hand_over) {
        Ok(file) => Ok(Lock { place: lock, file, is_separate: true }),
        // It is never replaced, so that it can be locked itself.
        Err(error) if before.is_some() && in_place::is_needed(&place, &error) => {
            let file = place.open(Access::Lock).map_err(|error| explained(&place, error))?;
            Ok(Lock { place, file, is_separate: false })
        }
        Err(error) => Err(explained(&lock, error)),
    }
}

fn explained(lock: &Place, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot use the lock file {}: {error}", lock.path().display()))
}

fn write_holder(file: &mut File) -> io::Result<()> {
    file.rewind()?;
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())
}

/// Returns the id of the process that holds the lock. It is unknown on Windows, where nobody else can read a locked file.
fn read_holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().and_then(|()| file.take(MAX_LEN).read_to_string(&mut text)).ok()?;
    text.trim().parse().ok()
}

/// Another process holds a lock.
#[derive(Debug)]
pub(crate) struct LockHeld {
    pub(crate) lock: PathBuf,
    /// The id of the process, if it is known.
    pub(crate) holder: Option<u32>,
    timeout: Duration,
}

impl std::error::Error for LockHeld {}

impl fmt::Display for LockHeld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.holder {
            Some(id) => {
                write!(f, "process {id} of this machine or a container holds the lock {}", self.lock.display())?
            }
            None => write!(f, "another process holds the lock {}", self.lock.display())?,
        }
        if !self.timeout.is_zero() {
            write!(
                f,
                " and has not released it within {} s; if it does not go on, end it",
                self.timeout.as_secs_f32()
            )?;
        }
        Ok(())
    }
}
