//! One run of the app, one way.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{
    failure::Failure,
    flower::{Error, FlowerRun, RunConfig, SuperLink, SuperNode, Venv},
    funnels::Funnels,
    metric::Metrics,
    results::Cell,
    run::Args,
    usage::{self, Usage},
    way::Way,
};

/// Far more than a run takes on a busy machine: what takes longer hangs.
const TIMEOUT: Duration = Duration::from_secs(20 * 60);
/// Bytes of a float32.
const ELEMENT: u64 = 4;

/// Starts everything, lets the app run once, and stops everything.
pub(crate) async fn measure(venv: &Venv, way: Way, repeat: usize, args: &Args) -> Result<Cell, Failure> {
    let superlink = SuperLink::start(venv).await?;
    let measured = match way {
        Way::Direct => train(venv, superlink.fleet().addr, None, args).await,
        Way::Funnel => {
            let funnels = Funnels::start(&superlink).await?;
            let measured = train(venv, funnels.dial(), Some(&funnels), args).await;
            let measured = measured.map_err(|error| funnels.explain(error))?;
            funnels.stop().await?;
            Ok(measured)
        }
    };
    let (metrics, usage) = measured.map_err(|error| superlink.explain(error))?;
    superlink.stop().await?;
    Ok(Cell { way, repeat, metrics, usage })
}

type Measured = (Metrics, BTreeMap<String, Usage>);

async fn train(venv: &Venv, dial: SocketAddr, funnels: Option<&Funnels>, args: &Args) -> Result<Measured, Error> {
    let start = |partition| SuperNode::start(venv, dial, partition, args.nodes);
    let mut nodes = (0..args.nodes).map(start).collect::<Result<Vec<_>, _>>()?;
    let measured = train_on(venv, dial, funnels, args, &mut nodes).await;
    let measured = measured.map_err(|error| nodes.iter().fold(error, |error, node| node.explain(error)))?;
    for node in nodes {
        node.stop().await?;
    }
    Ok(measured)
}

async fn train_on(
    venv: &Venv,
    dial: SocketAddr,
    funnels: Option<&Funnels>,
    args: &Args,
    nodes: &mut [SuperNode],
) -> Result<Measured, Error> {
    let mut ids = Vec::new();
    for node in nodes {
        ids.push(node.registered().await?);
    }
    let before = funnels.map(used).transpose()?.unwrap_or_default();
    let busy_before = usage::machine_busy_s().map_err(failed)?;
    let submitted = Instant::now();
    let mut run = FlowerRun::submit(venv, dial, &config(args)).await?;
    run.follow().await?;
    let wall_s = submitted.elapsed().as_secs_f64();
    let machine_cpu_s = usage::machine_busy_s().map_err(failed)? - busy_before;
    let mut usage = funnels.map(used).transpose()?.unwrap_or_default();
    usage.iter_mut().for_each(|(part, usage)| usage.cpu_s -= before[part].cpu_s);
    let mut metrics = outcome(&mut run, args, &ids).await.map_err(|error| run.explain(error))?;
    metrics.extend([("wall_s".to_owned(), wall_s), ("machine_cpu_s".to_owned(), machine_cpu_s)]);
    Ok((metrics, usage))
}

fn config(args: &Args) -> RunConfig {
    RunConfig {
        rounds: args.rounds,
        nodes: args.nodes,
        array_elems: args.megabytes * 1_000_000 / ELEMENT,
        evaluate: false,
        timeout: TIMEOUT,
        ..RunConfig::default()
    }
}

/// The times of a run, which is refused unless it was complete and exact.
async fn outcome(run: &mut FlowerRun, args: &Args, ids: &[String]) -> Result<Metrics, Error> {
    let outcome = run.finish().await?;
    outcome.verify(args.rounds, ids)?;
    let summary = outcome.summary.as_ref().ok_or_else(|| Error::new("the app has said nothing at its end"))?;
    let run_s = run.elapsed().await?.as_secs_f64();
    let mut metrics = Metrics::from([("run_s".to_owned(), run_s), ("training_s".to_owned(), summary.seconds)]);
    metrics.extend(outcome.rounds.values().map(|round| (format!("round_{}_s", round.number), round.seconds)));
    Ok(metrics)
}

/// CPU time of the funnels, and the highest memory, which starts anew.
fn used(funnels: &Funnels) -> Result<BTreeMap<String, Usage>, Error> {
    let of = |(part, id): (&str, Option<u32>)| {
        let id = id.ok_or_else(|| Error::new(format!("the {part} funnel has ended")))?;
        let used = Usage::of(id).map_err(failed)?;
        usage::reset_peak(id).map_err(failed)?;
        Ok((part.to_owned(), used))
    };
    funnels.processes().into_iter().map(of).collect()
}

fn failed(failure: Failure) -> Error {
    Error::new(failure.to_string())
}
