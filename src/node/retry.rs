//! Which calls to try again.

use std::error::Error;

use tonic::{Code, Status};

/// Whether the call or its answer was lost on the way: nothing is wrong with the call itself.
///
/// A status that was made locally has a source. tonic reports a connection that broke as `UNKNOWN`.
pub(super) fn is_unavailable(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        Code::Unknown => status.source().is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_call_that_was_lost_is_tried_again() {
        let broken = Status::from_error("connection reset".into());
        assert!(is_unavailable(&Status::unavailable("")) && is_unavailable(&broken));
        assert!(!is_unavailable(&Status::unknown("")) && !is_unavailable(&Status::permission_denied("")));
    }
}
