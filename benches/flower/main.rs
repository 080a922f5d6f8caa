//! A real Flower run with a large model, direct and through a pair of funnels.
//!
//! ```text
//! direct   SuperNodes, flwr ─────────────────────────────────────────► SuperLink
//! funnel   SuperNodes, flwr ─► outbound funnel ═ iroh ═ inbound funnel ─► SuperLink
//! ```
//!
//! cargo bench --bench flower
//! cargo bench --bench flower -- --repeat 5 --megabytes 20
//!
//! All on loopback, one way after the other in each repeat. The first run installs Flower below the target directory. A
//! run counts only if every node answered in every round and the model is exact at the end.

// Shared with other benches and tests, of which each uses a part.
#[allow(dead_code)]
#[path = "../compare/failure.rs"]
mod failure;
#[path = "../../examples/flower_quickstart/flower/mod.rs"]
mod flower;
#[path = "../../tests/support/funnel_process.rs"]
mod funnel_process;
#[path = "../../tests/flower/funnels.rs"]
mod funnels;
#[allow(dead_code)]
#[path = "../compare/machine.rs"]
mod machine;
mod measurement;
#[allow(dead_code)]
#[path = "../compare/metric.rs"]
mod metric;
mod report;
mod results;
mod run;
#[allow(dead_code)]
#[path = "../compare/usage.rs"]
mod usage;
mod way;
#[path = "../compare/writer.rs"]
mod writer;

use std::process::ExitCode;

use clap::Parser;

use self::failure::Failure;

/// A real Flower run with a large model, direct and through a pair of funnels
#[derive(Debug, Parser)]
#[command(name = "flower")]
struct Args {
    #[command(flatten)]
    run: run::Args,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    if !args.bench {
        println!("measures nothing here: cargo bench --bench flower -- --help");
        return ExitCode::SUCCESS;
    }
    // The branch that loses is dropped before the result is looked at, and every process with it.
    let finished: Option<Result<(), Failure>> = tokio::select! {
        finished = run::run(&args.run) => Some(finished),
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
