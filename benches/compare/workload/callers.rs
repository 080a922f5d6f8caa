//! Small calls by many callers: how many calls a second go through.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::task::JoinSet;

use crate::{
    failure::Failure,
    pace::Pace,
    peer::{Caller, Peer},
    role::Outcome,
};

/// As many as a SuperLink of a small federation has at once.
const CALLERS: usize = 64;

/// Calls that end within the measured time.
pub(super) async fn run<P: Peer>(peer: &P, pace: &Pace, outcome: &mut Outcome) -> Result<(), Failure> {
    let answered = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (mut caller, answered) = (peer.caller().await?, Arc::clone(&answered));
        callers.spawn(async move {
            loop {
                caller.call().await?;
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let measured = async {
        tokio::time::sleep(pace.warm_up).await;
        let (started, before) = (Instant::now(), answered.load(Ordering::Relaxed));
        tokio::time::sleep(pace.measured).await;
        (answered.load(Ordering::Relaxed) - before) as f64 / started.elapsed().as_secs_f64()
    };
    let calls_s = tokio::select! {
        calls_s = measured => calls_s,
        Some(ended) = callers.join_next() => return ended?,
    };
    outcome.metrics.insert("calls_s".to_owned(), calls_s);
    outcome.metrics.insert("calls".to_owned(), answered.load(Ordering::Relaxed) as f64);
    Ok(())
}
