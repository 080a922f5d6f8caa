//! What busy sites cost another site at a real SuperLink: the time of its heartbeats, beside 0, 1, 2 and 4 sites that
//! have 250 small calls under way each.
//!
//! ```text
//! busy sites ─┐
//!             ├══ iroh ══► flower-iroh-funnel run ─► SuperLink
//! one site ───┘
//! ```
//!
//! cargo bench --bench fairness
//! cargo bench --bench fairness -- --repeat 5 --heartbeats 200
//!
//! Each measurement is made twice in each repeat: with the funnel's default, and with so many calls at the upstream at a
//! time that none waits in the funnel. The first run installs Flower below the target directory.

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
#[path = "../../tests/support/raw_peer.rs"]
mod raw_peer;
mod report;
mod results;
mod scene;
#[path = "../../tests/flower/site.rs"]
mod site;
#[path = "../compare/writer.rs"]
mod writer;

use std::process::ExitCode;

use clap::Parser;

use self::{
    failure::Failure,
    flower::{Venv, Version},
    results::{Cell, Line, Queue},
    writer::{Begun, Writer},
};

const FLWR: Version = Version::new(42, 0);
/// The numbers of busy sites.
const BUSY: [usize; 4] = [0, 1, 2, 4];

/// What busy sites cost another site at a real SuperLink
#[derive(Debug, Parser)]
#[command(name = "fairness")]
struct Args {
    /// How often each is measured
    #[arg(long, value_name = "N", default_value_t = 3)]
    repeat: usize,
    /// Heartbeats of each measurement
    #[arg(long, value_name = "N", default_value_t = 100)]
    heartbeats: usize,
    /// The last part of the name of the file under benches/results
    #[arg(long, default_value = "fairness")]
    name: String,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
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
    let venv = Venv::prepare(FLWR, |step| eprintln!("flwr {FLWR}: {step}")).await?;
    let mut writer = Writer::create(&args.name)?;
    writer.write(&Line::Run(Begun::here(vec![format!("flwr {FLWR}")])?))?;
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
    println!("\nraw results: {}", writer.path.display());
    Ok(())
}
