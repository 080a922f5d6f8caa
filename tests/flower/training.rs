//! Three rounds of training with two SuperNodes, and an exact model at their end.

use std::net::SocketAddr;

use crate::flower::{Dial, Error, FlowerRun, LogMode, RunConfig, SuperLink, SuperNode, Venv, Version};
use crate::funnels::Funnels;
use crate::real_flower::in_turn;
use crate::versions::{V1_30, V1_39, V1_41, V1_42, venvs};

pub(crate) const NODES: usize = 2;
const ROUNDS: u64 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn flower_with_every_api_over_http_trains_through_a_funnel() -> Result<(), Error> {
    trains_through_a_funnel(V1_42, [V1_42; NODES], V1_42).await
}

#[tokio::test(flavor = "multi_thread")]
async fn flower_with_fleet_over_grpc_and_control_over_http_trains_through_a_funnel() -> Result<(), Error> {
    trains_through_a_funnel(V1_39, [V1_39; NODES], V1_39).await
}

#[tokio::test(flavor = "multi_thread")]
async fn flower_with_every_api_over_grpc_trains_through_a_funnel() -> Result<(), Error> {
    trains_through_a_funnel(V1_30, [V1_30; NODES], V1_30).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_speak_grpc_train_with_a_superlink_that_speaks_http() -> Result<(), Error> {
    trains_through_a_funnel(V1_42, [V1_39; NODES], V1_39).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_speak_http_train_with_a_superlink_that_speaks_grpc() -> Result<(), Error> {
    trains_through_a_funnel(V1_39, [V1_42; NODES], V1_42).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_of_each_wire_trains_in_one_run() -> Result<(), Error> {
    trains_through_a_funnel(V1_41, [V1_39, V1_42], V1_41).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the rest of the matrix: --include-ignored"]
async fn nodes_of_every_version_train_with_a_superlink_of_every_other() -> Result<(), Error> {
    trains_through_a_funnel(V1_30, [V1_39, V1_41], V1_41).await?;
    trains_through_a_funnel(V1_30, [V1_30, V1_42], V1_42).await?;
    trains_through_a_funnel(V1_39, [V1_30, V1_41], V1_30).await?;
    trains_through_a_funnel(V1_41, [V1_30, V1_41], V1_41).await?;
    trains_through_a_funnel(V1_42, [V1_30, V1_41], V1_30).await
}

async fn trains_through_a_funnel(superlink: Version, nodes: [Version; NODES], cli: Version) -> Result<(), Error> {
    let trained = in_turn(train(superlink, nodes, cli)).await;
    let [first, second] = nodes;
    trained.map_err(|error| {
        Error::new(format!("SuperLink {superlink}, SuperNodes {first} and {second}, flwr {cli}: {error}"))
    })
}

async fn train(superlink: Version, [first, second]: [Version; NODES], cli: Version) -> Result<(), Error> {
    let Some([superlink, first, second, cli]) = venvs([superlink, first, second, cli]).await? else { return Ok(()) };
    let superlink = SuperLink::start(&superlink).await?;
    let funnels = Funnels::start(&superlink).await?;
    let result = train_with_nodes(&[first, second], &cli, funnels.dial()).await;
    result.map_err(|error| funnels.explain(superlink.explain(error)))?;
    funnels.stop().await?;
    superlink.stop().await
}

pub(crate) async fn train_with_nodes(venvs: &[Venv; NODES], cli: &Venv, dial: SocketAddr) -> Result<(), Error> {
    let start = |(partition, venv)| SuperNode::start(venv, dial, partition, NODES);
    let mut nodes = venvs.iter().enumerate().map(start).collect::<Result<Vec<_>, _>>()?;
    let result = train_and_check(cli, &dial.into(), &mut nodes).await;
    result.map_err(|error| nodes.iter().fold(error, |error, node| node.explain(error)))?;
    for node in nodes {
        node.stop().await?;
    }
    Ok(())
}

/// Waits until the nodes are known, and trains with them.
pub(crate) async fn train_and_check(cli: &Venv, dial: &Dial, nodes: &mut [SuperNode]) -> Result<(), Error> {
    let mut ids = Vec::new();
    for node in nodes {
        ids.push(node.registered().await?);
    }
    let config = RunConfig { rounds: ROUNDS, nodes: NODES, ..RunConfig::default() };
    let mut run = FlowerRun::submit(cli, dial.clone(), &config).await?;
    let checked = check(&mut run, &ids).await;
    checked.map_err(|error| run.explain(error))
}

async fn check(run: &mut FlowerRun, ids: &[String]) -> Result<(), Error> {
    let outcome = run.finish().await?;
    outcome.verify(ROUNDS, ids)?;
    let streamed = run.log(LogMode::Stream).await?;
    for round in 1..=ROUNDS {
        if !streamed.contains(&format!("[ROUND {round}/{ROUNDS}]")) {
            return Err(Error::new(format!("flwr log --stream shows no round {round}:\n{streamed}")));
        }
    }
    Ok(())
}
