//! File descriptors on Unix.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    io::Errno,
    process::{Resource, getrlimit},
};

/// Descriptors that are held so that they can be released when there are no others.
#[derive(Debug)]
pub(crate) struct Reserve {
    /// What the others are duplicates of.
    first: Option<OwnedFd>,
    held: Vec<OwnedFd>,
    size: usize,
}

impl Reserve {
    /// Sets `size` descriptors aside, or as many as there are.
    pub(crate) fn new(size: usize) -> Self {
        let mut reserve = Self { first: None, held: Vec::with_capacity(size), size };
        reserve.refill();
        reserve
    }

    /// Releases one descriptor; `false` if none is left.
    pub(crate) fn release(&mut self) -> bool {
        self.held.pop().is_some()
    }

    /// Releases all descriptors.
    pub(crate) fn release_all(&mut self) {
        self.held.clear();
    }

    /// Sets descriptors aside again, as many as there are.
    pub(crate) fn refill(&mut self) {
        while !self.is_full() {
            let Ok(another) = self.duplicate() else { return };
            self.held.push(another);
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.held.len() >= self.size
    }

    /// Returns whether the process has as many descriptors besides this reserve.
    pub(crate) fn are_others_free(&mut self) -> bool {
        (0..self.size).map(|_| self.duplicate()).collect::<io::Result<Vec<_>>>().is_ok()
    }

    fn duplicate(&mut self) -> io::Result<OwnedFd> {
        let first = match self.first.take() {
            Some(first) => first,
            None => OwnedFd::from(io::pipe()?.0),
        };
        self.first.insert(first).as_fd().try_clone_to_owned()
    }
}

/// Returns how many descriptors this process may have; `None` without a limit.
pub(super) fn limit() -> Option<usize> {
    getrlimit(Resource::Nofile).current.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Returns whether an operation failed because the process, or the machine, has no more descriptors.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE].map(|code| Some(code.raw_os_error())).contains(&error.raw_os_error())
}
