//! Compares this project with what an operator would use instead, side by side in one run.
//!
//! ```text
//! run ─► site (loopback, or an emulated link) ─► competitor: serve, join ─► role client: one workload ─► results
//!                                                 └─ child processes, whose CPU time and memory are read
//! results ─► report (tables) · plot (drawings)
//! ```
//!
//! cargo bench --bench compare -- --quick
//! cargo bench --bench compare -- --links all --competitors tcp-cubic,tcp-bbr,funnel --only push
//! cargo bench --bench compare -- --links 50/0/100/20 --competitors tcp-cubic,connector --only beside-cubic
//! cargo bench --bench compare -- plot benches/results/FILE
//!
//! Nothing is measured in this process. Servers, tunnels and clients are processes of their own: this binary again, in a
//! role, or the tunnel's own binary.

use clap::Parser;

mod args;
mod chart;
mod children;
mod competitor;
mod congestion;
mod failure;
mod link;
mod machine;
mod metric;
mod pace;
mod peer;
mod plot;
mod process;
mod report;
mod results;
mod rig;
mod role;
mod run;
mod site;
mod target;
mod usage;
mod workload;
mod writer;

use self::{
    args::{Args, Command},
    competitor::Competitor,
    failure::Failure,
};

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    match args.command {
        Some(Command::Role(role)) => role::play(role),
        Some(Command::Report { file }) => report::print(&results::read(&file)?, args.run.reference),
        Some(Command::Plot { files }) => {
            let lines: Result<Vec<_>, _> = files.iter().map(|file| results::read(file)).collect();
            plot::draw(&lines?.concat(), args.run.reference.unwrap_or(Competitor::Raw))
        }
        None if args.bench => run::run(&args.run),
        None => {
            println!("measures nothing here: cargo bench --bench compare -- --help");
            Ok(())
        }
    }
}
