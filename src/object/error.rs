//! Errors of objects, records and arrays.

use std::{error::Error, fmt, sync::Arc};

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// Content that cannot be used: a damaged object, an unknown record, an unsupported array.
///
/// Its text names the cause too, in one line: the text is all that the sender of a message receives of it.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub struct ContentError(Arc<Problem>);

#[derive(Debug, thiserror::Error)]
#[error("{what}: {reason}{}", Cause(.source.as_deref()))]
struct Problem {
    what: String,
    reason: String,
    source: Option<BoxError>,
}

impl ContentError {
    pub(crate) fn new(what: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self::of(what, reason, None)
    }

    pub(crate) fn with_source(what: impl fmt::Display, reason: impl fmt::Display, source: impl Into<BoxError>) -> Self {
        Self::of(what, reason, Some(source.into()))
    }

    /// Makes the error for an object that cannot be used.
    pub(crate) fn object(id: &str, reason: impl fmt::Display) -> Self {
        Self::new(format_args!("object {}", short(id)), reason)
    }

    /// Makes the error for an object whose body cannot be decoded.
    pub(crate) fn body(id: &str, source: impl Into<BoxError>) -> Self {
        Self::with_source(format_args!("object {}", short(id)), "its body is invalid", source)
    }

    fn of(what: impl fmt::Display, reason: impl fmt::Display, source: Option<BoxError>) -> Self {
        Self(Arc::new(Problem { what: what.to_string(), reason: reason.to_string(), source }))
    }
}

/// Shortens an object id to its first digits. A text that is too short to be an id stays whole.
pub(crate) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

struct Cause<'a>(Option<&'a (dyn Error + Send + Sync)>);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |cause| write!(f, ": {cause}"))
    }
}
