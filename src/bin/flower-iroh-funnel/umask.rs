//! The process's umask.

/// Has the process create files for its user alone: a file that others may read is given its mode explicitly.
///
/// With the umask that it was started with, a folder could be open to everybody, or closed to its owner.
pub(crate) fn set() {
    #[cfg(unix)]
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
}
