//! The output of a child: kept in a log file, and handed out line by line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, PipeReader, Write};
use std::path::Path;
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc;

/// The lines a child prints on stdout and stderr, as they come.
#[derive(Debug)]
pub struct Lines(mpsc::UnboundedReceiver<String>);

impl Lines {
    /// The next line without its line end, or `None` when the child and all that inherited its output are gone.
    ///
    /// # Cancel safety
    ///
    /// No line is lost if the future is dropped before it is ready.
    pub async fn next(&mut self) -> Option<String> {
        self.0.recv().await
    }

    /// Keeps no further lines: from now on they are in the log only.
    pub(super) fn close(&mut self) {
        self.0.close();
    }
}

/// Copies the read end of a child's output to `log` until every write end is closed.
///
/// The copying is done by a thread, because it must go on while a `Drop` blocks the runtime.
pub(super) fn copy(from: PipeReader, log: &Path) -> io::Result<(Lines, JoinHandle<()>)> {
    let file = File::create(log)?;
    let (sender, receiver) = mpsc::unbounded_channel();
    let copier =
        thread::Builder::new().name("output".into()).spawn(move || copy_lines(BufReader::new(from), file, &sender))?;
    Ok((Lines(receiver), copier))
}

fn copy_lines(mut from: BufReader<PipeReader>, mut log: File, lines: &mpsc::UnboundedSender<String>) {
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        // A full disk must not stop the reading: the child would block on its output.
        let _ = log.write_all(&line);
        let text = String::from_utf8_lossy(&line);
        // Most children are not listened to.
        let _ = lines.send(text.trim_end_matches(['\r', '\n']).to_owned());
        line.clear();
    }
}
