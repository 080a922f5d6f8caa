//! A child process: its lines are waited for, and it ends with its handle.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use crate::{
    children::{self, Shared},
    failure::{Context, Failure},
    usage::{self, Usage},
};

/// How much of what a process has said is shown when it fails.
const SHOWN_LINES: usize = 20;
/// How often the kernel is asked whether a process listens; it does not tell by itself.
const POLL: Duration = Duration::from_millis(10);

/// A running child; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    /// What it is in the measurement: `client`, `server`, `inbound`.
    pub(crate) part: &'static str,
    id: u32,
    child: Shared,
    stdin: ChildStdin,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Process {
    /// Starts `command` as `part`, where `spawn` does.
    pub(crate) fn start(
        part: &'static str,
        command: &mut Command,
        spawn: impl FnOnce(&mut Command) -> io::Result<Child>,
    ) -> Result<Self, Failure> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (sender, lines) = channel();
        let started = children::start(|| {
            let mut child = spawn(command)?;
            forward(child.stdout.take(), &sender);
            forward(child.stderr.take(), &sender);
            Ok(child)
        });
        let (id, child) = started.context(format_args!("{part} does not start ({command:?})"))?;
        let stdin = children::lock(&child).stdin.take().ok_or("a child without stdin")?;
        Ok(Self { part, id, child, stdin, lines, seen: Vec::new() })
    }

    /// The id of the process.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// What it has used until now.
    pub(crate) fn usage(&self) -> Result<Usage, Failure> {
        Usage::of(self.id())
    }

    /// Waits for the line, on stdout or stderr, that holds `mark`, and returns what follows the mark.
    pub(crate) fn wait_for(&mut self, mark: &str, patience: Duration) -> Result<String, Failure> {
        let deadline = Instant::now() + patience;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let found = line.split_once(mark).map(|(_, rest)| rest.trim().to_owned());
                    self.seen.push(line);
                    if let Some(rest) = found {
                        return Ok(rest);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(self.failure(&format!("has not said {mark:?} within {patience:?}")));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.failure(&format!("ended before {mark:?}"))),
            }
        }
    }

    /// Waits until it listens on `addr`, for a process that does not say so. Nothing is sent to it: to some, a first
    /// connection is an event.
    pub(crate) fn wait_for_listener(&mut self, addr: SocketAddr, patience: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + patience;
        while !usage::is_listening(self.id(), addr)? {
            if Instant::now() > deadline {
                self.seen.extend(self.lines.try_iter());
                return Err(self.failure(&format!("does not listen on {addr} after {patience:?}")));
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Writes a line to its stdin.
    pub(crate) fn tell(&mut self, line: &str) -> Result<(), Failure> {
        writeln!(self.stdin, "{line}").context(format_args!("{} does not listen", self.part))
    }

    fn failure(&self, what: &str) -> Failure {
        let from = self.seen.len().saturating_sub(SHOWN_LINES);
        format!("{} {what}; it said: {}", self.part, self.seen[from..].join(" | ")).into()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        children::end(&self.child);
    }
}

/// Hands on lines to the end, heard or not: a full pipe would stop the process.
fn forward(pipe: Option<impl Read + Send + 'static>, lines: &Sender<String>) {
    let (Some(pipe), lines) = (pipe, lines.clone()) else { return };
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let _ = lines.send(line);
        }
    });
}
