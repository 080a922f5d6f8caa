//! How long a tunnel takes to come back: after a link was cut, its peer restarted or stopped, or its address changed.
//!
//! ```text
//! calls ─► near end of a tunnel ═ emulated link ═ far end ─► server
//!          └─ left host, readdressed    └─ cut    └─ killed, stopped   (right host)
//! ```
//!
//! cargo bench --bench recovery
//! cargo bench --bench recovery -- --only cut,restart --tunnels funnel --repeat 3
//!
//! Needs root on Linux, for the link. The tunnels are processes; calls are plain HTTP, each on a connection of its own.

mod caller;
// Shared with another bench, and each uses a part of it.
#[allow(dead_code)]
#[path = "../compare/children.rs"]
mod children;
#[allow(dead_code)]
#[path = "../compare/competitor/dumbpipe/program.rs"]
mod dumbpipe;
#[allow(dead_code)]
#[path = "../compare/failure.rs"]
mod failure;
mod hosts;
#[allow(dead_code)]
#[path = "../compare/machine.rs"]
mod machine;
#[allow(dead_code)]
#[path = "../compare/metric.rs"]
mod metric;
#[allow(dead_code)]
#[path = "../compare/process.rs"]
mod process;
mod report;
mod results;
mod row;
mod run;
mod server;
mod tunnel;
#[allow(dead_code)]
#[path = "../compare/usage.rs"]
mod usage;
#[path = "../compare/writer.rs"]
mod writer;

use clap::Parser;

use self::failure::Failure;

/// How long a tunnel takes to come back
#[derive(Debug, Parser)]
#[command(name = "recovery")]
struct Args {
    #[command(flatten)]
    run: run::Args,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    if args.bench {
        return run::run(&args.run);
    }
    println!("measures nothing here: cargo bench --bench recovery -- --help");
    Ok(())
}
