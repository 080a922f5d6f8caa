//! How things are reported: an error with its causes in one line, and what is reported once or on a change alone.

mod chain;
mod on_change;
mod once_per_peer;

pub(crate) use self::{chain::chain, on_change::OnChange, once_per_peer::OncePerPeer};
