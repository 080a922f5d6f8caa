//! Federated training through a pair of funnels, on one machine and with the real Flower.
//!
//! ```text
//! SuperNode 1 ─┐
//! SuperNode 2 ─┼─► outbound funnel ═══ iroh ═══► inbound funnel ─► SuperLink
//! flwr run ────┘
//! ```
//!
//! Installs flwr into the target directory the first time. Ends with 0 only if every round had both nodes and the
//! model that came back is exact; Ctrl-C stops everything and ends with 130.

mod flower;
mod funnels;
mod report;

use std::error::Error;
use std::process::ExitCode;

use flower::{FlowerRun, Outcome, Round, RunConfig, SuperLink, SuperNode, Venv, Version};
use funnels::Funnels;
use report::Report;

const FLWR: Version = Version::new(42, 0);
const ROUNDS: u64 = 3;
const NODES: usize = 2;

type BoxError = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    // The branch that loses is dropped before the result is looked at, and every process with it.
    let finished = tokio::select! {
        result = quickstart() => Some(result),
        _ = interruption() => None,
    };
    match finished {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
        None => {
            eprintln!("interrupted, everything is stopped");
            ExitCode::from(130)
        }
    }
}

async fn interruption() {
    match flower::interrupted().await {
        Ok(()) => eprintln!("stopping ..."),
        Err(error) => {
            eprintln!("cannot listen for signals: {error}");
            std::future::pending().await
        }
    }
}

async fn quickstart() -> Result<(), BoxError> {
    let mut report = Report::start();
    let venv = Venv::prepare(FLWR, |step| println!("          {step}"));
    let venv = report.during(&format!("preparing flwr {FLWR} (the first time, this installs it)"), venv).await?;

    let superlink = report.during("starting a SuperLink", SuperLink::start(&venv)).await?;
    let url = superlink.fleet().to_string();
    let funnels = report.during("connecting two funnels", Funnels::start(&url)).await?;
    report.say(&format!("{} leads to {url}: {}", funnels.dial(), funnels.path()));

    let trained = train(&venv, &funnels, &mut report).await;
    let outcome = trained.map_err(|error| superlink.explain(error))?;

    report
        .during("stopping", async {
            funnels.stop().await;
            superlink.stop().await
        })
        .await?;
    if let Some(summary) = outcome.summary {
        let kilobytes = summary.payload_bytes / 1000;
        report.say(&format!("all {ROUNDS} rounds had both nodes, and the model ({kilobytes} kB) is exact"));
    }
    Ok(())
}

/// Runs the app with two SuperNodes that know nothing but the funnel's port.
async fn train(venv: &Venv, funnels: &Funnels, report: &mut Report) -> flower::Result<Outcome> {
    let (mut nodes, mut ids) = (Vec::new(), Vec::new());
    for partition in 0..NODES {
        nodes.push(SuperNode::start(venv, funnels.dial(), partition, NODES)?);
    }
    for node in &mut nodes {
        ids.push(report.during("starting two SuperNodes", node.registered()).await?);
    }
    let outcome = run_app(venv, funnels, &ids, report).await;
    let outcome = outcome.map_err(|error| nodes.iter().fold(error, |error, node| node.explain(error)))?;
    for node in nodes {
        report.during("stopping the SuperNodes", node.stop()).await?;
    }
    Ok(outcome)
}

async fn run_app(venv: &Venv, funnels: &Funnels, ids: &[String], report: &mut Report) -> flower::Result<Outcome> {
    // Without evaluation the demonstration takes half the time.
    let config = RunConfig { rounds: ROUNDS, nodes: NODES, evaluate: false, ..RunConfig::default() };
    let submit = FlowerRun::submit(venv, funnels.dial(), &config);
    let mut run = report.during("submitting the app", submit).await?;

    let mut phase = format!("run {} is accepted", run.id());
    while let Some(line) = report.during(&phase, run.next_line()).await? {
        if let Some(round) = Round::parse(&line) {
            report.round(&round, ids, &funnels.path());
        }
        phase = report::phase_in(&line).unwrap_or(phase);
    }
    let outcome = report.during("asking for the final status", run.finish()).await?;
    outcome.verify(ROUNDS, ids).map_err(|error| run.explain(error))?;
    Ok(outcome)
}
