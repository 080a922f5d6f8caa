//! Flower's own pattern: the objects of a model as unary calls, two at a time.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use super::bulk::Direction;
use crate::{
    failure::Failure,
    metric::MIB,
    pace::Pace,
    peer::{OBJECT, Peer},
    role::Outcome,
};

/// A cold pass and a warm one, each bounded.
pub(super) async fn run<P: Peer>(
    peer: &P,
    direction: Direction,
    pace: &Pace,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    for pass in ["cold", "warm"] {
        let (started, moved) = (Instant::now(), AtomicUsize::new(0));
        let next = AtomicUsize::new(0);
        let more = || next.fetch_add(1, Ordering::Relaxed) < pace.objects;
        let done = tokio::time::timeout(pace.timeout, two_at_a_time(peer, direction, &moved, more)).await;
        let (time, moved) = (started.elapsed(), moved.into_inner());
        outcome.moved += (moved * OBJECT) as u64;
        outcome.metrics.insert(format!("{pass}_objects"), moved as f64);
        match done {
            Ok(done) => done?,
            Err(_) => {
                outcome.timed_out = true;
                return Ok(());
            }
        }
        outcome.metrics.insert(format!("{pass}_mib_s"), rate(moved, time));
    }
    Ok(())
}

/// Two workers, each of which moves the next object when its last one is through, as long as there are `more`.
pub(super) async fn two_at_a_time<P: Peer>(
    peer: &P,
    direction: Direction,
    moved: &AtomicUsize,
    more: impl Fn() -> bool,
) -> Result<(), Failure> {
    let worker = async || {
        while more() {
            direction.object(peer).await?;
            moved.fetch_add(1, Ordering::Relaxed);
        }
        Ok::<_, Failure>(())
    };
    tokio::try_join!(worker(), worker())?;
    Ok(())
}

/// MiB/s of `objects` in `time`.
pub(super) fn rate(objects: usize, time: Duration) -> f64 {
    (objects * OBJECT) as f64 / MIB / time.as_secs_f64()
}
