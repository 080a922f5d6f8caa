//! How long and how much one measurement takes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The size of a measurement, the same for every competitor at a site.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Pace {
    /// Time of use before anything is measured, except where coldness is what is measured.
    pub(crate) warm_up: Duration,
    /// Time that a measurement takes which could go on for ever.
    pub(crate) measured: Duration,
    /// Time of `mixed`, which needs enough small calls for a p99.
    pub(crate) mixed: Duration,
    /// Time of `beside-*`, in which two flows must come to terms: whole seconds, as the warm-up is. None in older files.
    #[serde(default)]
    pub(crate) beside: Duration,
    /// Calls one after the other.
    pub(crate) calls: usize,
    /// Objects of a model; in older files, 0 stands for 12.
    #[serde(default)]
    pub(crate) objects: usize,
    /// After this a transfer counts as not done.
    pub(crate) timeout: Duration,
}

impl Pace {
    /// Where only the machine is the limit.
    pub(crate) fn loopback(quick: bool, objects: usize, timeout: Duration) -> Self {
        let (measured, mixed, calls) = if quick { (1_000, 2_000, 1_000) } else { (2_000, 5_000, 2_000) };
        Self {
            warm_up: Duration::from_millis(300),
            measured: Duration::from_millis(measured),
            mixed: Duration::from_millis(mixed),
            beside: Duration::ZERO,
            calls,
            objects,
            timeout,
        }
    }

    /// Where round trips take tens of milliseconds, and congestion control needs seconds to find the rate.
    pub(crate) fn link(quick: bool, objects: usize, timeout: Duration) -> Self {
        let (warm_up, measured, beside, calls) = if quick { (3, 5, 10, 20) } else { (5, 10, 20, 50) };
        Self {
            warm_up: Duration::from_secs(warm_up),
            measured: Duration::from_secs(measured),
            mixed: Duration::from_secs(measured),
            beside: Duration::from_secs(beside),
            calls,
            objects,
            timeout,
        }
    }
}
