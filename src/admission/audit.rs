//! The audit log: which peers were admitted, to which APIs, and which were denied. It has no content of calls.
//!
//! Each line is a JSON object. Equal events are counted: the first is written at once, the others within a minute as one line
//! with their `count`, so that a busy peer costs a line a minute for each of its methods.

mod entry;
mod writer;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
};

use iroh::EndpointId;

pub(crate) use self::entry::{Event, Outcome};
use self::{entry::Entry, writer::Writer};

/// The most entries that wait to be written. Past that, a slow disk costs entries, which are counted, and delays no call.
const QUEUE: usize = 4096;

/// The audit log. Clones share it; without a file it discards all events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audit {
    log: Option<Arc<Log>>,
}

#[derive(Debug)]
struct Log {
    entries: Mutex<Option<SyncSender<Entry>>>,
    lost: Arc<AtomicU64>,
    writing: Mutex<Option<JoinHandle<()>>>,
}

impl Audit {
    /// Opens a log in the file at `path`, which is created if it is absent, and only appended to.
    ///
    /// # Errors
    /// The file cannot be opened, or the thread that writes it cannot be started.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let lost = Arc::<AtomicU64>::default();
        let writer = Writer::open(path, Arc::clone(&lost))?;
        let (sender, entries) = sync_channel(QUEUE);
        let writing = thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(&entries))?;
        let log = Log { entries: Mutex::new(Some(sender)), lost, writing: Mutex::new(Some(writing)) };
        Ok(Self { log: Some(Arc::new(log)) })
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
        let entries = log.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = &*entries else { return };
        if let Err(TrySendError::Full(_)) = sender.try_send(Entry::new(peer, name(), event, outcome)) {
            log.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes the events that were recorded so far, and records no more. Blocks while the disk does.
    pub(crate) fn close(&self) {
        let Some(log) = &self.log else { return };
        drop(log.entries.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(writing) = log.writing.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A panic of the writer has been reported by the panic hook.
            let _ = writing.join();
        }
    }
}
