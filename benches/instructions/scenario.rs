//! What is counted.

use std::{pin::Pin, time::Duration};

use crate::{Error, flower_http, funnels, link, node};

/// Ends a run that hangs. Under callgrind everything takes some fifty times as long.
const HANG: Duration = Duration::from_secs(300);

type Work = Pin<Box<dyn Future<Output = ()>>>;

/// Work that is done so and so often, and may be counted.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// What the instructions are of, and how many of it one iteration has.
    pub(crate) unit: (u64, &'static str),
    /// How many iterations the count is the average of.
    pub(crate) iterations: u32,
    /// How many instructions more are taken for chance, in per cent.
    pub(crate) tolerance: f64,
    work: fn(u32) -> Work,
}

impl Scenario {
    /// Does the work on one thread, without any tool.
    pub(crate) fn run(&self, iterations: u32) -> Result<(), Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = async { tokio::time::timeout(HANG, (self.work)(iterations)).await };
        runtime.block_on(work).map_err(|_| format!("{} did not end within {HANG:?}", self.name).into())
    }
}

/// A row each: name, how many of which unit, iterations, tolerance in per cent, and a function of the iterations.
macro_rules! scenarios {
    ($($name:literal, $per:literal $unit:literal, $iterations:literal, $tolerance:literal, $work:expr;)*) => {
        &[$(Scenario {
            name: $name,
            unit: ($per, $unit),
            iterations: $iterations,
            tolerance: $tolerance,
            work: |iterations| Box::pin($work(iterations)),
        }),*]
    };
}

/// All of them. No tolerance is below what the counts were seen to vary by, from the lowest to the highest: links and
/// funnels have sockets and timers in them.
#[rustfmt::skip]
pub(crate) const ALL: &[Scenario] = scenarios! {
    "flower-http/passed",    1   "call",    500, 2.0, flower_http::passed;
    "flower-http/translated", 1   "call",   500, 2.0, flower_http::translated;
    "flower-http/error",     1   "call",    500, 2.0, flower_http::error;
    "flower-http/stream",    100 "message", 20,  2.0, flower_http::stream;
    "flower-http/up-16k",    5   "MiB",     20,  2.0, |calls| flower_http::up(calls, 16 << 10);
    "flower-http/up-64k",    5   "MiB",     20,  2.0, |calls| flower_http::up(calls, 64 << 10);
    "flower-http/down-16k",  5   "MiB",     20,  2.0, |calls| flower_http::down(calls, 16 << 10);
    "flower-http/down-64k",  5   "MiB",     20,  2.0, |calls| flower_http::down(calls, 64 << 10);
    "node/call",             1   "call",    10,  2.0, node::call;
    "node/array",            1   "MiB",     10,  2.0, node::array;
    "node/message",          1   "message", 2,   2.0, node::message;
    "link/call",             1   "call",    250, 3.0, link::call;
    "link/up",               4   "MiB",     4,   5.0, link::up;
    "link/down",             4   "MiB",     4,   5.0, link::down;
    "funnels/call",          1   "call",    250, 6.0, funnels::call;
};
