//! The two ends of a tunnel, as processes.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use clap::ValueEnum;
use lab::{Host, Link};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::{
    dumbpipe,
    failure::{Context, Failure},
    process::Process,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_flower-iroh-funnel");
/// Of the far end, always the same: whoever restarts a funnel does not choose another.
const FAR_PORT: u16 = 7000;
/// Where dumbpipe's near end listens; a link's hosts have all ports for themselves.
const NEAR_PORT: u16 = 9092;
/// dumbpipe's key, which it takes from its environment, so that it is the same after a restart.
const DUMBPIPE_KEY: &str = "1f1e1d1c1b1a191817161514131211100f0e0d0c0b0a09080706050403020100";
/// Time until a process is ready; dumbpipe waits 5 s for a relay that is not there.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// A pair of funnels.
    Funnel,
    /// dumbpipe, if it is installed.
    Dumbpipe,
}

impl Kind {
    /// As tables name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Funnel => "funnel",
            Self::Dumbpipe => "dumbpipe",
        }
    }
}

/// A tunnel from the left host of a link to a server on the right one.
#[derive(Debug)]
pub(crate) struct Tunnel {
    kind: Kind,
    folder: TempDir,
    server: SocketAddr,
    ticket: String,
    far: Option<Process>,
    near: Process,
    /// Where calls go, on the left host's loopback device.
    pub(crate) dial: SocketAddr,
}

impl Tunnel {
    /// Starts both ends.
    pub(crate) fn start(kind: Kind, link: &Link, server: SocketAddr) -> Result<Self, Failure> {
        let folder = TempDir::new().context("a folder for keys")?;
        let (far, ticket) = start_far(kind, link.right(), server, folder.path())?;
        let (near, dial) = start_near(kind, link.left(), &ticket, folder.path())?;
        Ok(Self { kind, folder, server, ticket, far: Some(far), near, dial })
    }

    /// Kills the far end and starts it again, with the same key and address. Returns when it is ready.
    pub(crate) fn restart_far(&mut self, link: &Link) -> Result<(), Failure> {
        // Its end is waited for, and with it the port is free.
        self.far = None;
        let (far, ticket) = start_far(self.kind, link.right(), self.server, self.folder.path())?;
        if ticket != self.ticket {
            return Err(
                format!("the restarted {} is another peer: {ticket}, not {}", self.kind.name(), self.ticket).into()
            );
        }
        self.far = Some(far);
        Ok(())
    }

    /// Stops the far end where it stands, without a word to its peer, or lets it go on.
    pub(crate) fn freeze_far(&self, is_frozen: bool) -> Result<(), Failure> {
        let far = self.far.as_ref().ok_or("the far end is not running")?;
        signal(far.id(), is_frozen)
    }

    /// Waits until the near end has said that its peer is lost, which dumbpipe never does.
    pub(crate) fn wait_for_loss(&mut self, patience: Duration) -> Result<String, Failure> {
        match self.kind {
            Kind::Funnel => self.near.wait_for(" lost: ", patience),
            Kind::Dumbpipe => Err("dumbpipe says nothing of its peer".into()),
        }
    }
}

fn start_far(kind: Kind, host: &Host, server: SocketAddr, folder: &Path) -> Result<(Process, String), Failure> {
    let bind = SocketAddr::new(host.addr(), FAR_PORT).to_string();
    match kind {
        Kind::Funnel => {
            let mut command = funnel(&bind, folder.join("expose.key"));
            command.args(["expose", "--allow-any", "--superlink", &format!("http://{server}")]);
            let mut far = start("far", host, command)?;
            let ticket = far.wait_for("ticket ", TIMEOUT)?;
            far.wait_for("ready ", TIMEOUT)?;
            Ok((far, ticket))
        }
        Kind::Dumbpipe => {
            let mut command = dumbpipe("listen-tcp", &bind, FAR_PORT);
            command.args(["--host", &server.to_string()]).env("IROH_SECRET", DUMBPIPE_KEY);
            let mut far = start("far", host, command)?;
            let ticket = far.wait_for("dumbpipe connect-tcp ", TIMEOUT)?;
            Ok((far, ticket))
        }
    }
}

fn start_near(kind: Kind, host: &Host, ticket: &str, folder: &Path) -> Result<(Process, SocketAddr), Failure> {
    // The host's address may change: no socket may be bound to it.
    let bind = "0.0.0.0:0";
    match kind {
        Kind::Funnel => {
            let mut command = funnel(bind, folder.join("join.key"));
            command.args(["join", ticket, "--listen", "127.0.0.1:0"]);
            let mut near = start("near", host, command)?;
            let ready = near.wait_for("ready listening on ", TIMEOUT)?;
            let dial = ready.split_whitespace().next().unwrap_or_default();
            let dial = dial.parse().context(format_args!("the near funnel's address in {ready:?}"))?;
            Ok((near, dial))
        }
        Kind::Dumbpipe => {
            let dial = SocketAddr::from(([127, 0, 0, 1], NEAR_PORT));
            let mut command = dumbpipe("connect-tcp", bind, 0);
            command.args(["--addr", &dial.to_string(), ticket]);
            let mut near = start("near", host, command)?;
            near.wait_for_listener(dial, TIMEOUT)?;
            Ok((near, dial))
        }
    }
}

fn start(part: &'static str, host: &Host, mut command: Command) -> Result<Process, Failure> {
    command.env_remove("RUST_LOG");
    Process::start(part, &mut command, |command| host.spawn(command))
}

fn funnel(bind: &str, key: PathBuf) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["--relay", "off", "--bind", bind, "--key-file"]).arg(key);
    command
}

fn dumbpipe(role: &str, bind: &str, ipv6_port: u16) -> Command {
    let mut command = Command::new(dumbpipe::path());
    command.args([role, "--ipv4-addr", bind, "--ipv6-addr", &format!("[::1]:{ipv6_port}")]);
    command
}

#[cfg(unix)]
fn signal(id: u32, is_frozen: bool) -> Result<(), Failure> {
    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };
    let signal = if is_frozen { Signal::SIGSTOP } else { Signal::SIGCONT };
    kill(Pid::from_raw(i32::try_from(id)?), signal).context(format_args!("{signal} to process {id}"))
}

#[cfg(not(unix))]
fn signal(_: u32, _: bool) -> Result<(), Failure> {
    Err("processes cannot be stopped on this platform".into())
}
