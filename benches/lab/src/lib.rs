//! Emulated network links for tests and benches: two hosts, and between them a delay, loss, a rate and a queue.
//!
//! ```text
//!   left host                        this process                         right host
//! ┌───────────┐   TUN   ┌───────────────────────────────────┐   TUN   ┌────────────┐
//! │ processes │ ──────► │ lost? ─► queue at rate ─► delay   │ ──────► │ processes  │
//! │ 10.77.0.1 │ ◄────── │   delay ◄─ queue at rate ◄─ lost? │ ◄────── │ 10.77.0.2  │
//! └───────────┘         └───────────────────────────────────┘         └────────────┘
//! ```
//!
//! A host is a network namespace without a name, which ends with the [`Link`] and the processes in it, however they end.
//! Every link has the same addresses: hosts of different links cannot meet. What measures over a link asks first whether
//! it is what was asked for, with [`Link::assert_as_asked`].
//!
//! ```no_run
//! use std::{process::Command, time::Duration};
//!
//! if let Err(unavailable) = lab::available() {
//!     eprintln!("skipped: {unavailable}");
//!     return Ok(());
//! }
//! let conditions =
//!     lab::Conditions { delay: Duration::from_millis(50), loss: 0.1, rate: 100.0, queue: Duration::from_millis(50) };
//! let link = lab::Link::new(conditions)?;
//! println!("{}", link.assert_as_asked()?);
//! let ping = link.left().spawn(Command::new("ping").arg("-c3").arg(link.right().addr().to_string()))?.wait()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod conditions;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod linux;
mod measured;

#[cfg(not(target_os = "linux"))]
use self::elsewhere as platform;
#[cfg(target_os = "linux")]
use self::linux as platform;
pub use self::{
    conditions::Conditions,
    measured::{Counts, Measured, MeasuredWay, Mismatch},
    platform::{Host, Link},
};

/// Why there are no emulated links here, in one sentence.
#[derive(Debug)]
pub struct Unavailable(String);

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no emulated links: {}", self.0)
    }
}

impl std::error::Error for Unavailable {}

/// Whether this machine and user can have emulated links: Linux, root, `/dev/net/tun` and `ip`.
///
/// # Errors
/// What is missing. Who asks prints it and skips.
pub fn available() -> Result<(), Unavailable> {
    platform::available().map_err(Unavailable)
}
