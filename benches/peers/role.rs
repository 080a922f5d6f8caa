//! What this binary is as a child of itself.

use std::time::Duration;

use clap::Subcommand;
use tokio::io::{AsyncReadExt, stdin};

use crate::{args::seconds, crowd, failure::Failure, superlink};

/// A part to play.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Answers polls until its stdin ends; says `ready ADDRESS`
    Superlink,
    /// All peers. Says `bound`; connects when it is told to, says `connected JSON`; polls when it is told to, says
    /// `steady` when the measured time begins and `outcome JSON` at its end; stays until its stdin ends
    Crowd(Crowd),
}

/// The peers and how they poll.
#[derive(Debug, clap::Args)]
pub(crate) struct Crowd {
    /// How many
    pub(crate) peers: usize,
    /// Time between two polls of one peer
    #[arg(value_parser = seconds)]
    pub(crate) every: Duration,
    /// How long polls are measured
    #[arg(value_parser = seconds)]
    pub(crate) window: Duration,
    /// Of the inbound funnel
    pub(crate) ticket: String,
}

/// Plays `role` to its end.
pub(crate) fn play(role: Role) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let end = match role {
        Role::Superlink => runtime.block_on(superlink::serve()),
        Role::Crowd(crowd) => runtime.block_on(crowd::run(&crowd)),
    };
    runtime.shutdown_background();
    end
}

/// Whoever started this process holds the other end of its stdin as long as it lives.
pub(crate) async fn end() {
    let mut rest = Vec::new();
    let _ = stdin().read_to_end(&mut rest).await;
}
