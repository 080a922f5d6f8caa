//! A bounded queue of lines and the thread that writes them: whoever adds a line never waits.

use std::{
    io::{self, ErrorKind, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// The most bytes that wait; as many may be on their way to the reader. It is about 10,000 lines of the log.
const MAX_LEN: usize = 1 << 20;
/// The most bytes of one write: a pipe takes as many whole (`PIPE_BUF`), and a reader's progress shows after each.
const MAX_WRITE: usize = 4096;
/// The pause before another attempt at a pipe or a terminal that another process has made non-blocking.
const RETRY: Duration = Duration::from_millis(20);

/// Lines for one reader.
pub(super) struct Queue {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Whole lines.
    waiting: Vec<u8>,
    /// How many lines found no room since the writer has taken the others. Until then no other line is added, so that the gap
    /// is at one place.
    dropped: u64,
    is_writing: bool,
    /// How many writes have succeeded.
    writes: u64,
}

impl Queue {
    /// Writes lines to `output`, and calls `report` with the number of those that were lost, once it can write again.
    ///
    /// # Errors
    /// There is no thread.
    pub(super) fn start(
        name: &str,
        output: impl Write + Send + 'static,
        report: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let writer = Arc::clone(&shared);
        thread::Builder::new().name(name.to_owned()).spawn(move || writer.run(output, report))?;
        Ok(Self { shared })
    }

    /// Adds whole lines, or counts them if there is no room.
    pub(super) fn push(&self, lines: &[u8]) {
        let mut state = self.shared.state();
        if state.dropped > 0 || state.waiting.len() + lines.len() > MAX_LEN {
            state.dropped += count(lines);
        } else {
            state.waiting.extend_from_slice(lines);
        }
        self.shared.changed.notify_all();
    }

    /// Waits until everything is written, the reader has taken nothing for `stall`, or the deadline is reached.
    pub(super) fn flush(&self, stall: Duration, deadline: Instant) {
        let mut state = self.shared.state();
        let (mut writes, mut since) = (state.writes, Instant::now());
        while state.is_writing || !state.waiting.is_empty() || state.dropped > 0 {
            if state.writes != writes {
                (writes, since) = (state.writes, Instant::now());
            }
            let wait = deadline.min(since + stall).saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return;
            }
            state = self.shared.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut output: impl Write, report: impl Fn(u64)) {
        // The last write may have left a part of a line.
        let (mut lost, mut is_torn) = (0, false);
        loop {
            let (lines, dropped) = self.take();
            lost += dropped;
            let start: &[u8] = if mem::take(&mut is_torn) { b"\n" } else { b"" };
            match self.write(&mut output, start).and_then(|()| self.write(&mut output, &lines)) {
                Ok(()) if lost > 0 => report(mem::take(&mut lost)),
                Ok(()) => {}
                Err(left) => (lost, is_torn) = (lost + count(&lines[lines.len() - left.min(lines.len())..]), true),
            }
        }
    }

    /// Waits for lines.
    fn take(&self) -> (Vec<u8>, u64) {
        let mut state = self.state();
        state.is_writing = false;
        self.changed.notify_all();
        while state.waiting.is_empty() && state.dropped == 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.is_writing = true;
        (mem::take(&mut state.waiting), mem::take(&mut state.dropped))
    }

    /// Writes lines. If that fails, returns how many bytes are left.
    fn write(&self, output: &mut impl Write, mut lines: &[u8]) -> Result<(), usize> {
        while !lines.is_empty() {
            match output.write(next(lines)) {
                Ok(0) => return Err(lines.len()),
                Ok(written) => {
                    lines = &lines[written..];
                    self.state().writes += 1;
                    self.changed.notify_all();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY),
                Err(_) => return Err(lines.len()),
            }
        }
        Ok(())
    }
}

/// Returns what to write next: whole lines if possible, so that those of other processes do not come in between.
fn next(lines: &[u8]) -> &[u8] {
    let most = &lines[..lines.len().min(MAX_WRITE)];
    let end = most.iter().rposition(|byte| *byte == b'\n').map_or(most.len(), |at| at + 1);
    &most[..end]
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

    use super::*;

    const SECONDS: Duration = Duration::from_secs(60);

    /// A reader that takes a write, or fails it, when the test lets it.
    struct Reader {
        turns: Receiver<io::Result<()>>,
        taken: SyncSender<Vec<u8>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.turns.recv().unwrap_or(Ok(()))?;
            let _ = self.taken.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_reports_it_when_the_reader_goes_on() {
        let ((turn, turns), (taken, read), (reported, reports)) = (channel(), sync_channel(4096), channel());
        let queue = Queue::start("test", Reader { turns, taken }, move |lines| {
            let _ = reported.send(lines);
        })
        .unwrap();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        // One batch is on its way at most, and one waits.
        let most = 2 * MAX_LEN / line.len();
        for _ in 0..most + 100 {
            queue.push(&line);
        }
        let start = Instant::now();
        queue.flush(Duration::from_millis(50), start + SECONDS);
        assert!(start.elapsed() < SECONDS, "a reader that stands still is not waited for");
        drop(turn);
        queue.flush(SECONDS, Instant::now() + SECONDS);
        let lost = reports.recv_timeout(SECONDS).unwrap();
        let read: Vec<u8> = read.try_iter().flatten().collect();
        assert!(lost >= 100 && count(&read) + lost == (most + 100) as u64, "{lost}");
        assert!(read.split_inclusive(|byte| *byte == b'\n').all(|read| read == line), "lines are whole");
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_the_next_line_begins_on_a_new_one() {
        let ((turn, turns), (taken, read), (reported, reports)) = (channel(), sync_channel(4096), channel());
        let queue = Queue::start("test", Reader { turns, taken }, move |lines| {
            let _ = reported.send(lines);
        })
        .unwrap();
        turn.send(Err(ErrorKind::StorageFull.into())).unwrap();
        queue.push(b"one\ntwo\n");
        queue.flush(SECONDS, Instant::now() + SECONDS);
        assert!(reports.try_recv().is_err(), "it cannot be written yet");
        for turn_of in [Err(ErrorKind::WouldBlock.into()), Err(ErrorKind::Interrupted.into()), Ok(()), Ok(())] {
            turn.send(turn_of).unwrap();
        }
        queue.push(b"three\n");
        assert_eq!(reports.recv_timeout(SECONDS).unwrap(), 2);
        assert_eq!(read.try_iter().flatten().collect::<Vec<_>>(), b"\nthree\n");
    }
}
