//! The Rust node of the examples beside a Python SuperNode, in a run of the real Flower.

use std::path::Path;

use flower_iroh_funnel::{RelayMode, node::RecordDict};
use tempfile::TempDir;

use crate::flower::{Cli, Error, FlowerRun, RunConfig, SuperLink, SuperNode, Venv, Version};
use crate::funnel_process::{FunnelProcess, endpoint_id};
use crate::real_flower::{flower_venv, in_turn};
use crate::rust_supernode;
use crate::versions::{V1_39, V1_42};

const NODES: usize = 2;
const ROUNDS: u64 = 3;
/// A payload of several chunks.
const ARRAY_ELEMS: u64 = 3_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_rust_node_trains_beside_a_python_node_of_a_superlink_that_speaks_http() -> Result<(), Error> {
    trains_beside_a_python_node(V1_42).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rust_node_trains_beside_a_python_node_of_a_superlink_that_speaks_grpc() -> Result<(), Error> {
    trains_beside_a_python_node(V1_39).await
}

/// A reply to a run that `flwr stop` has stopped fails with that reason; the node takes part in the next run.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_costs_a_rust_node_its_reply_and_nothing_else() -> Result<(), Error> {
    in_turn(async {
        let version = V1_42;
        let Some(venv) = flower_venv(version).await? else { return Ok(()) };
        let node = AtSuperLink::start(&venv).await?;
        node.explain(stop_and_go_on(&venv, &node).await)?;
        node.stop().await
    })
    .await
}

async fn stop_and_go_on(venv: &Venv, at: &AtSuperLink) -> Result<(), Error> {
    let node = &at.rust.node;
    let config = RunConfig { rounds: 1, nodes: 1, ..RunConfig::default() };
    let control = at.superlink.control().addr;
    let stopped = FlowerRun::submit(venv, control, &config).await?;
    let message = node.pull_message().await.map_err(|error| Error::new(format!("no message: {error}")))?;
    let stop = Cli::new(venv, control)?.ask(&format!("stop {}", stopped.id())).await?;
    assert!(stop.succeeded, "{}", stop.printed);
    let refused = node.push_reply(message.reply(RecordDict::new())).await.expect_err("the run is stopped");
    assert!(refused.is_run_stopped() && refused.to_string().contains(stopped.id()), "{refused}");

    let mut next = FlowerRun::submit(venv, control, &config).await?;
    let outcome = tokio::select! {
        outcome = next.finish() => outcome?,
        ended = at.rust.serve() => return Err(Error::new(format!("the Rust node ended: {ended:?}"))),
    };
    outcome.verify(config.rounds, &[node.id().to_string()]).map_err(|error| next.explain(error))
}

async fn trains_beside_a_python_node(version: Version) -> Result<(), Error> {
    in_turn(async {
        let Some(venv) = flower_venv(version).await? else { return Ok(()) };
        let node = AtSuperLink::start(&venv).await?;
        let trained = tokio::select! {
            trained = train_and_check(&venv, &node.superlink, node.rust.node.id()) => trained,
            ended = node.rust.serve() => Err(Error::new(format!("the Rust node ended: {ended:?}"))),
        };
        node.explain(trained)?;
        node.stop().await
    })
    .await
}

/// The Rust node, active at a SuperLink that it reaches through the funnel beside it.
struct AtSuperLink {
    rust: rust_supernode::SuperNode,
    funnel: FunnelProcess,
    superlink: SuperLink,
    // After the processes: their files go last.
    _dir: TempDir,
}

impl AtSuperLink {
    async fn start(venv: &Venv) -> Result<Self, Error> {
        let superlink = SuperLink::start(venv).await?;
        let dir = tempfile::tempdir().map_err(|error| Error::new(format!("no temporary directory: {error}")))?;
        let funnel = expose(&superlink, dir.path()).await?;
        let rust = rust_supernode::SuperNode::start(options(dir.path())).await;
        let rust = rust.map_err(|error| {
            superlink.explain(Error::new(format!("the Rust node: {error}\n--- funnel\n{}", funnel.stderr())))
        })?;
        Ok(Self { rust, funnel, superlink, _dir: dir })
    }

    fn explain(&self, result: Result<(), Error>) -> Result<(), Error> {
        result.map_err(|error| {
            self.superlink.explain(Error::new(format!("{error}\n--- funnel\n{}", self.funnel.stderr())))
        })
    }

    async fn stop(self) -> Result<(), Error> {
        let left = self.rust.close().await;
        left.map_err(|error| Error::new(format!("the Rust node does not leave: {error}")))?;
        let status = self.funnel.stop().await.map_err(Error::new)?;
        if cfg!(unix) && !status.success() {
            return Err(Error::new(format!("the funnel ended with {status} after SIGTERM")));
        }
        self.superlink.stop().await
    }
}

/// Runs the app with a Python node for the first part of the data; the Rust node has the second.
async fn train_and_check(venv: &Venv, superlink: &SuperLink, rust: u64) -> Result<(), Error> {
    let mut python = SuperNode::start(venv, superlink.fleet().addr, 0, NODES)?;
    let checked = async {
        let ids = [python.registered().await?, rust.to_string()];
        let config = RunConfig { rounds: ROUNDS, nodes: NODES, array_elems: ARRAY_ELEMS, ..RunConfig::default() };
        let mut run = FlowerRun::submit(venv, superlink.control().addr, &config).await?;
        let outcome = run.finish().await?;
        outcome.verify(ROUNDS, &ids).map_err(|error| run.explain(error))
    };
    let checked = checked.await;
    checked.map_err(|error| python.explain(error))?;
    python.stop().await
}

/// The funnel beside the SuperLink, which admits only the Rust node.
async fn expose(superlink: &SuperLink, dir: &Path) -> Result<FunnelProcess, Error> {
    let node = endpoint_id(&dir.join("node.key")).await.map_err(Error::new)?;
    let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let mut expose = strings(["expose", "--ticket-file", &file("ticket"), "--key-file", &file("inbound.key")]);
    expose.extend(strings(["--allow", &format!("{node}=fleet"), "--bind", "127.0.0.1:0", "--relay", "off"]));
    expose.extend(strings(["--upstream", &format!("fleet={}", superlink.fleet().addr)]));
    FunnelProcess::start(expose).await.map_err(Error::new)
}

fn options(dir: &Path) -> rust_supernode::Options {
    rust_supernode::Options {
        ticket: format!("@{}", dir.join("ticket").display()),
        partition: 1,
        key: Some(dir.join("node.key").to_string_lossy().into_owned()),
        node_key: None,
        relay: RelayMode::Disabled,
    }
}

fn strings<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).into()
}
