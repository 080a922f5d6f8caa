//! What this binary is as a child of itself.

mod client;
mod server;

use std::net::{IpAddr, SocketAddr};

use clap::{Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::{failure::Failure, metric::Metrics, pace::Pace, workload::Workload};

/// A part to play.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Serves until its stdin ends; says `ready ADDRESS` or `ready TICKET`
    Server {
        /// What it speaks
        kind: Kind,
        /// The address that it is reached on
        addr: IpAddr,
        /// Of TCP, if not the host's own, or of QUIC, if not by path
        congestion_control: Option<String>,
    },
    /// Says `ready`, reads a target from stdin, says `outcome JSON`, and stays until its stdin ends
    Client {
        /// What it does
        workload: Workload,
        /// The address that it dials from
        addr: IpAddr,
        /// How long and how much, as JSON
        #[arg(value_parser = |text: &str| serde_json::from_str::<Pace>(text))]
        pace: Pace,
        /// Where a flow beside it goes
        sink: Option<SocketAddr>,
    },
}

/// What a server speaks.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// gRPC over TCP.
    Tcp,
    /// gRPC over this project's connector.
    Iroh,
    /// The bench's own protocol on raw iroh streams.
    Raw,
    /// Bytes over TCP, which it counts.
    Sink,
}

/// What a client has found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// By name; what was not reached in time is missing.
    pub(crate) metrics: Metrics,
    /// Bytes that were moved, warm-up included.
    pub(crate) moved: u64,
    /// Whether the time was over before the work was done.
    pub(crate) timed_out: bool,
    /// Why it ended early.
    pub(crate) failure: Option<String>,
}

/// Plays `role` to its end.
pub(crate) fn play(role: Role) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let end = match role {
        Role::Server { kind, addr, congestion_control } => {
            runtime.block_on(server::serve(kind, addr, congestion_control.as_deref()))
        }
        Role::Client { workload, addr, pace, sink } => runtime.block_on(client::run(workload, addr, pace, sink)),
    };
    runtime.shutdown_background();
    end
}
