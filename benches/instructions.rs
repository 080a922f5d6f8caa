//! Instructions per call, per MiB, per message, counted by callgrind: what takes more of them is slower, however busy
//! the machine is that counts.
//!
//! cargo bench --bench instructions              compares with the baseline, fails if anything takes more
//! cargo bench --bench instructions -- NAME..    only the scenarios whose name contains one of these
//! cargo bench --bench instructions -- --bless   writes benches/instructions/baseline.tsv
//!
//! A new scenario is a row in `instructions/scenario.rs`.

#[path = "instructions/baseline.rs"]
mod baseline;
#[path = "instructions/flower_http.rs"]
mod flower_http;
#[path = "instructions/callgrind.rs"]
mod callgrind;
#[path = "instructions/comparison.rs"]
mod comparison;
#[path = "instructions/fleet.rs"]
mod fleet;
#[path = "instructions/frames.rs"]
mod frames;
#[path = "instructions/funnels.rs"]
mod funnels;
#[path = "instructions/link.rs"]
mod link;
#[path = "instructions/node.rs"]
mod node;
#[path = "instructions/scenario.rs"]
mod scenario;
#[path = "instructions/toolchain.rs"]
mod toolchain;

use std::{env, process::ExitCode};

use baseline::Baseline;
use comparison::Comparison;
use scenario::Scenario;
use toolchain::Toolchain;

/// What went wrong, for whoever reads it.
type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    // Cargo's own.
    let args: Vec<_> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        [callgrind::RUN, name, iterations] => run(name, iterations),
        ["--bless"] => bless(),
        names if names.iter().all(|name| !name.starts_with('-')) => compare(names),
        _ => Err("what is understood: scenario names, or --bless alone".into()),
    };
    done.unwrap_or_else(|error| {
        eprintln!("instructions: {error}");
        ExitCode::FAILURE
    })
}

/// What callgrind watches.
fn run(name: &str, iterations: &str) -> Result<ExitCode, Error> {
    let scenario = scenario::ALL.iter().find(|scenario| scenario.name == name);
    scenario.ok_or_else(|| format!("no scenario is called {name}"))?.run(iterations.parse()?)?;
    Ok(ExitCode::SUCCESS)
}

fn bless() -> Result<ExitCode, Error> {
    let toolchain = Toolchain::here()?;
    let counts = callgrind::count(&scenario::ALL.iter().collect::<Vec<_>>(), |_, _| false)?;
    let baseline = Baseline::new(toolchain, scenario::ALL.iter().zip(counts));
    baseline.save()?;
    println!("{baseline}");
    Ok(ExitCode::SUCCESS)
}

fn compare(names: &[&str]) -> Result<ExitCode, Error> {
    let (toolchain, baseline) = (Toolchain::here()?, Baseline::load()?);
    let is_wanted = |scenario: &&Scenario| names.is_empty() || names.iter().any(|name| scenario.name.contains(name));
    let scenarios: Vec<_> = scenario::ALL.iter().filter(is_wanted).collect();
    if scenarios.is_empty() {
        return Err(format!("no scenario has any of {names:?} in its name").into());
    }
    let comparison = Comparison::new(&baseline, &toolchain)?;
    let counts = callgrind::count(&scenarios, |scenario, count| comparison.is_same(scenario, count))?;
    let failures = comparison.print(scenarios.into_iter().zip(counts));
    Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
