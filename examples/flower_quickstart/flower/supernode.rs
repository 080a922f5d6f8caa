//! Flower's client side.

use std::time::Duration;

use super::dial::Dial;
use super::error::{Context, Error, Result};
use super::home::Home;
use super::keys::NodeKey;
use super::output::Lines;
use super::process::Process;
use super::upstream::free_addr;
use super::venv::Venv;
use super::version::Era;

/// Time until a SuperNode is known to its SuperLink; it tries again for ever, at most 20 s apart.
const REGISTRATION: Duration = Duration::from_secs(120);

/// A running SuperNode.
#[derive(Debug)]
pub struct SuperNode {
    process: Process,
    lines: Lines,
    // After the process: the directory goes last.
    _home: Home,
}

impl SuperNode {
    /// Starts the SuperNode for one of `partitions` parts of the data; it dials `superlink`, from its own port.
    pub fn start(venv: &Venv, superlink: impl Into<Dial>, partition: usize, partitions: usize) -> Result<Self> {
        Self::spawn(venv, &superlink.into(), None, partition, partitions)
    }

    /// Starts the SuperNode that signs with `key`, which its SuperLink was told of.
    pub fn start_with_key(
        venv: &Venv,
        superlink: impl Into<Dial>,
        key: &NodeKey,
        partition: usize,
        partitions: usize,
    ) -> Result<Self> {
        Self::spawn(venv, &superlink.into(), Some(key), partition, partitions)
    }

    fn spawn(
        venv: &Venv,
        superlink: &Dial,
        key: Option<&NodeKey>,
        partition: usize,
        partitions: usize,
    ) -> Result<Self> {
        let home = Home::create()?;
        let name = format!("supernode-{partition}");
        let runtime = free_addr().context(|| "no free port".into())?;
        let mut command = home.command(venv, "flower-supernode");
        command.args(superlink.options());
        if let Some(key) = key {
            command.arg("--auth-supernode-private-key").arg(&key.private);
        }
        command.args(["--node-config", &format!("partition-id={partition} num-partitions={partitions}")]);
        match venv.version().era() {
            Era::Grpc => command.args(["--clientappio-api-address", &runtime.to_string()]),
            _ => command.args(["--host", &runtime.ip().to_string(), "--port", &runtime.port().to_string()]),
        };
        let (process, lines) = Process::spawn(name.clone(), command, &home.log(&name))?;
        Ok(Self { process, lines, _home: home })
    }

    /// Waits until the SuperLink has given the node its id, and returns it; to be called once.
    pub async fn registered(&mut self) -> Result<String> {
        let id = async {
            while let Some(line) = self.lines.next().await {
                if let Some((_, id)) = line.split_once("SuperNode ID: ") {
                    self.lines.close();
                    return Some(id.trim().to_owned());
                }
            }
            None
        };
        match tokio::time::timeout(REGISTRATION, id).await {
            Ok(Some(id)) => Ok(id),
            Ok(None) => Err(self.process.error("ended before it was registered")),
            Err(_) => Err(self.process.error(&format!("is not registered with its SuperLink after {REGISTRATION:?}"))),
        }
    }

    /// Checks that the SuperNode is still running.
    pub fn check_running(&mut self) -> Result<()> {
        self.process.check_running()
    }

    /// What this SuperNode has logged so far.
    pub fn logged(&self) -> Result<String> {
        std::fs::read_to_string(self.process.log()).context(|| "cannot read the SuperNode's log".into())
    }

    /// Adds the end of this SuperNode's log to an error.
    pub fn explain(&self, error: Error) -> Error {
        error.with_log(self.process.log())
    }

    /// Stops the SuperNode and the app processes it started.
    pub async fn stop(self) -> Result<()> {
        self.process.stop().await
    }
}
