//! A child process that ends with the value that owns it, together with everything it started.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use process_wrap::tokio::{ChildWrapper, CommandWrap};
use tokio::process::Command;

use super::descendants::{self, Groups};
use super::error::{Context, Error, Result};
use super::output::{self, Lines};
use super::poll;

/// Time a child has to end by itself after it was asked to.
const GRACE: Duration = Duration::from_secs(6);
/// Time until the remains of a killed child are gone: app processes look for their parent every 0.2 s, but only
/// once Python has started.
const REAP: Duration = Duration::from_secs(60);

/// A running program in a process group (Unix) or job object (Windows) of its own, its output in a log file.
///
/// Dropping it kills the whole group at once and waits until it is gone; [`stop`](Self::stop) asks first.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Box<dyn ChildWrapper>,
    copier: JoinHandle<()>,
    log: PathBuf,
    status: Option<ExitStatus>,
    /// Groups below the child that are not its own, known once it was asked to end.
    detached: Groups,
    gone: bool,
}

impl Process {
    /// Starts `command`, with no input and its output in `log`; `name` stands for it in messages.
    pub fn spawn(name: impl Into<String>, mut command: Command, log: &Path) -> Result<(Self, Lines)> {
        let name = name.into();
        let start = |command: &mut Command| {
            let (reader, writer) = std::io::pipe()?;
            command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
            let child = wrap(std::mem::replace(command, Command::new(""))).spawn()?;
            Ok::<_, std::io::Error>((child, output::copy(reader, log)?))
        };
        let (child, (lines, copier)) = start(&mut command).context(|| format!("{name} does not start"))?;
        let log = log.to_owned();
        Ok((Self { name, child, copier, log, status: None, detached: Groups::new(), gone: false }, lines))
    }

    /// The file that holds what the process has printed so far.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// An error about this process, with the end of its log.
    pub fn error(&self, message: &str) -> Error {
        Error::new(format!("{} {message}", self.name)).with_log(&self.log)
    }

    /// Checks that the process is still running.
    pub fn check_running(&mut self) -> Result<()> {
        match self.poll_status() {
            None => Ok(()),
            Some(status) => Err(self.error(&format!("ended too early ({status})"))),
        }
    }

    /// Waits until the process has ended and its output is complete.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let ended = poll::until(limit, || if self.poll_gone() { self.status } else { None }).await;
        ended.ok_or_else(|| self.error(&format!("has not ended after {} s", limit.as_secs())))
    }

    /// Asks the process group to end, kills what is left after a grace time, and waits until all of it is gone.
    pub async fn stop(mut self) -> Result<()> {
        self.note_detached();
        self.terminate();
        match poll::until(GRACE, || self.poll_gone().then_some(())).await {
            Some(()) => Ok(()),
            None => self.kill_and_wait().await,
        }
    }

    /// Kills the process group and all it started, without asking, and waits until all of it is gone.
    pub async fn kill_and_wait(&mut self) -> Result<()> {
        self.note_detached();
        self.kill();
        match poll::until(REAP, || self.poll_gone().then_some(())).await {
            Some(()) => Ok(()),
            None => Err(self.error("left processes behind that do not end")),
        }
    }

    /// Whether the child, all that writes to its log and all that detached from it are gone.
    fn poll_gone(&mut self) -> bool {
        if self.gone {
            return true;
        }
        if self.poll_status().is_none() {
            return false;
        }
        self.gone = self.copier.is_finished() && !descendants::any_alive(&self.detached);
        self.gone
    }

    fn poll_status(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
            if self.status.is_some() {
                // Whoever stays in the group of an ended child is of no more use. Only now, at its end, does the
                // number surely still belong to this group.
                let _ = self.child.start_kill();
            }
        }
        self.status
    }

    fn note_detached(&mut self) {
        if self.status.is_none() {
            self.detached = self.child.id().map(descendants::groups_below).unwrap_or_default();
        }
    }

    #[cfg(unix)]
    fn terminate(&mut self) {
        // A group that is already gone cannot be signalled, and need not be.
        let _ = self.child.signal(tokio::signal::unix::SignalKind::terminate().as_raw_value());
    }

    #[cfg(not(unix))]
    fn terminate(&mut self) {
        self.kill();
    }

    fn kill(&mut self) {
        if self.status.is_none() {
            // As above: what is gone cannot be killed.
            let _ = self.child.start_kill();
        }
        descendants::kill(&self.detached);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.poll_gone() {
            return;
        }
        self.note_detached();
        self.kill();
        if !poll::until_blocking(REAP, || self.poll_gone()) {
            eprintln!("{} left processes behind that do not end", self.name);
        }
    }
}

fn wrap(command: Command) -> CommandWrap {
    let mut command = CommandWrap::from(command);
    #[cfg(unix)]
    command.wrap(process_wrap::tokio::ProcessGroup::leader());
    #[cfg(windows)]
    command.wrap(process_wrap::tokio::KillOnDrop).wrap(process_wrap::tokio::JobObject);
    command
}
