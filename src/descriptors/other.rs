//! Platforms whose handles have no limit that matters.

use std::io;

/// A reserve of nothing.
#[derive(Debug)]
pub(crate) struct Reserve;

impl Reserve {
    pub(crate) fn new(_size: usize) -> Self {
        Self
    }

    pub(crate) fn release(&mut self) -> bool {
        false
    }

    pub(crate) fn release_all(&mut self) {}

    pub(crate) fn refill(&mut self) {}

    pub(crate) fn is_full(&self) -> bool {
        true
    }

    pub(crate) fn are_others_free(&mut self) -> bool {
        true
    }
}

pub(super) fn limit() -> Option<usize> {
    None
}

pub(crate) fn is_exhausted(_error: &io::Error) -> bool {
    false
}
