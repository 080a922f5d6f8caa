//! One competitor's processes at one site.

use std::{
    env,
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    competitor::Competitor,
    failure::{Context, Failure},
    pace::Pace,
    process::Process,
    role::Outcome,
    site::Site,
    target::Target,
    usage::{self, Usage},
    workload::Workload,
};

/// Time until a process is ready; dumbpipe waits 5 s for a relay that is not there.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// A server, its tunnel, and soon a client.
#[derive(Debug)]
pub(crate) struct Rig {
    /// Where it stands.
    pub(crate) site: Arc<Site>,
    competitor: Competitor,
    folder: TempDir,
    processes: Vec<Process>,
    far: String,
    target: Option<Target>,
    sink: Option<SocketAddr>,
}

/// What was measured in one go.
#[derive(Debug)]
pub(crate) struct Measured {
    /// What the client found.
    pub(crate) outcome: Outcome,
    /// CPU time while it did, and the highest memory, by part.
    pub(crate) usage: Vec<(String, Usage)>,
    /// Time from the start of the near end to the client's result.
    pub(crate) elapsed: Duration,
    /// Of the competitor, or of TCP at the near end where it did not choose.
    pub(crate) congestion_control: String,
    /// CPU time that others used on this machine meanwhile.
    pub(crate) elsewhere_cpu_s: f64,
}

impl Rig {
    /// Starts the server and the far end.
    pub(crate) fn start(site: Arc<Site>, competitor: Competitor) -> Result<Self, Failure> {
        let folder = TempDir::new().context("a folder for keys")?;
        let mut rig =
            Self { site, competitor, folder, processes: Vec::new(), far: String::new(), target: None, sink: None };
        rig.far = competitor.serve(&mut rig)?;
        Ok(rig)
    }

    /// Lets a new client do `workload`. A near end that is not there yet is started first.
    pub(crate) fn measure(&mut self, workload: Workload, pace: &Pace) -> Result<Measured, Failure> {
        if workload.beside().is_some() {
            self.start_sink()?;
        }
        let mut client = self.client(workload, pace)?;
        for process in &self.processes {
            usage::reset_peak(process.id())?;
        }
        let before = self.usage(&client)?;
        let busy_before = usage::machine_busy_s()?;
        let started = Instant::now();
        let target = match self.target.take() {
            Some(target) => target,
            None => self.competitor.join(self, &self.far.clone())?,
        };
        self.target = Some(target.clone());
        client.tell(&serde_json::to_string(&target)?)?;
        let outcome = client.wait_for("outcome ", workload.bound(pace))?;
        let elapsed = started.elapsed();
        let usage = difference(self.usage(&client)?, &before);
        let own: f64 = usage.iter().map(|(_, usage)| usage.cpu_s).sum();
        let elsewhere_cpu_s = usage::machine_busy_s()? - busy_before - own;
        let outcome = serde_json::from_str(&outcome)?;
        let chosen = self.competitor.congestion_control().map(str::to_owned);
        let congestion_control = chosen.unwrap_or_else(|| self.site.near().congestion_control());
        Ok(Measured { outcome, usage, elapsed, congestion_control, elsewhere_cpu_s })
    }

    /// Starts this binary as a server; returns the address or ticket that it says.
    pub(crate) fn start_server(&mut self, kind: &str) -> Result<String, Failure> {
        let mut command = own_role("server");
        command.args([kind, &self.site.far().addr().to_string()]).args(self.competitor.congestion_control());
        self.start_far("server", &mut command)?.wait_for("ready ", TIMEOUT)
    }

    /// Starts what counts a flow beside the competitor's, unless it is there.
    fn start_sink(&mut self) -> Result<(), Failure> {
        if !self.site.is_link() {
            return Err("no flow is beside another on loopback: name a link with --links".into());
        }
        if self.sink.is_none() {
            let mut command = own_role("server");
            command.args(["sink", &self.site.far().addr().to_string()]);
            let ready = self.start_far("sink", &mut command)?.wait_for("ready ", TIMEOUT)?;
            self.sink = Some(ready.parse()?);
        }
        Ok(())
    }

    /// Starts a process at the server's end.
    pub(crate) fn start_far(&mut self, part: &'static str, command: &mut Command) -> Result<&mut Process, Failure> {
        let process = Process::start(part, command, |command| self.site.far().spawn(command))?;
        Ok(self.keep(process))
    }

    /// Starts a process at the client's end.
    pub(crate) fn start_near(&mut self, part: &'static str, command: &mut Command) -> Result<&mut Process, Failure> {
        let process = Process::start(part, command, |command| self.site.near().spawn(command))?;
        Ok(self.keep(process))
    }

    /// A file in the folder of this rig.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An address at the server's end that nobody listens on, for a process that cannot choose one itself.
    pub(crate) fn free_far_addr(&self) -> Result<SocketAddr, Failure> {
        let host = self.site.far();
        host.free_addr(host.addr())
    }

    /// The same at the client's end, on loopback.
    pub(crate) fn free_near_addr(&self) -> Result<SocketAddr, Failure> {
        self.site.near().free_addr([127, 0, 0, 1].into())
    }

    fn keep(&mut self, process: Process) -> &mut Process {
        self.processes.push(process);
        let last = self.processes.len() - 1;
        &mut self.processes[last]
    }

    fn client(&self, workload: Workload, pace: &Pace) -> Result<Process, Failure> {
        let mut command = own_role("client");
        let near = self.site.near();
        command.args([&workload.name(), &near.addr().to_string(), &serde_json::to_string(pace)?]);
        command.args(self.sink.map(|sink| sink.to_string()));
        let mut client = Process::start("client", &mut command, |command| near.spawn(command))?;
        client.wait_for("ready", TIMEOUT)?;
        Ok(client)
    }

    fn usage(&self, client: &Process) -> Result<Vec<(String, Usage)>, Failure> {
        let processes = self.processes.iter().chain([client]);
        processes.map(|process| Ok((process.part.to_owned(), process.usage()?))).collect()
    }
}

fn own_role(role: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap_or_default());
    command.args(["role", role]);
    command
}

/// What was used since `before`; a part that was not there before has started from nothing.
fn difference(after: Vec<(String, Usage)>, before: &[(String, Usage)]) -> Vec<(String, Usage)> {
    let since = |(part, mut usage): (String, Usage)| {
        let before = before.iter().find(|(other, _)| *other == part);
        usage.cpu_s -= before.map_or(0.0, |(_, before)| before.cpu_s);
        (part, usage)
    };
    after.into_iter().map(since).collect()
}
