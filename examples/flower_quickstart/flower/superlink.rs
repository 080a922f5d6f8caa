//! Flower's server side.

use std::ffi::OsString;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::error::{Context, Error, Result};
use super::home::Home;
use super::keys::Certificates;
use super::poll;
use super::process::Process;
use super::upstream::{Upstream, Wire, free_addr};
use super::venv::Venv;
use super::version::Era;

/// Time until a SuperLink listens; mostly the start of Python on a busy machine.
const START: Duration = Duration::from_secs(120);
/// A port may be taken between its choice and its use; more than this often is no accident.
const ATTEMPTS: usize = 3;

/// A running SuperLink that listens on free loopback ports.
#[derive(Debug)]
pub struct SuperLink {
    process: Process,
    ports: Ports,
    venv: Venv,
    arguments: Vec<OsString>,
    // After the process: the directory goes last.
    home: Home,
}

/// Where the two APIs that remote parties call are served.
#[derive(Clone, Copy, Debug)]
struct Ports {
    fleet: Upstream,
    control: Upstream,
}

impl SuperLink {
    /// Starts a SuperLink and waits until it listens.
    pub async fn start(venv: &Venv) -> Result<Self> {
        Self::start_as(venv, Vec::new()).await
    }

    /// The same for one that keeps nodes and runs in a file, so that it knows them when it is started again.
    pub async fn start_with_database(venv: &Venv) -> Result<Self> {
        Self::start_as(venv, ["--database", "state.db"].map(OsString::from).into()).await
    }

    /// The same for one with TLS, which takes only SuperNodes whose keys it was told of.
    pub async fn start_with_tls(venv: &Venv, certificates: &Certificates) -> Result<Self> {
        let files = [("--ssl-ca-certfile", &certificates.ca), ("--ssl-certfile", &certificates.certificate)];
        let files = files.into_iter().chain([("--ssl-keyfile", &certificates.key)]);
        let files = files.flat_map(|(option, file)| [OsString::from(option), file.into()]);
        Self::start_as(venv, [OsString::from("--enable-supernode-auth")].into_iter().chain(files).collect()).await
    }

    async fn start_as(venv: &Venv, mut options: Vec<OsString>) -> Result<Self> {
        if !options.iter().any(|option| option == "--ssl-certfile") {
            options.push("--insecure".into());
        }
        let mut attempt = 1;
        loop {
            match Self::start_once(venv, options.clone()).await {
                Err(error) if attempt < ATTEMPTS && error.to_string().contains("already in use") => attempt += 1,
                result => return result,
            }
        }
    }

    /// Where SuperNodes connect to.
    pub fn fleet(&self) -> Upstream {
        self.ports.fleet
    }

    /// Where the `flwr` command connects to.
    pub fn control(&self) -> Upstream {
        self.ports.control
    }

    /// Adds the end of this SuperLink's log to an error.
    pub fn explain(&self, error: Error) -> Error {
        error.with_log(self.process.log())
    }

    /// What this SuperLink has logged so far, which calls it got among it.
    pub fn logged(&self) -> Result<String> {
        std::fs::read_to_string(self.process.log()).context(|| "cannot read the SuperLink's log".into())
    }

    /// Kills the SuperLink and the app processes it started, and starts it again at the same addresses.
    pub async fn kill_and_restart(&mut self) -> Result<()> {
        self.process.kill_and_wait().await?;
        self.process = spawn(&self.home, &self.venv, &self.arguments)?;
        self.listening().await
    }

    /// Stops the SuperLink and the app processes it started.
    pub async fn stop(self) -> Result<()> {
        self.process.stop().await
    }

    async fn start_once(venv: &Venv, mut arguments: Vec<OsString>) -> Result<Self> {
        let home = Home::create()?;
        let (addresses, ports) = layout(venv.version().era()).context(|| "no free port".into())?;
        arguments.extend(addresses.into_iter().map(OsString::from));
        let process = spawn(&home, venv, &arguments)?;
        let mut superlink = Self { process, ports, venv: venv.clone(), arguments, home };
        superlink.listening().await?;
        Ok(superlink)
    }

    async fn listening(&mut self) -> Result<()> {
        let addrs = [self.ports.fleet.addr, self.ports.control.addr];
        let process = &mut self.process;
        let ready = poll::until(START, || match process.check_running() {
            Err(error) => Some(Err(error)),
            Ok(()) => addrs.iter().all(accepts).then_some(Ok(())),
        });
        match ready.await {
            Some(result) => result,
            None => Err(self.process.error(&format!("does not listen on {addrs:?} after {} s", START.as_secs()))),
        }
    }
}

fn spawn(home: &Home, venv: &Venv, arguments: &[OsString]) -> Result<Process> {
    let mut command = home.command(venv, "flower-superlink");
    command.args(arguments);
    let (process, _) = Process::spawn("flower-superlink", command, &home.log("superlink"))?;
    Ok(process)
}

fn accepts(addr: &SocketAddr) -> bool {
    TcpStream::connect_timeout(addr, Duration::from_secs(1)).is_ok()
}

/// The arguments that put every port of a SuperLink of this era on a free one, and where its APIs then are.
fn layout(era: Era) -> std::io::Result<(Vec<String>, Ports)> {
    let mut arguments = Vec::new();
    let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
    let http = Upstream { wire: Wire::Http, addr: free_addr()? };
    if era == Era::Grpc {
        option("--serverappio-api-address", http.addr.to_string());
    } else {
        option("--host", http.addr.ip().to_string());
        option("--port", http.addr.port().to_string());
    }
    let mut ports = Ports { fleet: http, control: http };
    if era.fleet() == Wire::Grpc {
        ports.fleet = Upstream { wire: Wire::Grpc, addr: free_addr()? };
        option("--fleet-api-address", ports.fleet.addr.to_string());
    }
    if era.control() == Wire::Grpc {
        ports.control = Upstream { wire: Wire::Grpc, addr: free_addr()? };
        option("--control-api-address", ports.control.addr.to_string());
    }
    Ok((arguments, ports))
}
