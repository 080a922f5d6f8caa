//! The `flwr` command of one version with a SuperLink of another: run, list, log and stop.
//!
//! No SuperNode takes part, so that a run waits in its first round until it is stopped.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::flower::{
    Answer, Cli, Context, Error, FlowerRun, LogMode, Process, RunConfig, SuperLink, Venv, Version, Wire,
};
use crate::funnels::Funnels;
use crate::real_flower::in_turn;
use crate::versions::{V1_30, V1_39, V1_41, V1_42, venvs};

/// What the app has logged once it waits for nodes.
const WAITING: &str = "[ROUND 1/3]";
/// The id of no run.
const NO_RUN: &str = "42";
/// Time for what is in the log to arrive, and for the end of the log once the run is stopped.
const LOG: Duration = Duration::from_secs(60);

/// A command to a SuperLink that has one run, a stopped one.
struct Question {
    command: String,
    ends: Ends,
    prints: String,
}

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Well,
    Refused,
}

#[tokio::test(flavor = "multi_thread")]
async fn flwr_1_30_over_grpc_controls_superlink_1_39_over_http() -> Result<(), Error> {
    controls_through_a_funnel(V1_30, V1_39).await
}

#[tokio::test(flavor = "multi_thread")]
async fn flwr_1_30_over_grpc_controls_superlink_1_42_over_http() -> Result<(), Error> {
    controls_through_a_funnel(V1_30, V1_42).await
}

#[tokio::test(flavor = "multi_thread")]
async fn flwr_1_39_over_http_controls_superlink_1_30_over_grpc() -> Result<(), Error> {
    controls_through_a_funnel(V1_39, V1_30).await
}

