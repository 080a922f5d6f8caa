//! How things are reported: a line with an error's causes, and what is reported once.

mod once_per_peer;

pub(crate) use self::once_per_peer::Strangers;
