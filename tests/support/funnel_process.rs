//! The real binary as a child process.

// Several test files include this module by path, and each uses a part of it.
#![allow(dead_code, unreachable_pub)]

use std::ffi::OsStr;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use process_wrap::tokio::{ChildWrapper, CommandWrap, KillOnDrop};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::timeout;

const PROGRAM: &str = env!("CARGO_BIN_EXE_flower-iroh-funnel");
/// First word of the line that says that the funnel is up.
const READY: &str = "ready";
/// Time until a funnel has said what is waited for; a busy machine with two cores needs some of it.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A running `flower-iroh-funnel`; killed when dropped.
#[derive(Debug)]
pub struct FunnelProcess {
    name: String,
    child: Box<dyn ChildWrapper>,
    stdout: watch::Receiver<String>,
    stderr: watch::Receiver<String>,
    reads_stderr: watch::Sender<bool>,
}

impl FunnelProcess {
    /// Starts the binary with `arguments` and waits for its `ready` line.
    ///
    /// # Errors
    ///
    /// If the line does not come; the text says what came on stderr instead.
    pub async fn start<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Result<Self, String> {
        Self::spawn(arguments)?.ready().await
    }

    /// As [`start`](Self::start), by a launcher that takes the binary and its arguments as arguments of its own.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_by<A: AsRef<OsStr>>(
        mut launcher: Command,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self, String> {
        launcher.arg(PROGRAM).args(arguments).stdin(Stdio::null());
        Self::spawn_command(launcher)?.ready().await
    }

