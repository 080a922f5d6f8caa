//! The audit log: which peers were admitted, to which APIs, and which were denied. It has no content of calls.
//!
//! Each line is a JSON object. Equal events are counted: the first is written at once, the others within a minute as one line
//! with their `count`, so that a busy peer costs a line a minute for each of its methods.
//!
//! Peers that are not admitted have a file of their own beside it (`audit.strangers.jsonl`): they may come with any number of
//! keys, and must not turn over the history of the others.

mod entry;
mod writer;

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel},
    },
    thread,
    time::Duration,
};

use iroh::EndpointId;
use tracing::{error, warn};

pub(crate) use self::entry::{Event, Outcome};
use self::{
    entry::Entry,
    writer::{Message, Writer},
};
use crate::{
    report::{Decision, FairReports, ReportLimits},
    transport::Source,
};

/// The most entries that wait to be written. Past that, a slow disk costs entries, which are counted, and delays no call.
const QUEUE: usize = 4096;
/// How long the end of a log waits for its disk, or for the reader of its pipe.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// The denied peers that have an entry within a minute. The others are counted as lost: one address hides nobody from another.
const STRANGERS: ReportLimits =
    ReportLimits { window: Duration::from_secs(60), repeat: Duration::from_secs(60), per_source: 16, overall: 256 };

/// The audit log. Clones share it; without a file it discards all events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audit {
    log: Option<Arc<Log>>,
    /// `None` where the log is a device or a pipe, which is not turned over: all entries are there.
    strangers: Option<Arc<Strangers>>,
}

/// The log of peers that are not admitted.
#[derive(Debug)]
struct Strangers {
    audit: Audit,
    reports: FairReports<EndpointId, Source>,
}

#[derive(Debug)]
struct Log {
    messages: Mutex<Option<SyncSender<Message>>>,
    lost: Arc<AtomicU64>,
    /// Disconnected when everything is written.
    writing: Mutex<Option<Receiver<()>>>,
}

impl Audit {
    /// Opens a log in the file at `path`, which is created if it is absent, and only appended to, and that of strangers beside
    /// it.
    ///
    /// # Errors
    /// A file cannot be opened, or the thread that writes it cannot be started.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let beside = strangers_path(&path);
        let audit = Self::open_file(path.clone())?;
        if !path.metadata()?.is_file() {
            return Ok(audit);
        }
        let own = match Self::open_file(beside.clone()) {
            Ok(own) => own,
            Err(problem) => {
                // The folder may be closed to new files.
                warn!(path = %beside.display(), %problem, "strangers have no audit log of their own: they are in the other");
                return Ok(audit);
            }
        };
        let strangers = Strangers { audit: own, reports: FairReports::new(STRANGERS) };
        Ok(Self { strangers: Some(Arc::new(strangers)), ..audit })
    }

    fn open_file(path: PathBuf) -> io::Result<Self> {
        let lost = Arc::<AtomicU64>::default();
        let writer = Writer::open(path, Arc::clone(&lost))?;
        let (sender, messages) = sync_channel(QUEUE);
        let (done, writing) = channel();
        thread::Builder::new().name("audit".to_owned()).spawn(move || {
            writer.run(&messages);
            drop(done);
        })?;
        let log = Log { messages: Mutex::new(Some(sender)), lost, writing: Mutex::new(Some(writing)) };
        Ok(Self { log: Some(Arc::new(log)), strangers: None })
    }

    /// Records that a peer is not admitted. It never waits.
    pub(crate) fn record_denied_peer(
        &self,
        peer: EndpointId,
        name: impl FnOnce() -> Option<String>,
        source: Source,
        event: Event,
    ) {
        let Some(strangers) = &self.strangers else { return self.record(peer, name, event, Outcome::Denied) };
        match (strangers.reports.decide(peer, source).0, &strangers.audit.log) {
            (Decision::Missed { .. }, Some(log)) => {
                log.lost.fetch_add(1, Ordering::Relaxed);
            }
            _ => strangers.audit.record(peer, name, event, Outcome::Denied),
        }
    }

    /// Records an event. It never waits.
    pub(crate) fn record(
        &self,
        peer: EndpointId,
        name: impl FnOnce() -> Option<String>,
        event: Event,
        outcome: Outcome,
    ) {
        let Some(log) = &self.log else { return };
        let messages = log.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = &*messages else { return };
        let entry = Entry::new(peer, name(), event, outcome);
        if let Err(TrySendError::Full(_)) = sender.try_send(Message::Record(entry))
            && log.lost.fetch_add(1, Ordering::Relaxed) == 0
        {
            error!(
                "the audit log stands still, its disk or the reader of its pipe: events are counted until it goes on"
            );
        }
    }

    /// Opens the files at their paths again: another program may have renamed or cut them. It never waits.
    pub(crate) fn reopen(&self) {
        if let Some(strangers) = &self.strangers {
            strangers.audit.reopen();
        }
        let Some(log) = &self.log else { return };
        if let Some(sender) = &*log.messages.lock().unwrap_or_else(PoisonError::into_inner) {
            // Without room it stands still; it opens the file once a minute in any case.
            let _ = sender.try_send(Message::Reopen);
        }
    }

    /// Writes the events that were recorded so far, and records no more. Blocks while the disk does, within a limit.
    pub(crate) fn close(&self) {
        if let Some(strangers) = &self.strangers {
            strangers.audit.close();
        }
        let Some(log) = &self.log else { return };
        drop(log.messages.lock().unwrap_or_else(PoisonError::into_inner).take());
        let writing = log.writing.lock().unwrap_or_else(PoisonError::into_inner).take();
        let ended = writing.map(|writing| writing.recv_timeout(CLOSE_TIMEOUT));
        if let Some(Err(RecvTimeoutError::Timeout)) = ended {
            let waited = CLOSE_TIMEOUT.as_secs();
            error!(
                "the audit log has stood still for {waited} s, its disk or the reader of its pipe: its last events are lost"
            );
        }
    }
}

