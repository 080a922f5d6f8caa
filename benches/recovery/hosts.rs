//! Two hosts with a tunnel from the left to a server on the right.

use std::time::{Duration, Instant};

use lab::{Conditions, Link};

use crate::{caller::Caller, failure::Failure, server::Server, tunnel::Tunnel};

/// A line between two cities, fast enough that an upload takes seconds.
pub(crate) const CONDITIONS: Conditions =
    Conditions { delay: Duration::from_millis(20), loss: 0.0, rate: 100.0, queue: Duration::from_millis(50) };
/// What takes longer has not come back.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(45);

/// A link, what runs at its ends, and who calls.
#[derive(Debug)]
pub(crate) struct Hosts<'a> {
    pub(crate) link: &'a Link,
    pub(crate) server: &'a Server,
    pub(crate) tunnel: Tunnel,
    pub(crate) caller: Caller,
}

impl<'a> Hosts<'a> {
    /// Waits until a call has been answered through `tunnel`.
    pub(crate) fn with(link: &'a Link, server: &'a Server, tunnel: Tunnel) -> Result<Self, Failure> {
        let caller = Caller { host: link.left().clone(), dial: tunnel.dial };
        let hosts = Self { link, server, tunnel, caller };
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let ended = hosts.caller.poll();
            match ended.status {
                Ok(200) => return Ok(hosts),
                _ if Instant::now() < deadline => {}
                status => return Err(format!("no call passes before anything is broken: {status:?}").into()),
            }
        }
    }
}