    /// Waits for the `ready` line.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn ready(self) -> Result<Self, String> {
        let funnel = self;
        let has_line = |stdout: &String| stdout.lines().any(|line| line.starts_with(READY));
        funnel.wait_for(&funnel.stdout, has_line, "to be ready").await?;
        Ok(funnel)
    }

    /// Starts the binary with `arguments`.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub fn spawn<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Result<Self, String> {
        Self::spawn_command(command(arguments))
    }

    fn spawn_command(mut command: Command) -> Result<Self, String> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::spawn_as_it_is(command)
    }

    /// Starts the binary with `arguments`, writing to `stdout` and `stderr`: only those that are piped are read.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub fn spawn_writing_to<A: AsRef<OsStr>>(
        arguments: impl IntoIterator<Item = A>,
        stdout: impl Into<Stdio>,
        stderr: impl Into<Stdio>,
    ) -> Result<Self, String> {
        let mut command = command(arguments);
        command.stdout(stdout).stderr(stderr);
        Self::spawn_as_it_is(command)
    }

    fn spawn_as_it_is(command: Command) -> Result<Self, String> {
        let name = format!("{:?}", command.as_std());
        let mut child = wrap(command).spawn().map_err(|error| format!("{name} does not start: {error}"))?;
        let (stdout_sender, stdout) = watch::channel(String::new());
        let (stderr_sender, stderr) = watch::channel(String::new());
        let reads_stderr = watch::Sender::new(true);
        if let Some(pipe) = child.stdout().take() {
            tokio::spawn(collect(pipe, stdout_sender, watch::Sender::new(true).subscribe()));
        }
        if let Some(pipe) = child.stderr().take() {
            tokio::spawn(collect(pipe, stderr_sender, reads_stderr.subscribe()));
        }
        Ok(Self { name, child, stdout, stderr, reads_stderr })
    }

    /// The whole `ready` line.
    pub fn ready_line(&self) -> String {
        self.stdout_line(READY).unwrap_or_default()
    }

    /// What follows `prefix` in the first line on stdout that begins with it.
    pub fn stdout_line(&self, prefix: &str) -> Option<String> {
        self.stdout.borrow().lines().find_map(|line| line.strip_prefix(prefix)).map(str::to_owned)
    }

    /// The address that a joining funnel listens on.
    ///
    /// # Errors
    ///
    /// If the `ready` line names none.
    pub fn listen_addr(&self) -> Result<SocketAddr, String> {
        let line = self.ready_line();
        let addr = line.split_whitespace().skip_while(|word| *word != "on").nth(1);
        addr.and_then(|addr| addr.parse().ok()).ok_or_else(|| self.error(&format!("names no address in {line:?}")))
    }

    /// The id of the process.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// The most memory that the process has held, in KiB. Reads `/proc`.
    ///
    /// # Panics
    ///
    /// If it cannot be read, as outside of Linux.
    pub fn peak_rss(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// The memory it holds now, in KiB.
    ///
    /// # Panics
    ///
    /// As [`peak_rss`](Self::peak_rss).
    pub fn rss(&self) -> u64 {
        self.memory("VmRSS:")
    }

    fn memory(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.id().expect("it runs"));
        let status = std::fs::read_to_string(path).expect("a process has a status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("with its memory");
        line.trim().trim_end_matches(" kB").parse().expect("in KiB")
    }

    /// What the process has printed so far.
    pub fn stdout(&self) -> String {
        self.stdout.borrow().clone()
    }

    /// What the process has logged so far.
    pub fn stderr(&self) -> String {
        self.stderr.borrow().clone()
    }

    /// Reads what the process logs, or leaves it where it is.
    pub fn read_stderr(&self, reads: bool) {
        self.reads_stderr.send_replace(reads);
    }

    /// What the process logs, also after it has ended.
    pub fn output(&self) -> watch::Receiver<String> {
        self.stderr.clone()
    }

    /// Waits until the process has logged `text`.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub async fn logged(&self, text: &str) -> Result<(), String> {
        self.wait_for(&self.stderr, |stderr| stderr.contains(text), &format!("to log {text:?}")).await
    }

    /// Waits until the process has printed `text`.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub async fn printed(&self, text: &str) -> Result<(), String> {
        self.wait_for(&self.stdout, |stdout| stdout.contains(text), &format!("to print {text:?}")).await
    }

    async fn wait_for(
        &self,
        output: &watch::Receiver<String>,
        condition: impl FnMut(&String) -> bool,
        what: &str,
    ) -> Result<(), String> {
        match timeout(TIMEOUT, output.clone().wait_for(condition)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(self.error(&format!("was expected {what} and ended"))),
            Err(_) => Err(self.error(&format!("was expected {what} within {TIMEOUT:?}"))),
        }
    }

    /// A description of a failure with everything the process has logged.
    pub fn error(&self, message: &str) -> String {
        format!("{} {message}\n--- its stderr\n{}", self.name, self.stderr())
    }

    /// Asks the process to end: SIGTERM, or its death where there is none.
    ///
    /// # Errors
    ///
    /// If it cannot be signalled.
    pub fn terminate(&self) -> Result<(), String> {
        #[cfg(unix)]
        return self.signal(tokio::signal::unix::SignalKind::terminate().as_raw_value());
        #[cfg(not(unix))]
        Err(self.error("cannot be asked to end on this platform"))
    }

    /// Waits for the end of the process.
    ///
    /// # Errors
    ///
    /// If it does not end in time.
    pub async fn ended(mut self) -> Result<ExitStatus, String> {
        match timeout(TIMEOUT, self.child.wait()).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(error)) => Err(self.error(&format!("cannot be waited for: {error}"))),
            Err(_) => Err(self.error(&format!("has not ended within {TIMEOUT:?}"))),
        }
    }

    /// Asks the process to end, or kills it where it cannot be asked, and waits for it.
    ///
    /// # Errors
    ///
    /// If it does not end in time.
    pub async fn stop(self) -> Result<ExitStatus, String> {
        if !cfg!(unix) {
            return self.kill().await;
        }
        self.terminate()?;
        self.ended().await
    }

    /// Kills the process, without a word to its peers, and waits until its ports are free.
    ///
    /// # Errors
    ///
    /// If it cannot be killed or does not end in time.
    pub async fn kill(mut self) -> Result<ExitStatus, String> {
        let killed = self.child.start_kill();
        killed.map_err(|error| self.error(&format!("cannot be killed: {error}")))?;
        self.ended().await
    }

    /// Stops the process where it stands, without a word to its peers.
    ///
    /// # Errors
    ///
    /// If it cannot be signalled.
    #[cfg(unix)]
    pub fn freeze(&self) -> Result<(), String> {
        self.signal(nix::sys::signal::Signal::SIGSTOP as i32)
    }

    /// Asks the process to read its files again.
    ///
    /// # Errors
    ///
    /// If it cannot be signalled.
    #[cfg(unix)]
    pub fn hang_up(&self) -> Result<(), String> {
        self.signal(nix::sys::signal::Signal::SIGHUP as i32)
    }

    /// Lets a frozen process go on.
    ///
    /// # Errors
    ///
    /// If it cannot be signalled.
    #[cfg(unix)]
    pub fn thaw(&self) -> Result<(), String> {
        self.signal(nix::sys::signal::Signal::SIGCONT as i32)
    }

    #[cfg(unix)]
    fn signal(&self, signal: i32) -> Result<(), String> {
        self.child.signal(signal).map_err(|error| self.error(&format!("cannot be signalled: {error}")))
    }
}

