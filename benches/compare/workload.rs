//! What a client does.

mod beside;
mod bulk;
mod callers;
mod mixed;
mod objects;
mod unary;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::{
    failure::Failure,
    pace::Pace,
    peer::{Caller, Peer},
    role::Outcome,
};

/// One row of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workload {
    /// Bulk to the server: one stream of 1 MiB messages.
    Up,
    /// Bulk from the server.
    Down,
    /// Flower's pattern to the server: 12 objects of 5 MiB, two at a time, cold and then warm.
    Push,
    /// Flower's pattern from the server.
    Pull,
    /// Small calls one after the other.
    Unary,
    /// Small calls by 64 callers.
    Callers,
    /// A small call every 50 ms beside a bulk stream to the server.
    MixedUp,
    /// The same beside a bulk stream from the server.
    MixedDown,
    /// The same beside objects pushed two at a time.
    MixedPush,
    /// The same beside objects pulled two at a time.
    MixedPull,
    /// The first call of a cold client.
    First,
    /// Bulk to the server beside a TCP flow with Cubic over the same link.
    BesideCubic,
    /// Bulk to the server beside a TCP flow with BBR over the same link.
    BesideBbr,
}

/// What a workload is given beside its peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    /// How long and how much.
    pub(crate) pace: Pace,
    /// When the peer was dialled.
    pub(crate) started: Instant,
    /// Where a flow beside it goes.
    pub(crate) sink: Option<SocketAddr>,
}

impl Workload {
    /// As options and results name it.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// All that are measured at a place unless others are named: what is shared must be a link.
    pub(crate) fn all(is_link: bool) -> Vec<Self> {
        Self::value_variants().iter().copied().filter(|workload| is_link || workload.beside().is_none()).collect()
    }

    /// The congestion control of the TCP flow that shares the link, if there is one.
    pub(crate) fn beside(self) -> Option<&'static str> {
        match self {
            Self::BesideCubic => Some("cubic"),
            Self::BesideBbr => Some("bbr"),
            _ => None,
        }
    }

    /// Whether tunnels must be as new as the client, even those that dial anew for each client.
    pub(crate) fn is_all_cold(self) -> bool {
        self == Self::First
    }

    /// Time after which a client ends its work, done or not.
    pub(crate) fn bound_of_work(self, pace: &Pace) -> Duration {
        pace.warm_up + pace.measured.max(pace.mixed).max(pace.beside) + pace.timeout * self.transfers()
    }

    /// How many transfers it makes one after the other, each of which has its own timeout.
    fn transfers(self) -> u32 {
        if matches!(self, Self::Push | Self::Pull) { 2 } else { 1 }
    }

    /// Time after which a client counts as lost. A near end may be started within it.
    pub(crate) fn bound(self, pace: &Pace) -> Duration {
        self.bound_of_work(pace) + crate::rig::TIMEOUT
    }

    /// Does it with `peer`.
    pub(crate) async fn run<P: Peer>(self, peer: P, job: Job, outcome: &mut Outcome) -> Result<(), Failure> {
        let pace = &job.pace;
        match self {
            Self::Up => bulk::run(&peer, bulk::Direction::Up, pace, outcome).await,
            Self::Down => bulk::run(&peer, bulk::Direction::Down, pace, outcome).await,
            Self::Push => objects::run(&peer, bulk::Direction::Up, pace, outcome).await,
            Self::Pull => objects::run(&peer, bulk::Direction::Down, pace, outcome).await,
            Self::Unary => unary::run(&peer, pace, outcome).await,
            Self::Callers => callers::run(&peer, pace, outcome).await,
            Self::MixedUp => mixed::run(&peer, mixed::Load::Stream(bulk::Direction::Up), pace, outcome).await,
            Self::MixedDown => mixed::run(&peer, mixed::Load::Stream(bulk::Direction::Down), pace, outcome).await,
            Self::MixedPush => mixed::run(&peer, mixed::Load::Objects(bulk::Direction::Up), pace, outcome).await,
            Self::MixedPull => mixed::run(&peer, mixed::Load::Objects(bulk::Direction::Down), pace, outcome).await,
            Self::First => {
                peer.caller().await?.call().await?;
                outcome.metrics.insert("first_ms".to_owned(), job.started.elapsed().as_secs_f64() * 1_000.0);
                Ok(())
            }
            Self::BesideCubic | Self::BesideBbr => {
                let sink = job.sink.ok_or("no sink for the flow beside")?;
                beside::run(&peer, sink, self.beside(), pace, outcome).await
            }
        }
    }
}
