//! A fault in each round of a real training, which ends with every node in every round and an exact model.

use std::time::Duration;

use tokio::time::sleep;

use crate::flower::{Error, FlowerRun, RunConfig, SuperLink, SuperNode, Venv, Version};
use crate::pair::{End, Pair};
use crate::real_flower::in_turn;
use crate::versions::{V1_39, V1_41, venvs};

const NODES: usize = 2;
/// 8 MB, two of Flower's chunks: it takes long enough for a fault to meet it.
const ARRAY_ELEMS: u64 = 2_000_000;

/// What happens when a round has begun.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// A round without one, in which everything finds its place.
    None,
    /// SIGKILL, and a start anew.
    Killed(End),
    /// SIGTERM, and a start anew.
    Stopped(End),
    /// SIGSTOP, and SIGCONT after so many seconds.
    Frozen(End, u64),
}

#[tokio::test(flavor = "multi_thread")]
async fn training_over_http_outlives_funnels_that_are_killed_stopped_and_frozen() -> Result<(), Error> {
    let faults = [
        Fault::None,
        Fault::Killed(End::Outbound),
        Fault::Killed(End::Inbound),
        Fault::Frozen(End::Inbound, 5),
        Fault::Frozen(End::Outbound, 10),
        Fault::Stopped(End::Inbound),
        Fault::Stopped(End::Outbound),
    ];
    in_turn(train(V1_41, &faults)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn training_over_grpc_outlives_funnels_that_are_killed_and_frozen() -> Result<(), Error> {
    let faults = [
        Fault::None,
        Fault::Killed(End::Outbound),
        Fault::Killed(End::Inbound),
        Fault::Frozen(End::Inbound, 10),
        Fault::Stopped(End::Inbound),
    ];
    in_turn(train(V1_39, &faults)).await
}

async fn train(version: Version, faults: &[Fault]) -> Result<(), Error> {
    let Some([venv]) = venvs([version]).await? else { return Ok(()) };
    let superlink = SuperLink::start(&venv).await?;
    let mut pair = Pair::start(&superlink).await?;
    let trained = train_through(&mut pair, &superlink, &venv, faults).await;
    trained.map_err(|error| pair.explain(superlink.explain(error)))?;
    pair.stop().await?;
    superlink.stop().await
}

async fn train_through(pair: &mut Pair, superlink: &SuperLink, venv: &Venv, faults: &[Fault]) -> Result<(), Error> {
    let start = |partition| SuperNode::start(venv, pair.dial(), partition, NODES);
    let mut nodes = (0..NODES).map(start).collect::<Result<Vec<_>, _>>()?;
    let trained = train_with(pair, superlink, venv, &mut nodes, faults).await;
    trained.map_err(|error| nodes.iter().fold(error, |error, node| node.explain(error)))?;
    for node in nodes {
        node.stop().await?;
    }
    Ok(())
}

async fn train_with(
    pair: &mut Pair,
    superlink: &SuperLink,
    venv: &Venv,
    nodes: &mut [SuperNode],
    faults: &[Fault],
) -> Result<(), Error> {
    let mut ids = Vec::new();
    for node in nodes {
        ids.push(node.registered().await?);
    }
    let rounds = faults.len() as u64;
    let config = RunConfig {
        rounds,
        nodes: NODES,
        array_elems: ARRAY_ELEMS,
        train_sleep: Duration::from_secs(1),
        evaluate: false,
        ..RunConfig::default()
    };
    // The run's log comes straight from the SuperLink: it tells when to do harm, and is none of the harmed.
    let mut run = FlowerRun::submit(venv, superlink.control().addr, &config).await?;
    let outcome = async {
        for (fault, round) in faults.iter().zip(1..) {
            begun(&mut run, &format!("[ROUND {round}/{rounds}]")).await?;
            let harmed = harm(pair, *fault).await;
            harmed.map_err(|error| Error::new(format!("round {round}, {fault:?}: {error}")))?;
        }
        run.finish().await?.verify(rounds, &ids)
    };
    let outcome = outcome.await;
    outcome.map_err(|error| run.explain(Error::new(format!("{faults:?}, one in each round: {error}"))))
}

/// Waits for a line of the run's log.
async fn begun(run: &mut FlowerRun, text: &str) -> Result<(), Error> {
    while let Some(line) = run.next_line().await? {
        if line.contains(text) {
            return Ok(());
        }
    }
    Err(Error::new(format!("the log ended before {text}")))
}

async fn harm(pair: &mut Pair, fault: Fault) -> Result<(), Error> {
    match fault {
        Fault::None => Ok(()),
        Fault::Killed(end) => pair.kill_and_restart(end).await,
        Fault::Stopped(end) => pair.stop_and_restart(end).await,
        Fault::Frozen(end, seconds) => {
            pair.process(end)?.freeze().map_err(Error::new)?;
            // The fault itself, and no waiting for an event.
            sleep(Duration::from_secs(seconds)).await;
            pair.process(end)?.thaw().map_err(Error::new)
        }
    }
}
