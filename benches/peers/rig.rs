//! The processes of one measurement.

use std::{
    env,
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    crowd::{Connected, Outcome},
    failure::{Context, Failure},
    figures::{Figures, Memory},
    process::Process,
    run::Plan,
    usage,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_flower-iroh-funnel");
/// Until a process is ready.
const TIMEOUT: Duration = Duration::from_secs(60);
/// For binding and connecting one peer, far more than it takes.
const PEER_TIMEOUT: Duration = Duration::from_millis(300);

/// A SuperLink, the inbound funnel before it, and the crowd. The fields end in this order.
#[derive(Debug)]
pub(crate) struct Rig {
    crowd: Process,
    inbound: Process,
    superlink: Process,
    _folder: TempDir,
    plan: Plan,
}

/// CPU seconds since the machine or the processes started.
#[derive(Clone, Copy, Debug)]
struct Cpu {
    inbound: f64,
    crowd: f64,
    superlink: f64,
    machine: f64,
}

impl Rig {
    /// Starts everything; nobody is connected yet.
    pub(crate) fn start(plan: Plan) -> Result<Self, Failure> {
        let folder = TempDir::new().context("a folder for keys")?;
        let mut superlink = start("superlink", own_role("superlink"))?;
        let upstream = superlink.wait_for("ready ", TIMEOUT)?;
        let mut command = Command::new(PROGRAM);
        command.args(["expose", "--allow-any", "--relay", "off", "--bind", "127.0.0.1:0"]);
        command.args(["--superlink", &format!("http://{upstream}")]);
        command.arg("--key-file").arg(folder.path().join("expose.key")).env_remove("RUST_LOG");
        let mut inbound = start("inbound", command)?;
        let ticket = inbound.wait_for("ticket ", TIMEOUT)?;
        inbound.wait_for("ready ", TIMEOUT)?;
        let mut command = own_role("crowd");
        command.args([plan.peers.to_string(), plan.every.as_secs_f64().to_string()]);
        command.args([plan.window.as_secs_f64().to_string(), ticket]);
        let mut crowd = start("crowd", command)?;
        crowd.wait_for("bound", TIMEOUT + plan.patience(PEER_TIMEOUT))?;
        Ok(Self { crowd, inbound, superlink, _folder: folder, plan })
    }

    /// Connects everybody, lets them poll, and tells what that took.
    pub(crate) fn measure(&mut self) -> Result<Figures, Failure> {
        let memory_before = self.resident()?;
        let unconnected = self.cpu()?;
        self.crowd.tell("connect")?;
        let patience = TIMEOUT + self.plan.patience(PEER_TIMEOUT);
        let connected: Connected = serde_json::from_str(&self.crowd.wait_for("connected ", patience)?)?;
        let connecting = self.cpu()?.since(unconnected);
        let memory_connected = self.resident()?;
        self.crowd.tell("poll")?;
        self.crowd.wait_for("steady", TIMEOUT + self.plan.every)?;
        let (began, before) = (Instant::now(), self.cpu()?);
        let outcome = self.crowd.wait_for("outcome ", TIMEOUT + self.plan.window)?;
        let polling = self.cpu()?.since(before);
        let outcome: Outcome = serde_json::from_str(&outcome)?;
        let memory = Memory {
            before_kib: memory_before,
            connected_kib: memory_connected,
            polled_kib: self.resident()?,
            peak_kib: usage::memory_kib(self.inbound.id(), "VmHWM")?,
        };
        let mut figures = Figures::new(self.plan, memory, connected.seconds, outcome);
        figures.connect_cpu_s = connecting.inbound;
        figures.cpu_percent = 100.0 * polling.inbound / began.elapsed().as_secs_f64();
        figures.crowd_cpu_s = polling.crowd;
        figures.superlink_cpu_s = polling.superlink;
        figures.elsewhere_cpu_s = polling.machine - polling.inbound - polling.crowd - polling.superlink;
        Ok(figures)
    }

    fn resident(&self) -> Result<u64, Failure> {
        usage::memory_kib(self.inbound.id(), "VmRSS")
    }

    fn cpu(&self) -> Result<Cpu, Failure> {
        Ok(Cpu {
            inbound: self.inbound.usage()?.cpu_s,
            crowd: self.crowd.usage()?.cpu_s,
            superlink: self.superlink.usage()?.cpu_s,
            machine: usage::machine_busy_s()?,
        })
    }
}

impl Cpu {
    fn since(self, before: Self) -> Self {
        Self {
            inbound: self.inbound - before.inbound,
            crowd: self.crowd - before.crowd,
            superlink: self.superlink - before.superlink,
            machine: self.machine - before.machine,
        }
    }
}

fn start(part: &'static str, mut command: Command) -> Result<Process, Failure> {
    Process::start(part, &mut command, Command::spawn)
}

fn own_role(role: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap_or_default());
    command.args(["role", role]);
    command
}
