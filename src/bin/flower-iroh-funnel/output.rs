//! What the command writes: results on stdout, the log and notes on stderr, foreign text in one line.
//!
//! A reader that stands still holds up nothing but its own lines. Only a command that ends by itself waits for the reader of its
//! stdout, as any other program in a pipeline does.

mod one_line;
mod queue;

use std::{
    fmt,
    io::{self, Write},
    sync::OnceLock,
    time::{Duration, Instant},
};

use tracing::warn;

pub(crate) use self::one_line::{OneLine, one_line};
use self::queue::Queue;

/// How long the end of the process waits for a reader that takes nothing.
const STALL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long it waits for one that is slow.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

static STDERR: OnceLock<Queue> = OnceLock::new();
/// `None` for a command that ends by itself.
static STDOUT: OnceLock<Queue> = OnceLock::new();

/// Starts to write stderr by a thread of its own.
///
/// # Errors
/// There is no thread.
pub(crate) fn start_stderr() -> io::Result<()> {
    let queue = Queue::start("stderr", io::stderr(), |lines| {
        warn!(lines, "lines of the log were dropped: stderr was not read, or could not be written");
    })?;
    let _ = STDERR.set(queue);
    Ok(())
}

/// Starts to write stdout by a thread of its own, for a command that serves.
///
/// # Errors
/// There is no thread.
pub(crate) fn start_stdout() -> io::Result<()> {
    let queue = Queue::start("stdout", io::stdout(), |lines| {
        warn!(lines, "lines for stdout were dropped: it was not read, or could not be written");
    })?;
    let _ = STDOUT.set(queue);
    Ok(())
}

/// Prints a line to stdout. A closed stdout is ignored: the funnel keeps running.
pub(crate) fn print(line: impl fmt::Display) {
    let line = format!("{}\n", one_line(line));
    match STDOUT.get() {
        Some(queue) => queue.push(line.as_bytes()),
        None => {
            let mut stdout = io::stdout().lock();
            let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
        }
    }
}

/// Prints a note to stderr, perhaps of several lines, and waits until it is written, within limits.
pub(crate) fn note(note: impl fmt::Display) {
    let note: String = note.to_string().lines().map(|line| format!("{}\n", one_line(line))).collect();
    push_stderr(note.as_bytes());
    flush();
}

/// Prints text with the colours of this program.
pub(crate) fn coloured_note(note: &str) {
    push_stderr(note.as_bytes());
    flush();
}

/// Waits until everything is written, within limits: see [`STALL_TIMEOUT`].
pub(crate) fn flush() {
    let deadline = Instant::now() + FLUSH_TIMEOUT;
    // stdout first: what it dropped is a line of stderr.
    for queue in [STDOUT.get(), STDERR.get()].into_iter().flatten() {
        queue.flush(STALL_TIMEOUT, deadline);
    }
}

fn push_stderr(lines: &[u8]) {
    match STDERR.get() {
        Some(queue) => queue.push(lines),
        // There is no thread, which is what it reports.
        None => drop(io::stderr().write_all(lines)),
    }
}

/// Writes an event of the log, whole, with the escapes that are in it.
#[derive(Debug)]
pub(crate) struct Log;

impl Write for Log {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        push_stderr(event);
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes an event of the log in JSON, which leaves some control characters as they are.
#[derive(Debug)]
pub(crate) struct JsonLog;

impl Write for JsonLog {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(event);
        push_stderr(format!("{}\n", one_line(line.trim_end_matches('\n'))).as_bytes());
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