#[tokio::test(flavor = "multi_thread")]
async fn flwr_1_42_over_http_controls_superlink_1_30_over_grpc() -> Result<(), Error> {
    controls_through_a_funnel(V1_42, V1_30).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the rest of the matrix: --include-ignored"]
async fn flwr_of_every_version_controls_every_superlink_over_http() -> Result<(), Error> {
    for superlink in [V1_39, V1_41, V1_42] {
        for cli in [V1_39, V1_41, V1_42] {
            controls_through_a_funnel(cli, superlink).await?;
        }
    }
    controls_through_a_funnel(V1_30, V1_41).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the rest of the matrix: --include-ignored"]
async fn flwr_1_30_and_1_41_control_superlink_1_30_over_grpc() -> Result<(), Error> {
    controls_through_a_funnel(V1_30, V1_30).await?;
    controls_through_a_funnel(V1_41, V1_30).await
}

async fn controls_through_a_funnel(cli: Version, superlink: Version) -> Result<(), Error> {
    let controlled = in_turn(control(cli, superlink)).await;
    controlled.map_err(|error| Error::new(format!("flwr {cli}, SuperLink {superlink}: {error}")))
}

async fn control(cli: Version, superlink: Version) -> Result<(), Error> {
    let wires = [cli.era().control(), superlink.era().control()];
    let Some([cli, superlink]) = venvs([cli, superlink]).await? else { return Ok(()) };
    let superlink = SuperLink::start(&superlink).await?;
    let funnels = Funnels::start(&superlink).await?;
    let result = use_every_command(&cli, wires, funnels.dial()).await;
    result.map_err(|error| funnels.explain(superlink.explain(error)))?;
    funnels.stop().await?;
    superlink.stop().await
}

/// `wires` are those of the command and of the SuperLink.
async fn use_every_command(venv: &Venv, wires: [Wire; 2], dial: SocketAddr) -> Result<(), Error> {
    let mut run = FlowerRun::submit(venv, dial, &RunConfig::default()).await?;
    let cli = Cli::new(venv, dial)?;
    let stopped = follow_and_stop(&cli, &mut run).await;
    stopped.map_err(|error| run.explain(error))?;
    for question in questions(wires, run.id()) {
        let answer = cli.ask(&question.command).await?;
        check(&answer, question.ends, &question.prints)
            .map_err(|error| Error::new(format!("flwr {} {error}", question.command)))?;
    }
    ask_as_chat(wires, dial).await
}

/// What is asked once `run` is stopped, and what `flwr` makes of the answers.
fn questions([cli, superlink]: [Wire; 2], run: &str) -> Vec<Question> {
    // Flower's errors have codes since its Control API is HTTP; those of before are passed on as they are.
    let (unknown_run, finished_run) = match (cli, superlink) {
        (_, Wire::Grpc) => ("Run ID not found", format!("Run ID {run} is already finished")),
        (Wire::Grpc, Wire::Http) => ("Run ID not found.", "Run is already finished.".into()),
        (Wire::Http, Wire::Http) => ("[code: 16] Run ID not found.", "[code: 18] Run is already finished.".into()),
    };
    // Over gRPC, flwr takes it for success.
    let unknown_log = match cli {
        Wire::Grpc => (Ends::Well, "Invalid run_id `42`, exiting"),
        Wire::Http => (Ends::Refused, unknown_run),
    };
    [
        (format!("list --run-id {run} --format json"), Ends::Well, "\"finished:stopped\""),
        ("list --format json".into(), Ends::Well, run),
        (format!("stop {run}"), Ends::Refused, &finished_run),
        (format!("stop {NO_RUN}"), Ends::Refused, unknown_run),
        (format!("list --run-id {NO_RUN}"), Ends::Refused, unknown_run),
        (format!("log {NO_RUN} --show"), unknown_log.0, unknown_log.1),
        (format!("log {NO_RUN} --stream"), Ends::Refused, unknown_run),
        ("supernode list --format json".into(), Ends::Well, "\"nodes\": []"),
        ("federation list --format json".into(), Ends::Well, "@none/default"),
        // It takes a login for nothing but TLS, which this funnel's port does not speak.
        ("login".into(), Ends::Refused, "requires TLS to be enabled"),
    ]
    .map(|(command, ends, prints)| Question { command, ends, prints: prints.to_owned() })
    .into()
}

/// What `flwr chat` asks, which wants a terminal: every SuperLink over HTTP can answer, 1.30 cannot.
async fn ask_as_chat(wires: [Wire; 2], dial: SocketAddr) -> Result<(), Error> {
    let expected = match wires {
        [Wire::Http, Wire::Http] => "HTTP/1.1 200 ",
        // Flower's own words for a method that it does not have.
        [Wire::Http, Wire::Grpc] => "Error in service handler!",
        // It is younger than flwr over gRPC.
        [Wire::Grpc, _] => return Ok(()),
    };
    let path = "/v1/control/list-run-series";
    let answer = tokio::time::timeout(LOG, post(dial, path)).await;
    let answer = answer.map_err(|_| Error::new(format!("no answer to POST {path}")))?;
    let answer = answer.context(|| format!("POST {path}"))?;
    if answer.contains(expected) { Ok(()) } else { Err(Error::new(format!("POST {path}, not {expected}: {answer}"))) }
}

async fn post(dial: SocketAddr, path: &str) -> std::io::Result<String> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {dial}\r\ncontent-type: application/protobuf\r\ncontent-length: 0\r\n\
         connection: close\r\n\r\n"
    );
    let mut socket = TcpStream::connect(dial).await?;
    socket.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The log of a run that goes on arrives, through two streams; the run is stopped, and with it both streams end.
async fn follow_and_stop(cli: &Cli, run: &mut FlowerRun) -> Result<(), Error> {
    while let Some(line) = run.next_line().await? {
        if line.contains(WAITING) {
            break;
        }
    }
    let mut follower = follow(cli, run.id()).await?;
    let status = cli.status(run.id()).await?;
    if status != "running" {
        return Err(Error::new(format!("the run is {status} and not running")));
    }
    let shown = cli.log(run.id(), LogMode::Show, LOG).await?;
    if !shown.contains(WAITING) {
        return Err(Error::new(format!("flwr log --show prints no {WAITING}:\n{shown}")));
    }
    let stop = cli.ask(&format!("stop {}", run.id())).await?;
    check(&stop, Ends::Well, "successfully stopped")?;
    run.follow().await?;
    let ended = follower.wait(LOG).await?;
    if ended.success() { Ok(()) } else { Err(follower.error(&format!("failed ({ended}) when the run was stopped"))) }
}

/// Starts a second stream of the log, and waits until the run is seen to wait in it.
async fn follow(cli: &Cli, run_id: &str) -> Result<Process, Error> {
    let (process, mut lines) = cli.follow_log(run_id)?;
    let waiting = async {
        while let Some(line) = lines.next().await {
            if line.contains(WAITING) {
                return true;
            }
        }
        false
    };
    match tokio::time::timeout(LOG, waiting).await {
        Ok(true) => Ok(process),
        _ => Err(process.error(&format!("prints no {WAITING}"))),
    }
}

fn check(answer: &Answer, ends: Ends, text: &str) -> Result<(), Error> {
    if answer.succeeded == (ends == Ends::Well) && answer.printed.contains(text) {
        return Ok(());
    }
    let Answer { succeeded, printed } = answer;
    let how = if *succeeded { "succeeded" } else { "failed" };
    Err(Error::new(format!("{how}, and should have ended {ends:?} with {text:?}:\n{printed}")))
}