/// Runs the binary to its end, and gives what it wrote to stderr.
///
/// # Errors
///
/// If it does not end in time.
pub async fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<(ExitStatus, String), String> {
    let (status, _, stderr) = run_for_output(arguments).await?;
    Ok((status, stderr))
}

/// Runs the binary to its end, and gives what it wrote to stdout and stderr.
///
/// # Errors
///
/// If it does not end in time.
pub async fn run_for_output(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<(ExitStatus, String, String), String> {
    output_of(command(arguments)).await
}

async fn output_of(mut command: Command) -> Result<(ExitStatus, String, String), String> {
    let name = format!("{:?}", command.as_std());
    let output = timeout(TIMEOUT, command.kill_on_drop(true).output()).await;
    let output = output.map_err(|_| format!("{name} has not ended within {TIMEOUT:?}"))?;
    let output = output.map_err(|error| format!("{name}: {error}"))?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((output.status, text(output.stdout), text(output.stderr)))
}

/// As [`run_for_output`], by a launcher that takes the binary and its arguments as arguments of its own.
///
/// # Errors
///
/// As [`run_for_output`].
pub async fn run_by(
    mut launcher: Command,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<(ExitStatus, String, String), String> {
    launcher.arg(PROGRAM).args(arguments).stdin(Stdio::null());
    output_of(launcher).await
}

/// The endpoint id that belongs to a key file, which is made if it is missing.
///
/// # Errors
///
/// If the command fails; the text holds its stderr.
pub async fn endpoint_id(key_file: &Path) -> Result<String, String> {
    let (status, stdout, stderr) = run_for_output(["id".into(), "--key-file".into(), key_file.into()]).await?;
    if !status.success() {
        return Err(format!("id failed ({status}): {stderr}"));
    }
    Ok(stdout.trim_end().to_owned())
}

fn command<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).stdin(Stdio::null());
    command
}

fn wrap(command: Command) -> CommandWrap {
    let mut command = CommandWrap::from(command);
    command.wrap(KillOnDrop);
    // A group of its own keeps a Ctrl-C on the terminal from reaching it before the test.
    #[cfg(unix)]
    command.wrap(process_wrap::tokio::ProcessGroup::leader());
    #[cfg(windows)]
    command.wrap(process_wrap::tokio::JobObject);
    command
}

/// Keeps what comes, to the end: a full pipe would block the funnel.
/// Collects the lines of a pipe, while it is to be read or nobody says any more whether it is.
async fn collect(pipe: impl AsyncRead + Unpin, text: watch::Sender<String>, mut reads: watch::Receiver<bool>) {
    let mut lines = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let _ = reads.wait_for(|reads| *reads).await;
        text.send_modify(|text| {
            text.push_str(&line);
            text.push('\n');
        });
    }
}
