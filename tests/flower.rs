//! The real Flower through a pair of real funnels: every wire that its versions use.
//!
//! Skips without Python, except where `CI` is `true`. The first run installs flwr into the target directory.

#[path = "../examples/flower_quickstart/flower/mod.rs"]
mod flower;
#[path = "support/flower_venv.rs"]
mod flower_venv;
#[path = "support/funnel_process.rs"]
mod funnel_process;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flower::{Era, Error, FlowerRun, LogMode, RunConfig, SuperLink, SuperNode, Venv, Version};
use flower_venv::flower_venv;
use funnel_process::{FunnelProcess, endpoint_id};
use tempfile::TempDir;
use tokio::sync::Mutex;

/// A run keeps two cores busy: runs take turns.
static TURN: Mutex<()> = Mutex::const_new(());

const NODES: usize = 2;
const ROUNDS: u64 = 3;
/// Above everything that is waited for in a test, each part of which has its own bound.
const TEST_TIMEOUT: Duration = Duration::from_secs(40 * 60);

#[tokio::test(flavor = "multi_thread")]
async fn flower_with_every_api_over_http_trains_through_a_funnel() -> Result<(), Error> {
    trains_through_a_funnel(Version::new(41, 0)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn flower_with_fleet_over_grpc_and_control_over_http_trains_through_a_funnel() -> Result<(), Error> {
    trains_through_a_funnel(Version::new(39, 0)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn flower_with_every_api_over_grpc_trains_through_a_funnel() -> Result<(), Error> {
    trains_through_a_funnel(Version::new(30, 0)).await
}

async fn trains_through_a_funnel(version: Version) -> Result<(), Error> {
    let _turn = TURN.lock().await;
    let finished = tokio::select! {
        finished = tokio::time::timeout(TEST_TIMEOUT, train(version)) => finished,
        _ = flower::interrupted() => {
            // By now the processes of the other branch are gone; libtest itself would leave them behind.
            std::process::exit(130)
        }
    };
    finished.unwrap_or_else(|_| Err(Error::new(format!("no result after {TEST_TIMEOUT:?}"))))
}

async fn train(version: Version) -> Result<(), Error> {
    let Some(venv) = flower_venv(version).await? else { return Ok(()) };
    let superlink = SuperLink::start(&venv).await?;
    let funnels = Funnels::start(&superlink, version.era()).await?;
    let result = train_with_nodes(&venv, funnels.dial).await;
    result.map_err(|error| funnels.explain(superlink.explain(error)))?;
    funnels.stop().await?;
    superlink.stop().await
}

async fn train_with_nodes(venv: &Venv, dial: SocketAddr) -> Result<(), Error> {
    let start = |partition| SuperNode::start(venv, dial, partition, NODES);
    let mut nodes = (0..NODES).map(start).collect::<Result<Vec<_>, _>>()?;
    let result = train_and_check(venv, dial, &mut nodes).await;
    result.map_err(|error| nodes.iter().fold(error, |error, node| node.explain(error)))?;
    for node in nodes {
        node.stop().await?;
    }
    Ok(())
}

async fn train_and_check(venv: &Venv, dial: SocketAddr, nodes: &mut [SuperNode]) -> Result<(), Error> {
    let mut ids = Vec::new();
    for node in nodes {
        ids.push(node.registered().await?);
    }
    let config = RunConfig { rounds: ROUNDS, nodes: NODES, ..RunConfig::default() };
    let mut run = FlowerRun::submit(venv, dial, &app(), &config).await?;
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

fn app() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flower_quickstart/app")
}

/// One funnel beside the SuperLink, and one whose only port carries Fleet and Control for everything else.
struct Funnels {
    inbound: FunnelProcess,
    outbound: FunnelProcess,
    dial: SocketAddr,
    // After the processes: their files go last.
    _dir: TempDir,
}

impl Funnels {
    async fn start(superlink: &SuperLink, era: Era) -> Result<Self, Error> {
        let dir = tempfile::tempdir().map_err(|error| Error::new(format!("no temporary directory: {error}")))?;
        let file = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let (ticket, joiner_key) = (file("ticket"), file("joiner.key"));
        let joiner = endpoint_id(Path::new(&joiner_key)).await.map_err(Error::new)?;

        let mut expose = strings(["expose", "--ticket-file", &ticket, "--key-file", &file("inbound.key")]);
        expose.extend(strings(["--allow", &format!("{joiner}=fleet,control")]));
        expose.extend(upstreams(superlink, era));
        expose.extend(strings(LOOPBACK));
        let inbound = FunnelProcess::start(expose).await.map_err(Error::new)?;

        let mut join = strings(["join", &format!("@{ticket}"), "--key-file", &joiner_key]);
        join.extend(strings(["--listen", "127.0.0.1:0"]));
        join.extend(strings(LOOPBACK));
        let outbound = FunnelProcess::start(join).await.map_err(Error::new)?;
        let dial = outbound.listen_addr().map_err(Error::new)?;
        Ok(Self { inbound, outbound, dial, _dir: dir })
    }

    fn explain(&self, error: Error) -> Error {
        let logs = [&self.inbound, &self.outbound].map(FunnelProcess::stderr);
        Error::new(format!("{error}\n--- inbound funnel\n{}\n--- outbound funnel\n{}", logs[0], logs[1]))
    }

    async fn stop(self) -> Result<(), Error> {
        for funnel in [self.outbound, self.inbound] {
            let status = funnel.stop().await.map_err(Error::new)?;
            if cfg!(unix) && !status.success() {
                return Err(Error::new(format!("a funnel ended with {status} after SIGTERM")));
            }
        }
        Ok(())
    }
}

const LOOPBACK: [&str; 4] = ["--bind", "127.0.0.1:0", "--relay", "off"];

/// The options that tell a funnel where the SuperLink serves what.
fn upstreams(superlink: &SuperLink, era: Era) -> Vec<String> {
    if era == Era::Http {
        return strings(["--superlink", &superlink.fleet().to_string()]);
    }
    let fleet = format!("fleet={}", superlink.fleet());
    let control = format!("control={}", superlink.control());
    strings(["--upstream", &fleet, "--upstream", &control])
}

fn strings<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).into()
}
