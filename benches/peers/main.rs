//! What many peers cost one inbound funnel: the real command with a SuperLink behind it, and a crowd of peers that poll.
//!
//! ```text
//! run ─► rig ─► role superlink (HTTP/1.1) ◄── flower-iroh-funnel expose ◄══ iroh ══ role crowd: a funnel for each peer
//!         └─ memory and CPU time of `expose`, before, once all are connected, and while they poll ─► results, table
//! ```
//!
//! cargo bench --bench peers
//! cargo bench --bench peers -- --peers 100,300,1000 --repeat 3
//!
//! Nothing is measured in this process. Server, funnel and crowd are processes of their own, on loopback. Each peer has a
//! key, an endpoint and a socket; all processes may open as many files as the hard limit allows (`ulimit -Hn`), since a
//! thousand peers take some thousands.

use clap::Parser;

mod args;
#[path = "../compare/children.rs"]
mod children;
mod crowd;
#[path = "../compare/failure.rs"]
mod failure;
mod figures;
#[path = "../compare/machine.rs"]
mod machine;
#[path = "../compare/metric.rs"]
#[expect(dead_code, reason = "the rest is for `compare`")]
mod metric;
mod poll;
#[path = "../compare/process.rs"]
#[expect(dead_code, reason = "every process here says when it is ready")]
mod process;
mod rig;
mod role;
mod run;
mod superlink;
#[path = "../compare/usage.rs"]
#[expect(dead_code, reason = "every process here says when it is ready")]
mod usage;
#[path = "../compare/writer.rs"]
mod writer;

use self::{
    args::{Args, Command},
    failure::Failure,
};

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    match args.command {
        Some(Command::Role(role)) => role::play(role),
        None if args.bench => run::run(&args.run),
        None => {
            println!("measures nothing here: cargo bench --bench peers -- --help");
            Ok(())
        }
    }
}
