//! One stream in one direction, for a time.

use std::time::{Duration, Instant};

use crate::{
    failure::Failure,
    metric::MIB,
    pace::Pace,
    peer::{Limit, Peer},
    role::Outcome,
};

/// Which way the bytes go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Direction {
    /// To the server.
    Up,
    /// From the server.
    Down,
}

impl Direction {
    /// Moves bytes for `time`; returns how many.
    pub(super) async fn stream<P: Peer>(self, peer: &P, time: Duration) -> Result<u64, Failure> {
        let limit = Limit { time, bytes: u64::MAX };
        match self {
            Self::Up => Ok(peer.upload(limit).await?.total()),
            Self::Down => peer.download(limit).await,
        }
    }

    /// Moves one object.
    pub(super) async fn object<P: Peer>(self, peer: &P) -> Result<(), Failure> {
        match self {
            Self::Up => peer.push_object().await,
            Self::Down => peer.pull_object().await,
        }
    }
}

/// The rate of bytes that have arrived, until the last of them has.
pub(super) async fn run<P: Peer>(
    peer: &P,
    direction: Direction,
    pace: &Pace,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    outcome.moved += direction.stream(peer, pace.warm_up).await?;
    let started = Instant::now();
    let moved = direction.stream(peer, pace.measured).await?;
    outcome.moved += moved;
    outcome.metrics.insert("mib_s".to_owned(), moved as f64 / MIB / started.elapsed().as_secs_f64());
    Ok(())
}
