//! Small calls one after the other: the time of one call.

use std::time::Instant;

use crate::{
    failure::Failure,
    metric::percentile,
    pace::Pace,
    peer::{Caller, Peer},
    role::Outcome,
};

/// Median and p99, after a tenth as many calls that do not count.
pub(super) async fn run<P: Peer>(peer: &P, pace: &Pace, outcome: &mut Outcome) -> Result<(), Failure> {
    let mut caller = peer.caller().await?;
    for _ in 0..pace.calls / 10 {
        caller.call().await?;
    }
    let mut times = Vec::with_capacity(pace.calls);
    for _ in 0..pace.calls {
        let started = Instant::now();
        caller.call().await?;
        times.push(started.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    for (name, percent) in [("p50_us", 50.0), ("p99_us", 99.0)] {
        outcome.metrics.extend(percentile(&times, percent).map(|time| (name.to_owned(), time)));
    }
    Ok(())
}
