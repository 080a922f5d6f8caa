//! The command line.

use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::role::Role;

/// Measures what connected peers cost one inbound funnel.
#[derive(Debug, Parser)]
#[command(name = "peers")]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: Run,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Be one of the processes of a measurement
    #[command(subcommand, hide = true)]
    Role(Role),
}

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// How many peers, one measurement for each number
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1000")]
    pub(crate) peers: Vec<usize>,
    /// Time between two polls of one peer
    #[arg(long, value_name = "S", default_value = "3", value_parser = seconds)]
    pub(crate) every: Duration,
    /// How long polls are measured
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds)]
    pub(crate) window: Duration,
    /// How often everything is measured
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) repeat: usize,
    /// The last part of the name of the file under benches/results
    #[arg(long, default_value = "peers")]
    pub(crate) name: String,
}

/// `3`, `3s` or `0.5s`.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.trim_end_matches('s').parse().map_err(|error| format!("{error}; write seconds, as 3s"))?;
    match Duration::try_from_secs_f64(number) {
        Ok(time) if time > Duration::ZERO => Ok(time),
        _ => Err("a time above 0 is wanted".to_owned()),
    }
}
