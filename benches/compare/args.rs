//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::{competitor::Competitor, link::Links, role::Role, workload::Workload};

/// Compares this project with what an operator would use instead, side by side in one run.
#[derive(Debug, Parser)]
#[command(name = "compare")]
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
    /// Print the tables of an earlier run
    Report {
        /// A file of benches/results
        file: PathBuf,
    },
    /// Draw what earlier runs have found into docs/performance
    Plot {
        /// Files of benches/results
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Be one of the processes of a measurement
    #[command(subcommand, hide = true)]
    Role(Role),
}

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// Shorter measurements, fewer repeats: to see where one stands, not to publish
    #[arg(long)]
    pub(crate) quick: bool,
    /// The rows to measure
    #[arg(long, value_name = "ROWS", value_delimiter = ',')]
    pub(crate) only: Vec<Workload>,
    /// Who is measured [default: all that fit the site]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) competitors: Vec<Competitor>,
    /// How often everything is measured [default: 5, quick 3]
    #[arg(long, value_name = "N")]
    pub(crate) repeat: Option<usize>,
    /// Where: `loopback`, `all` emulated links of the table, a `matrix` for congestion control, or DELAY/LOSS/RATE/QUEUE
    /// (one-way ms, %, Mbit/s, ms; the queue is 100 if left out)
    #[arg(long, value_name = "LINKS", value_delimiter = ',', default_value = "loopback")]
    pub(crate) links: Vec<Links>,
    /// Whom the ratios refer to [default: tcp on loopback, tcp-bbr on links]
    #[arg(long, value_name = "COMPETITOR")]
    pub(crate) reference: Option<Competitor>,
    /// How many objects of 5 MiB `push` and `pull` move
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub(crate) objects: usize,
    /// Seconds after which a transfer counts as not done
    #[arg(long, value_name = "S", default_value_t = 45)]
    pub(crate) timeout: u64,
    /// The last part of the name of the file under benches/results
    #[arg(long, default_value = "compare")]
    pub(crate) name: String,
}
