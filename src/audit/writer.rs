//! Counts what repeats, and writes.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use tracing::error;

use super::entry::{Entry, Key};
use crate::{timestamp::Timestamp, whole_file};

/// For what repeats.
const INTERVAL: Duration = Duration::from_secs(60);
/// Different events counted at once. Past it they are lost, and that is told: only an attacker has as many.
const MAX_KEYS: usize = 8192;
/// A file past this becomes `….1`, in the place of the one before: about 60,000 lines each.
const MAX_LEN: u64 = 16 << 20;

pub(super) struct Writer {
    path: PathBuf,
    file: File,
    len: u64,
    repeated: HashMap<Key, Entry>,
    /// Entries that found no place, here or on the way here.
    lost: Arc<AtomicU64>,
    is_failing: bool,
}

/// How many events are in no line.
#[derive(Serialize)]
struct Lost {
    at: Timestamp,
    event: &'static str,
    count: u64,
}

impl Writer {
    pub(super) fn open(path: PathBuf, lost: Arc<AtomicU64>) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = open(&path)?;
        let len = file.metadata()?.len();
        Ok(Self { path, file, len, repeated: HashMap::new(), lost, is_failing: false })
    }

    /// Writes until nobody tells anything any more.
    pub(super) fn run(mut self, entries: &Receiver<Entry>) {
        let mut due = Instant::now() + INTERVAL;
        loop {
            match entries.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(entry) => self.take(entry),
                Err(RecvTimeoutError::Timeout) => {
                    self.flush();
                    due = Instant::now() + INTERVAL;
                }
                Err(RecvTimeoutError::Disconnected) => return self.flush(),
            }
        }
    }

    fn take(&mut self, entry: Entry) {
        if let Some(repeated) = self.repeated.get_mut(&entry.key) {
            (repeated.at, repeated.count) = (entry.at, repeated.count + 1);
        } else if self.repeated.len() < MAX_KEYS {
            self.repeated.insert(entry.key.clone(), Entry { count: 0, ..entry.clone() });
            self.write(&entry, entry.count);
        } else {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&mut self) {
        for (_, entry) in std::mem::take(&mut self.repeated) {
            if entry.count > 0 {
                self.write(&entry, entry.count);
            }
        }
        let count = self.lost.swap(0, Ordering::Relaxed);
        if count > 0 {
            self.write(&Lost { at: Timestamp::now(), event: "lost", count }, count);
        }
    }

    /// Adds a line that stands for `count` events.
    fn write(&mut self, line: &impl Serialize, count: u64) {
        let mut line = serde_json::to_vec(line).expect("texts and numbers are JSON");
        line.push(b'\n');
        match self.append(&line) {
            Ok(()) => self.is_failing = false,
            Err(problem) => {
                self.lost.fetch_add(count, Ordering::Relaxed);
                if !std::mem::replace(&mut self.is_failing, true) {
                    let path = self.path.display();
                    error!(%path, %problem, "the audit log cannot be written: events are counted until it can");
                }
            }
        }
    }

    /// Half a line, on a disk that is full, is ended by the next one's line end.
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.len > MAX_LEN {
            fs::rename(&self.path, whole_file::beside(&self.path, ".1"))?;
            (self.file, self.len) = (open(&self.path)?, 0);
        }
        if self.is_failing {
            self.file.write_all(b"\n")?;
        }
        self.file.write_all(line)?;
        self.len += line.len() as u64;
        Ok(())
    }
}

fn open(path: &std::path::Path) -> io::Result<File> {
    whole_file::open_private(OpenOptions::new().append(true).create(true), path)
}

#[cfg(test)]
mod tests {
    use iroh::SecretKey;
    use serde_json::Value;

    use super::super::{Audit, Event, Outcome};
    use crate::protocol::Api;

    #[test]
    fn what_repeats_is_counted_and_nothing_is_lost_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below").join("audit.jsonl");
        let audit = Audit::open(path.clone()).unwrap();
        let (site, stranger) = (SecretKey::generate().public(), SecretKey::generate().public());
        for _ in 0..5 {
            let event = Event::call(Api::Fleet, "PullMessages");
            audit.tell(site, || Some("st-mary".to_owned()), event, Outcome::Allowed);
        }
        audit.tell(stranger, || None, Event::Link, Outcome::Denied);
        audit.close();
        audit.tell(stranger, || None, Event::Link, Outcome::Denied);
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3, "{text}");
        let calls: u64 = lines
            .iter()
            .filter(|line| line["method"] == "PullMessages")
            .map(|line| line["count"].as_u64().unwrap())
            .sum();
        assert_eq!(calls, 5);
        assert_eq!(
            (&lines[0]["name"], &lines[0]["api"], &lines[0]["outcome"]),
            (&"st-mary".into(), &"fleet".into(), &"allowed".into())
        );
        let refused = lines.iter().find(|line| line["peer"] == stranger.to_string()).unwrap();
        assert_eq!((&refused["event"], &refused["outcome"]), (&"link".into(), &"denied".into()));
    }
}
