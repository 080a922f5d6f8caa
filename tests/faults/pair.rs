//! Two funnel processes that can be killed, frozen and started again, at the same addresses and with the same keys.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use tempfile::TempDir;

use crate::flower::{Context, Error, SuperLink};
use crate::funnel_process::{FunnelProcess, endpoint_id};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Beside the SuperLink.
    Inbound,
    /// Beside the SuperNodes.
    Outbound,
}

pub(crate) struct Pair {
    inbound: Option<FunnelProcess>,
    outbound: Option<FunnelProcess>,
    expose: Vec<String>,
    join: Vec<String>,
    dial: SocketAddr,
    // After the processes: their files go last.
    _dir: TempDir,
}

impl Pair {
    /// Both ends, around a SuperLink whose Fleet API alone they carry.
    pub(crate) async fn start(superlink: &SuperLink) -> Result<Self, Error> {
        let dir = tempfile::tempdir().context(|| "no temporary directory".into())?;
        let file = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let (ticket, joiner_key) = (file("ticket"), file("joiner.key"));
        let joiner = endpoint_id(Path::new(&joiner_key)).await.map_err(Error::new)?;
        let ports = free_ports().context(|| "no free port".into())?;
        let expose = format!(
            "expose --superlink {} --allow {joiner} --key-file {} --ticket-file {ticket} --bind {} --relay off",
            superlink.fleet().addr,
            file("secret.key"),
            ports.udp
        );
        let join =
            format!("join @{ticket} --listen {} --key-file {joiner_key} --bind 127.0.0.1:0 --relay off", ports.tcp);
        let [expose, join] = [expose, join].map(|line| line.split(' ').map(str::to_owned).collect());
        let mut pair = Self { inbound: None, outbound: None, expose, join, dial: ports.tcp, _dir: dir };
        pair.start_end(End::Inbound).await?;
        pair.start_end(End::Outbound).await?;
        Ok(pair)
    }

    /// What SuperNodes dial instead of the SuperLink.
    pub(crate) fn dial(&self) -> SocketAddr {
        self.dial
    }

    /// Kills one end without a word to anybody, and starts it again.
    pub(crate) async fn kill_and_restart(&mut self, end: End) -> Result<(), Error> {
        let process = self.end(end).take().ok_or_else(|| Error::new(format!("{end:?} does not run")))?;
        process.kill().await.map_err(Error::new)?;
        self.start_end(end).await
    }

    /// Asks one end to stop, which must end well, and starts it again.
    pub(crate) async fn stop_and_restart(&mut self, end: End) -> Result<(), Error> {
        let process = self.end(end).take().ok_or_else(|| Error::new(format!("{end:?} does not run")))?;
        let status = process.stop().await.map_err(Error::new)?;
        if !status.success() {
            return Err(Error::new(format!("{end:?} ended with {status} after SIGTERM")));
        }
        self.start_end(end).await
    }

    /// The process of one end.
    pub(crate) fn process(&mut self, end: End) -> Result<&FunnelProcess, Error> {
        self.end(end).as_ref().ok_or_else(|| Error::new(format!("{end:?} does not run")))
    }

    /// Adds what the funnels have logged since they were last started to an error.
    pub(crate) fn explain(&self, error: Error) -> Error {
        let log = |process: &Option<FunnelProcess>| process.as_ref().map(FunnelProcess::stderr).unwrap_or_default();
        let (inbound, outbound) = (log(&self.inbound), log(&self.outbound));
        Error::new(format!("{error}\n--- inbound funnel\n{inbound}\n--- outbound funnel\n{outbound}"))
    }

    pub(crate) async fn stop(mut self) -> Result<(), Error> {
        for end in [End::Outbound, End::Inbound] {
            if let Some(process) = self.end(end).take() {
                process.stop().await.map_err(Error::new)?;
            }
        }
        Ok(())
    }

    async fn start_end(&mut self, end: End) -> Result<(), Error> {
        let arguments = match end {
            End::Inbound => &self.expose,
            End::Outbound => &self.join,
        };
        let process = FunnelProcess::start(arguments).await.map_err(Error::new)?;
        *self.end(end) = Some(process);
        Ok(())
    }

    fn end(&mut self, end: End) -> &mut Option<FunnelProcess> {
        match end {
            End::Inbound => &mut self.inbound,
            End::Outbound => &mut self.outbound,
        }
    }
}

/// Ports that were free a moment ago, to be taken again and again.
struct Ports {
    udp: SocketAddr,
    tcp: SocketAddr,
}

fn free_ports() -> std::io::Result<Ports> {
    let (udp, tcp) = (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
    Ok(Ports { udp: udp.local_addr()?, tcp: tcp.local_addr()? })
}
