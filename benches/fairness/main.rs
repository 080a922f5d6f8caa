//! What others cost a site.
//!
//! Busy sites, at a real SuperLink: the time of a site's heartbeats, beside 0, 1, 2 and 4 sites that have 250 small calls
//! under way each. Each measurement is made twice in each repeat: with the funnel's default, and with so many calls at the
//! upstream at a time that none waits in the funnel.
//!
//! ```text
//! busy sites ─┐
//!             ├══ iroh ══► flower-iroh-funnel run ─► SuperLink
//! one site ───┘
//! ```
//!
//! Strangers: the time until newcomers are in, at a relay by its token and at an inbound funnel by an invitation, alone and
//! beside 1,000 connections from another address.
//!
//! cargo bench --bench fairness
//! cargo bench --bench fairness -- --only newcomers --repeat 5
//!
//! The first run installs Flower below the target directory.

#[allow(dead_code)]
#[path = "../compare/failure.rs"]
mod failure;
#[path = "../../examples/flower_quickstart/flower/mod.rs"]
mod flower;
#[path = "../../tests/support/funnel_process.rs"]
mod funnel_process;
#[allow(dead_code)]
#[path = "../compare/machine.rs"]
mod machine;
#[allow(dead_code)]
#[path = "../compare/metric.rs"]
mod metric;
mod newcomers;
#[path = "../../tests/support/raw_peer.rs"]
mod raw_peer;
#[allow(dead_code)]
#[path = "../../tests/command/relay/crowd.rs"]
mod relay_crowd;
#[allow(dead_code)]
#[path = "../../tests/command/relay/lab.rs"]
mod relay_lab;
mod report;
mod results;
mod scene;
#[path = "../../tests/command/sides.rs"]
mod sides;
#[path = "../../tests/flower/site.rs"]
mod site;
mod strangers;
#[path = "../compare/writer.rs"]
mod writer;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use self::{
    failure::Failure,
    flower::{Venv, Version},
    newcomers::{Door, Newcomers},
    results::{Cell, Line, Queue},
    strangers::Purpose,
    writer::{Begun, Writer},
};

const FLWR: Version = Version::new(42, 0);
/// The numbers of busy sites.
const BUSY: [usize; 4] = [0, 1, 2, 4];

/// What others cost a site
#[derive(Debug, Parser)]
#[command(name = "fairness")]
struct Args {
    /// How often each is measured
    #[arg(long, value_name = "N", default_value_t = 3)]
    repeat: usize,
    /// Heartbeats of each measurement
    #[arg(long, value_name = "N", default_value_t = 100)]
    heartbeats: usize,
    /// Measures this alone
    #[arg(long, value_name = "WHAT")]
    only: Option<Part>,
    /// The last part of the name of the file under benches/results
    #[arg(long, default_value = "fairness")]
    name: String,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Heartbeats beside busy sites
    Sites,
    /// Newcomers beside strangers
    Newcomers,
}

/// What this binary is as a child of itself.
#[derive(Debug, Subcommand)]
enum Role {
    /// Many connections to a funnel; says `begun`, and stays until its stdin ends
    #[command(hide = true)]
    Strangers {
        /// What they connect for
        purpose: Purpose,
        /// The funnel
        ticket: String,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    if !args.bench {
        println!("measures nothing here: cargo bench --bench fairness -- --help");
        return ExitCode::SUCCESS;
    }
    // The branch that loses is dropped before the result is looked at, and every process with it.
    let finished: Option<Result<(), Failure>> = tokio::select! {
        finished = run(&args) => Some(finished),
        interrupted = flower::interrupted() => interrupted.err().map(|error| Err(error.into())),
    };
    match finished {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
        None => ExitCode::from(130),
    }
}

async fn run(args: &Args) -> Result<(), Failure> {
    if let Some(Role::Strangers { purpose, ticket }) = &args.role {
        return strangers::play(*purpose, ticket).await;
    }
    let measures = |part| args.only.is_none_or(|only| only == part);
    let mut writer = Writer::create(&args.name)?;
    writer.write(&Line::Run(Begun::here(vec![format!("flwr {FLWR}")])?))?;
    if measures(Part::Sites) {
        sites(args, &mut writer).await?;
    }
    if measures(Part::Newcomers) {
        newcomers(args, &mut writer).await?;
    }
    println!("\nraw results: {}", writer.path.display());
    Ok(())
}

async fn sites(args: &Args, writer: &mut Writer) -> Result<(), Failure> {
    let venv = Venv::prepare(FLWR, |step| eprintln!("flwr {FLWR}: {step}")).await?;
    let mut cells: Vec<Cell> = Vec::new();
    for repeat in 0..args.repeat {
        for queue in Queue::ALL {
            for busy in BUSY {
                let cell = scene::measure(&venv, queue, busy, repeat, args.heartbeats).await?;
                eprintln!("{}", report::progress(&cell));
                writer.write(&Line::Cell(cell.clone()))?;
                cells.push(cell);
            }
        }
    }
    report::print(&cells, &BUSY);
    Ok(())
}

async fn newcomers(args: &Args, writer: &mut Writer) -> Result<(), Failure> {
    let mut all: Vec<Newcomers> = Vec::new();
    for repeat in 0..args.repeat {
        for door in Door::value_variants() {
            for crowded in [false, true] {
                let newcomers = Newcomers::measure(*door, crowded, repeat).await?;
                eprintln!("{}", report::newcomers_progress(&newcomers));
                writer.write(&Line::Newcomers(newcomers.clone()))?;
                all.push(newcomers);
            }
        }
    }
    report::print_newcomers(&all);
    Ok(())
}
