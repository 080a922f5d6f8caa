//! Counts equal events and writes the log's lines.

use std::{
    collections::HashMap,
    fs::File,
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
use tracing::{error, warn};

use super::entry::{Entry, Key};
use crate::{admission::Timestamp, atomic_file, report::OnChange};

/// The interval at which counted events are written.
const INTERVAL: Duration = Duration::from_secs(60);
/// The most different events that are counted at once. Further ones are lost, and a line reports how many: only an attacker
/// causes as many.
const MAX_KEYS: usize = 8192;
/// The most denied peers among them: a crowd of them hides no other events, and needs hours to fill the files.
const MAX_DENIED: usize = 512;
/// The length in bytes past which a file is renamed to `….old`, replacing the one before: about 60,000 lines.
const MAX_LEN: u64 = 16 << 20;

/// What the writer is asked to do.
pub(super) enum Message {
    Record(Entry),
    Reopen,
}

pub(super) struct Writer {
    path: PathBuf,
    file: File,
    len: u64,
    /// The length past which the file is renamed.
    max_len: u64,
    /// A device or a pipe has no earlier file.
    is_rotated: bool,
    repeated: HashMap<Key, Entry>,
    denied: usize,
    /// How many events are in no line, here or on the way here.
    lost: Arc<AtomicU64>,
    /// Why lines cannot be written.
    problem: OnChange<io::ErrorKind>,
    /// Why the file cannot be opened again.
    reopen_problem: OnChange<io::ErrorKind>,
    /// The last line may have been written in part.
    is_torn: bool,
}

/// The line that reports how many events are in no line.
#[derive(Serialize)]
struct Lost {
    at: Timestamp,
    event: &'static str,
    count: u64,
}

impl Writer {
    pub(super) fn open(path: PathBuf, lost: Arc<AtomicU64>) -> io::Result<Self> {
        let file = atomic_file::append(&path)?;
        let metadata = file.metadata()?;
        Ok(Self {
            path,
            file,
            len: metadata.len(),
            max_len: MAX_LEN,
            is_rotated: metadata.is_file(),
            repeated: HashMap::new(),
            denied: 0,
            lost,
            problem: OnChange::default(),
            reopen_problem: OnChange::default(),
            is_torn: false,
        })
    }

    /// Writes until the log is closed.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        let mut due = Instant::now() + INTERVAL;
        loop {
            match messages.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Message::Record(entry)) => self.record(entry),
                Ok(Message::Reopen) => self.follow(),
                Err(RecvTimeoutError::Timeout) => {
                    self.follow();
                    self.flush();
                    due = Instant::now() + INTERVAL;
                }
                Err(RecvTimeoutError::Disconnected) => return self.flush(),
            }
        }
    }

    fn record(&mut self, entry: Entry) {
        if let Some(repeated) = self.repeated.get_mut(&entry.key) {
            (repeated.at, repeated.count) = (entry.at, repeated.count + 1);
        } else if self.has_room_for(&entry) {
            self.denied += usize::from(entry.is_denied_peer());
            self.repeated.insert(entry.key.clone(), Entry { count: 0, ..entry.clone() });
            self.write(&entry, entry.count);
        } else {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn has_room_for(&self, entry: &Entry) -> bool {
        self.repeated.len() < MAX_KEYS && !(entry.is_denied_peer() && self.denied >= MAX_DENIED)
    }

    fn flush(&mut self) {
        self.denied = 0;
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

    /// Appends a line that reports `count` events.
    fn write(&mut self, line: &impl Serialize, count: u64) {
        let mut line = serde_json::to_vec(line).expect("texts and numbers are JSON");
        line.push(b'\n');
        match self.append(&line) {
            Ok(()) => drop(self.problem.clear()),
            Err(problem) => {
                self.lost.fetch_add(count, Ordering::Relaxed);
                let path = self.path.display();
                self.problem.run(problem.kind(), |_| {
                    error!(%path, %problem, "the audit log cannot be written: events are counted until it can");
                });
            }
        }
    }

    /// Goes on with the file that is at the path now. If it cannot be opened, goes on with the one that is open.
    fn follow(&mut self) {
        match self.reopen() {
            Ok(()) => drop(self.reopen_problem.clear()),
            Err(problem) => {
                let path = self.path.display();
                self.reopen_problem.run(problem.kind(), |_| {
                    error!(%path, %problem, "the audit log cannot be opened again: it is written to the file that is open");
                });
            }
        }
    }

    /// Opens the file at the path, which is created if it was moved away.
    fn reopen(&mut self) -> io::Result<()> {
        if self.is_rotated {
            let file = atomic_file::append(&self.path)?;
            self.len = file.metadata()?.len();
            self.is_torn &= self.len > 0;
            self.file = file;
        }
        Ok(())
    }

    /// Renames the file. One that cannot be renamed, as it is mounted by itself, grows on, and is tried again after as much.
    fn rotate(&mut self) {
        match atomic_file::rotate(&self.path) {
            Ok(()) => self.max_len = MAX_LEN,
            // It was moved away, or it was renamed here and could not be created again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.max_len = MAX_LEN,
            Err(problem) => {
                self.max_len = self.len + MAX_LEN;
                warn!(path = %self.path.display(), %problem, "the audit log cannot be renamed: it grows on");
            }
        }
    }

    /// Appends a line. After a failure, which may have left a part of a line, it begins on a new one.
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_rotated && self.len > self.max_len {
            // Another program may have renamed or cut it: then this file is not to be renamed.
            self.reopen()?;
        }
        if self.is_rotated && self.len > self.max_len {
            self.rotate();
            self.reopen()?;
        }
        if std::mem::replace(&mut self.is_torn, true) {
            self.file.write_all(b"\n")?;
        }
        self.file.write_all(line)?;
        self.is_torn = false;
        self.len += line.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use iroh::SecretKey;
    use serde_json::Value;

    use super::{
        super::{Audit, Event, Outcome},
        *,
    };
    use crate::protocol::{Api, Method};

    /// The lines of the log in the file at `path`, which is no longer written.
    fn lines(path: &Path) -> Vec<Value> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().filter(|line| !line.starts_with(' ')).map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn what_repeats_is_counted_and_nothing_is_lost_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below").join("audit.jsonl");
        let audit = Audit::open(path.clone()).unwrap();
        let (site, stranger) = (SecretKey::generate().public(), SecretKey::generate().public());
        for _ in 0..5 {
            let event = Event::call(Api::Fleet, Method::find(Api::Fleet, "PullMessages"));
            audit.record(site, || Some("st-mary".to_owned()), event, Outcome::Allowed);
        }
        audit.record(stranger, || None, Event::Link, Outcome::Denied);
        audit.close();
        audit.record(stranger, || None, Event::Link, Outcome::Denied);
        let lines = lines(&path);
        assert_eq!(lines.len(), 3, "{lines:?}");
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

    #[test]
    fn a_crowd_of_strangers_and_invented_methods_hide_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let (lost, id) = (Arc::<AtomicU64>::default(), || SecretKey::generate().public());
        let mut writer = Writer::open(path.clone(), Arc::clone(&lost)).unwrap();
        for _ in 0..2 * MAX_DENIED {
            writer.record(Entry::new(id(), None, Event::Link, Outcome::Denied));
        }
        let site = id();
        for number in 0..100 {
            let invented = Method::find(Api::Fleet, &format!("x{number}"));
            writer.record(Entry::new(site, None, Event::call(Api::Fleet, invented), Outcome::Allowed));
        }
        assert_eq!(lost.load(Ordering::Relaxed), MAX_DENIED as u64);
        writer.flush();
        let lines = lines(&path);
        assert_eq!(lines.iter().filter(|line| line["event"] == "link").count(), MAX_DENIED);
        let calls: Vec<_> = lines.iter().filter(|line| line["event"] == "call").collect();
        assert_eq!(
            calls.iter().map(|line| (&line["method"], &line["count"])).collect::<Vec<_>>(),
            [(&"unknown".into(), &1.into()), (&"unknown".into(), &99.into())]
        );
        assert!(lines.iter().any(|line| line["event"] == "lost" && line["count"] == MAX_DENIED));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_a_full_disk_does_not_take_is_counted_and_told_when_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut writer = Writer::open(path.clone(), Arc::default()).unwrap();
        writer.file = File::options().append(true).open("/dev/full").unwrap();
        let entry = || Entry::new(SecretKey::generate().public(), None, Event::Link, Outcome::Allowed);
        for _ in 0..3 {
            writer.record(entry());
        }
        assert_eq!(writer.lost.load(Ordering::Relaxed), 3);
        writer.file = atomic_file::append(&path).unwrap();
        writer.record(entry());
        writer.flush();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text.trim_start().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[1]["event"], &lines[1]["count"]), (&"lost".into(), &3.into()), "{text}");
    }

    #[test]
    fn a_full_file_gives_way_to_a_new_one_even_if_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut writer = Writer::open(path.clone(), Arc::default()).unwrap();
        let entry = || Entry::new(SecretKey::generate().public(), None, Event::Link, Outcome::Allowed);
        for is_gone in [false, true] {
            writer.record(entry());
            fill(&mut writer);
            if is_gone {
                fs::remove_file(&path).unwrap();
            }
            writer.record(entry());
            assert_eq!(lines(&path).len(), 1, "{is_gone}");
        }
        assert_eq!(lines(&folder.path().join("audit.jsonl.old")).len(), 1);
        assert_eq!(writer.lost.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn another_programs_rotation_is_followed_and_none_of_its_files_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("audit.jsonl"), folder.path().join("audit.jsonl.1"));
        let mut writer = Writer::open(path.clone(), Arc::default()).unwrap();
        let entry = || Entry::new(SecretKey::generate().public(), None, Event::Link, Outcome::Allowed);
        writer.record(entry());
        // By renaming: before the writer knows, its file is full.
        fs::rename(&path, &moved).unwrap();
        writer.record(entry());
        fill(&mut writer);
        writer.record(entry());
        assert_eq!((lines(&moved).len(), lines(&path).len()), (2, 1));
        // By copying: the length that it knows is too much.
        let copy = folder.path().join("audit.jsonl.2");
        fill(&mut writer);
        fs::copy(&path, &copy).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        writer.record(entry());
        assert_eq!((lines(&moved).len(), lines(&copy).len(), lines(&path).len()), (2, 1, 1));
        // And when it is told.
        fs::rename(&path, &copy).unwrap();
        writer.follow();
        assert_eq!(fs::read(&path).unwrap(), b"");
        assert_eq!(writer.lost.load(Ordering::Relaxed), 0);
    }

    /// Makes the file longer than it may get, with a line of blanks, which counts for none.
    fn fill(writer: &mut Writer) {
        let mut blank = vec![b' '; MAX_LEN as usize];
        blank.push(b'\n');
        writer.file.write_all(&blank).unwrap();
        writer.len += MAX_LEN;
    }
}
