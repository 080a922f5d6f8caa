//! Small calls beside bulk: whether a heartbeat gets through while a model moves.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    task::JoinSet,
    time::{Instant as Tick, MissedTickBehavior, interval_at},
};

use super::{bulk::Direction, objects};
use crate::{
    failure::Failure,
    metric::{MIB, percentile},
    pace::Pace,
    peer::{Caller, OBJECT, Peer},
    role::Outcome,
};

/// A small call starts this often, whether the last one has been answered or not.
const EVERY: Duration = Duration::from_millis(50);
/// A Flower heartbeat that takes longer has failed.
const HEARTBEAT_TIMEOUT: f64 = 5_000.0;

/// What moves beside the small calls.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    /// One long call.
    Stream(Direction),
    /// Objects as unary calls, two at a time.
    Objects(Direction),
}

impl Load {
    /// Moves bytes for `time`, and then the rest of what was begun; returns how many.
    async fn run<P: Peer>(self, peer: &P, time: Duration) -> Result<u64, Failure> {
        match self {
            Self::Stream(direction) => direction.stream(peer, time).await,
            Self::Objects(direction) => {
                let (started, moved) = (Instant::now(), AtomicUsize::new(0));
                objects::two_at_a_time(peer, direction, &moved, || started.elapsed() < time).await?;
                Ok((moved.load(Ordering::Relaxed) * OBJECT) as u64)
            }
        }
    }
}

/// Times of the small calls from when each was due, and the rate of the load.
pub(super) async fn run<P: Peer>(peer: &P, load: Load, pace: &Pace, outcome: &mut Outcome) -> Result<(), Failure> {
    let started = Instant::now();
    let (moved, times) =
        tokio::try_join!(async { Ok((load.run(peer, pace.warm_up + pace.mixed).await?, started.elapsed())) }, async {
            tokio::time::sleep(pace.warm_up).await;
            small_calls(peer, pace.mixed).await
        })?;
    let (bytes, time) = moved;
    outcome.moved += bytes;
    outcome.metrics.insert("bulk_mib_s".to_owned(), bytes as f64 / MIB / time.as_secs_f64());
    outcome.metrics.insert("calls".to_owned(), times.len() as f64);
    outcome.metrics.insert("late".to_owned(), times.iter().filter(|time| **time > HEARTBEAT_TIMEOUT).count() as f64);
    for (name, percent) in [("p50_ms", 50.0), ("p99_ms", 99.0), ("max_ms", 100.0)] {
        outcome.metrics.extend(percentile(&times, percent).map(|time| (name.to_owned(), time)));
    }
    Ok(())
}

async fn small_calls<P: Peer>(peer: &P, time: Duration) -> Result<Vec<f64>, Failure> {
    let idle = Arc::new(Mutex::new(Vec::<P::Caller>::new()));
    let mut calls = JoinSet::new();
    let first = Tick::now() + EVERY;
    let mut ticks = interval_at(first, EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        let due = ticks.tick().await;
        if due >= first + time {
            break;
        }
        let (peer, idle) = (peer.clone(), Arc::clone(&idle));
        calls.spawn(async move {
            let free = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut caller = match free {
                Some(caller) => caller,
                None => peer.caller().await?,
            };
            caller.call().await?;
            let time = due.elapsed().as_secs_f64() * 1_000.0;
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(caller);
            Ok::<_, Failure>(time)
        });
    }
    let mut times = Vec::new();
    while let Some(call) = calls.join_next().await {
        times.push(call??);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}
