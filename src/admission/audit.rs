//! The audit log: who was let in to what, and who was not. Never what a call carried.
//!
//! One JSON object a line. What repeats is counted: the first is written at once, the others within a minute as one line
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

/// Entries on their way to the file. Past it, a slow disk costs entries, which are counted, and no calls.
const QUEUE: usize = 4096;

/// Where events are told. Clones are one log; without a file it keeps nothing.
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
    /// A log in the file at `path`, which is made if it is absent, and only added to.
    ///
    /// # Errors
    /// The file cannot be opened, or no thread be started.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let lost = Arc::<AtomicU64>::default();
        let writer = Writer::open(path, Arc::clone(&lost))?;
        let (sender, entries) = sync_channel(QUEUE);
        let writing = thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(&entries))?;
        let log = Log { entries: Mutex::new(Some(sender)), lost, writing: Mutex::new(Some(writing)) };
        Ok(Self { log: Some(Arc::new(log)) })
    }

    /// Records an event. Never waits.
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

    /// Writes what was told so far, and takes no more. Blocks while the disk does.
    pub(crate) fn close(&self) {
        let Some(log) = &self.log else { return };
        drop(log.entries.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(writing) = log.writing.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A writer that panicked has said so by itself.
            let _ = writing.join();
        }
    }
}
