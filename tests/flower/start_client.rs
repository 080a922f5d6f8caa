//! Flower's older `start_server` and `start_client`, which hold one stream in both directions while they train.

use std::{net::SocketAddr, path::Path, time::Duration};

use tokio::net::TcpStream;

use crate::{
    flower::{Context, Error, Process, Venv},
    funnel_process::FunnelProcess,
    funnels::{LOOPBACK, strings},
    ports::free_addr,
    real_flower::in_turn,
    versions::{V1_30, venvs},
};

/// Twice as long as the sender of any other request may pause.
const SILENCE: Duration = Duration::from_secs(120);
/// Longer than a round with this silence takes on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(300);
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/flower/start_client.py");

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_start_server_trains_in_silence_for_two_minutes() -> Result<(), Error> {
    in_turn(async {
        let Some([venv]) = venvs([V1_30]).await? else { return Ok(()) };
        let folder = tempfile::tempdir().context(|| "no temporary directory".into())?;
        train(&venv, folder.path()).await
    })
    .await
}

async fn train(venv: &Venv, folder: &Path) -> Result<(), Error> {
    let at = free_addr();
    let (mut server, mut lines) = python(venv, folder, "server", at, &[])?;
    let (expose, join) = funnels(at, folder).await?;
    // Python may take longer to start than both funnels, and start_client does not try again.
    while TcpStream::connect(at).await.is_err() {
        server.check_running()?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let dial = join.listen_addr().map_err(Error::new)?;
    let (mut client, _) = python(venv, folder, "client", dial, &[&SILENCE.as_secs().to_string()])?;
    for process in [&mut client, &mut server] {
        let ended = process.wait(TIMEOUT).await?;
        if !ended.success() {
            return Err(process.error(&format!("it ended with {ended}")));
        }
    }
    while let Some(line) = lines.next().await {
        if line.starts_with("round 1:") {
            assert_eq!(line, "round 1: 1 results, 0 failures");
            join.stop().await.map_err(Error::new)?;
            expose.stop().await.map_err(Error::new)?;
            return Ok(());
        }
    }
    Err(server.error("it did not finish its round"))
}

/// A funnel beside the server, and one beside the client.
async fn funnels(server: SocketAddr, folder: &Path) -> Result<(FunnelProcess, FunnelProcess), Error> {
    let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let ticket = file("ticket");
    let mut expose = strings(["expose", "--allow-any", "--upstream", &format!("fleet=grpc://{server}")]);
    expose.extend(strings(["--ticket-file", &ticket, "--key-file", &file("inbound.key")]));
    expose.extend(strings(LOOPBACK));
    let expose = FunnelProcess::start(expose).await.map_err(Error::new)?;
    let mut join = strings(["join", &format!("@{ticket}"), "--key-file", &file("joiner.key")]);
    join.extend(strings(["--listen", "127.0.0.1:0"]));
    join.extend(strings(LOOPBACK));
    Ok((expose, FunnelProcess::start(join).await.map_err(Error::new)?))
}

fn python(
    venv: &Venv,
    folder: &Path,
    role: &str,
    addr: SocketAddr,
    more: &[&str],
) -> Result<(Process, crate::flower::Lines), Error> {
    let mut command = venv.python();
    command.args([SCRIPT, role, &addr.to_string()]).args(more);
    Process::spawn(format!("start_{role}"), command, &folder.join(format!("{role}.log")))
}
