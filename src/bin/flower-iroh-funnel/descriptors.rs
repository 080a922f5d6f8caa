//! The limit of open files.

/// Raises the soft limit of open files to the hard one: calls of many peers need more than the usual 1,024.
#[cfg(unix)]
pub(crate) fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use tracing::{debug, warn};

    /// What macOS allows where its hard limit says more.
    const OPEN_MAX: u64 = 10_240;
    let before = getrlimit(Resource::Nofile);
    let raise = |current| setrlimit(Resource::Nofile, Rlimit { current, ..before });
    let is_more = |limit: u64| before.current.is_some_and(|current| current < limit);
    let raised = match before.maximum {
        Some(maximum) if !is_more(maximum) => Ok(()),
        None if before.current.is_none() => Ok(()),
        maximum => raise(maximum).or_else(|error| if is_more(OPEN_MAX) { raise(Some(OPEN_MAX)) } else { Err(error) }),
    };
    if let Err(error) = raised {
        warn!(%error, "the limit of open files stays as it is");
    }
    debug!(before = ?before.current, now = ?getrlimit(Resource::Nofile).current, "limit of open files");
}

/// There is no such limit.
#[cfg(not(unix))]
pub(crate) fn raise_limit() {}