/// Returns the path of the log of strangers beside the log at `path`: `audit.strangers.jsonl` beside `audit.jsonl`.
fn strangers_path(path: &Path) -> PathBuf {
    let mut name = path.file_stem().map(OsString::from).unwrap_or_default();
    name.push(".strangers");
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::{fs, net::IpAddr};

    use iroh::SecretKey;

    use super::*;
    use crate::protocol::{Api, Method};

    #[test]
    fn strangers_have_a_file_of_their_own_in_which_one_address_hides_nobody_from_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let audit = Audit::open(path.clone()).unwrap();
        let (id, from) = (|| SecretKey::generate().public(), |ip: &str| Source::from(ip.parse::<IpAddr>().unwrap()));
        for _ in 0..1000 {
            audit.record_denied_peer(id(), || None, from("192.0.2.1"), Event::Link);
        }
        let (site, other) = (id(), id());
        audit.record_denied_peer(other, || None, from("192.0.2.2"), Event::Link);
        audit.record_denied_peer(other, || None, from("192.0.2.2"), Event::Link);
        let event = Event::call(Api::Fleet, Method::find(Api::Fleet, "PullMessages"));
        audit.record(site, || None, event, Outcome::Allowed);
        audit.close();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.lines().count() == 1 && text.contains(&site.to_string()), "{text}");
        let text = fs::read_to_string(folder.path().join("audit.strangers.jsonl")).unwrap();
        assert_eq!(text.matches(&other.to_string()).count(), 2, "the second line has the count: {text}");
        let lost = 1000 - STRANGERS.per_source;
        assert_eq!(text.lines().count(), STRANGERS.per_source + 3, "{text}");
        assert!(text.contains(&format!(r#""event":"lost","count":{lost}"#)), "{text}");
    }

    #[cfg(unix)]
    #[test]
    fn a_device_holds_all_entries_and_has_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        let audit = Audit::open(path).unwrap();
        assert!(audit.strangers.is_none());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_file_of_strangers_is_named_after_the_log() {
        for (log, strangers) in
            [("a/audit.jsonl", "a/audit.strangers.jsonl"), ("audit", "audit.strangers"), ("x.y.z", "x.y.strangers.z")]
        {
            assert_eq!(strangers_path(Path::new(log)), Path::new(strangers));
        }
    }
}
