//! A SuperLink that is killed and started again: what Flower loses itself, and that the nodes behind funnels go on.

use std::time::Duration;

use super::pair::{Pair, Setting};
use crate::{
    flower::{Error, FlowerRun, RunConfig, SuperLink, SuperNode, Venv},
    real_flower::in_turn,
    versions::{V1_41, venvs},
};

const NODES: usize = 2;
const ROUNDS: u64 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn a_superlink_that_is_killed_loses_its_run_and_has_the_next_one_with_the_same_nodes() -> Result<(), Error> {
    in_turn(async {
        let Some([venv]) = venvs([V1_41]).await? else { return Ok(()) };
        let mut superlink = SuperLink::start_with_database(&venv).await?;
        let pair = Pair::start(&superlink, Setting::default()).await?;
        let start = |part| SuperNode::start(&venv, pair.dial(), part, NODES);
        let mut nodes = (0..NODES).map(start).collect::<Result<Vec<_>, _>>()?;
        let done = lose_a_run_and_have_the_next(&venv, &mut superlink, &mut nodes).await;
        let done = done.map_err(|error| nodes.iter().fold(error, |error, node| node.explain(error)));
        done.map_err(|error| pair.explain(superlink.explain(error)))?;
        for node in nodes {
            node.stop().await?;
        }
        pair.stop().await?;
        superlink.stop().await
    })
    .await
}

async fn lose_a_run_and_have_the_next(
    venv: &Venv,
    superlink: &mut SuperLink,
    nodes: &mut [SuperNode],
) -> Result<(), Error> {
    let mut ids = Vec::new();
    for node in &mut *nodes {
        ids.push(node.registered().await?);
    }
    let train_sleep = Duration::from_secs(1);
    let config = RunConfig { rounds: ROUNDS, nodes: NODES, train_sleep, evaluate: false, ..RunConfig::default() };
    let control = superlink.control().addr;
    let mut lost = FlowerRun::submit(venv, control, &config).await?;
    lost.begun(2, ROUNDS).await?;
    superlink.kill_and_restart().await?;
    if lost.follow().await.is_ok() {
        return Err(Error::new("a run outlived its SuperLink: docs/faults.md says otherwise"));
    }
    let mut next = FlowerRun::submit(venv, control, &config).await?;
    next.finish().await?.verify(ROUNDS, &ids).map_err(|error| next.explain(error))?;
    nodes.iter_mut().try_for_each(SuperNode::check_running)
}
