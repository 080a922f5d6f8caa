//! Watches the roster and its ledger while a funnel runs.

mod findings;
mod handle;
mod look;
#[cfg(all(test, unix))]
mod tests;

use std::{mem, time::Duration};

use tokio::{
    sync::{oneshot, watch},
    time::{Instant, timeout},
};
use tracing::{error, info, warn};

pub(crate) use self::handle::WatchHandle;
use self::{
    findings::Findings,
    look::{Look, Seen, Stamps, look},
};
use super::{
    FileThread, Roster, RosterError, RosterFile,
    ledger::{Ledger, Overruled},
};
use crate::report::{OnChange, chain};

/// The interval between two looks: an operator who removes a peer should not have to wait.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long a look takes at most before other things are done meanwhile.
const LOOK_WAIT: Duration = Duration::from_secs(1);
/// After this time a look is reported as one that stands still.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// The wait after a failed attempt to write the ledger.
const RECORD_RETRY: Duration = Duration::from_secs(5);

/// Passes every roster to `apply` that is to replace `in_force`, indefinitely. While a file cannot be used, the last valid one
/// stays in force, and the `handle` tells why.
///
/// Looks run on a thread of their own, one at a time: one that stands still (a disk that hangs) holds up the next ones, which
/// follow as soon as it is done, and nothing else.
pub(crate) async fn watch(file: RosterFile, in_force: Roster, handle: WatchHandle, mut apply: impl FnMut(Roster)) {
    let mut requested = handle.requests();
    let mut watcher = Watcher::new(file, in_force, handle.clone());
    loop {
        let number = *requested.borrow_and_update();
        let done = watcher.look(number).await;
        if let Some(roster) = watcher.changed() {
            apply(roster);
        }
        watcher.record();
        if let Some(number) = done {
            handle.set_done(number);
        }
        // It cannot fail: the handle holds the sender.
        let _ = timeout(INTERVAL, requested.wait_for(|requested| handle.is_undone(*requested))).await;
    }
}

struct Watcher {
    file: RosterFile,
    handle: WatchHandle,
    looks: FileThread,
    /// The look under way.
    looking: Option<Looking>,
    stamps: Stamps,
    /// The last valid roster, as it is in its file.
    valid: Roster,
    /// Whether the file had it at the last look.
    is_valid: bool,
    /// Whether the roster has changed since it was last put in force.
    is_changed: bool,
    /// The ledger as this process knows it, which may change without its file.
    known: watch::Receiver<Ledger>,
    /// The ledger as it is in its file.
    recorded: Ledger,
    recording: Recording,
    findings: Findings,
    record_problem: OnChange<String>,
}

/// A look under way.
struct Looking {
    /// The number of the last request when it began.
    number: u64,
    since: Instant,
    result: oneshot::Receiver<Look>,
}

/// The state of writing what the ledger's file lacks.
enum Recording {
    Idle,
    Running(oneshot::Receiver<Result<Ledger, RosterError>>),
    Failed(Instant),
}

impl Watcher {
    fn new(file: RosterFile, in_force: Roster, handle: WatchHandle) -> Self {
        Self {
            findings: Findings::new(file.path(), &in_force),
            handle,
            looks: FileThread::new("roster-watch"),
            looking: None,
            stamps: Stamps::default(),
            valid: in_force,
            is_valid: true,
            is_changed: false,
            known: file.known().subscribe(),
            recorded: Ledger::default(),
            recording: Recording::Idle,
            record_problem: OnChange::default(),
            file,
        }
    }

    /// Looks at the files, and returns the number of the last request before the look if it is done.
    async fn look(&mut self, number: u64) -> Option<u64> {
        let mut looking = match self.looking.take() {
            Some(looking) => looking,
            None => self.begin(number)?,
        };
        match timeout(LOOK_WAIT, &mut looking.result).await {
            Ok(Ok(look)) => self.take(look),
            // The thread has ended by a panic, which is logged; it is started again.
            Ok(Err(_)) => self.findings.no_look("the attempt failed unexpectedly"),
            Err(_) => {
                if looking.since.elapsed() >= LOOK_TIMEOUT {
                    let waited = LOOK_TIMEOUT.as_secs();
                    let reason = format!("there is no answer for {waited} s; its disk or file system may hang");
                    self.findings.no_look(&reason);
                }
                self.report();
                self.looking = Some(looking);
                return None;
            }
        }
        self.report();
        Some(looking.number)
    }

    fn begin(&mut self, number: u64) -> Option<Looking> {
        let (file, last) = (self.file.clone(), self.stamps);
        match self.looks.run(move || look(&file, last)) {
            Ok(result) => Some(Looking { number, since: Instant::now(), result }),
            Err(error) => {
                self.findings.no_look(&format!("no thread can be started: {error}"));
                self.report();
                None
            }
        }
    }

    /// Takes in what a look has found.
    fn take(&mut self, look: Look) {
        self.stamps = look.stamps;
        self.findings.ledger(&look.ledger);
        let is_unchanged = matches!((&look.ledger, &look.roster), (Seen::Unchanged, Seen::Unchanged));
        match look.ledger {
            Seen::Valid(ledger) => self.recorded = ledger,
            Seen::Absent | Seen::Empty => self.recorded = Ledger::default(),
            Seen::Unchanged | Seen::Failed(_) => {}
        }
        self.findings.roster(&look.roster);
        match look.roster {
            Seen::Valid(_) => self.is_valid = true,
            Seen::Absent | Seen::Empty | Seen::Failed(_) => self.is_valid = false,
            Seen::Unchanged => {}
        }
        if let Seen::Valid(roster) = look.roster {
            self.absorb(&roster);
            self.valid = roster;
            self.is_changed = true;
        }
        // A file that cannot be used drops no denial.
        let overruled = || match self.is_valid {
            true => self.known.borrow().overruled(&self.valid),
            false => Overruled::default(),
        };
        self.findings.overruled((!is_unchanged).then(overruled));
    }

    /// Remembers the denials that somebody wrote into the roster by hand.
    fn absorb(&self, roster: &Roster) {
        self.file.known().send_if_modified(|known| {
            let before = known.denied();
            known.absorb(roster);
            known.denied() > before
        });
    }

    /// Reports what has changed in the findings.
    fn report(&mut self) {
        self.findings.report();
        self.handle.set_problem(self.findings.problem());
    }

    /// Returns the roster to put in force, if it has changed.
    fn changed(&mut self) -> Option<Roster> {
        // It cannot fail: the file holds the sender.
        let is_known_changed = self.known.has_changed().unwrap_or(false);
        if !mem::take(&mut self.is_changed) && !is_known_changed {
            return None;
        }
        let mut roster = self.valid.clone();
        self.known.borrow_and_update().apply(&mut roster);
        Some(roster)
    }

    /// Writes to the ledger what its file lacks. That waits for the lock of the roster, on a thread of its own.
    fn record(&mut self) {
        match &mut self.recording {
            Recording::Running(result) => match result.try_recv() {
                Ok(Ok(ledger)) => {
                    info!(path = %self.file.ledger().path().display(), "the ledger has what it lacked");
                    self.recorded = ledger;
                    self.record_problem.clear();
                    self.recording = Recording::Idle;
                }
                Ok(Err(error)) => {
                    self.record_problem.run(chain(&error), |problem| {
                        error!(
                            "{problem}; what was taken away stays so while this funnel runs, and it is written as soon as \
                             this is fixed"
                        );
                    });
                    self.recording = Recording::Failed(Instant::now());
                }
                Err(oneshot::error::TryRecvError::Empty) => {}
                Err(oneshot::error::TryRecvError::Closed) => self.recording = Recording::Failed(Instant::now()),
            },
            Recording::Failed(at) if at.elapsed() < RECORD_RETRY => {}
            Recording::Failed(_) | Recording::Idle => {
                if self.recorded.covers(&self.file.known_with(&Ledger::default())) {
                    self.recording = Recording::Idle;
                    return;
                }
                let file = self.file.clone();
                self.recording = match self.handle.changes().run(move || file.record()) {
                    Ok(result) => Recording::Running(result),
                    Err(error) => {
                        warn!(%error, "no thread to write the ledger");
                        Recording::Failed(Instant::now())
                    }
                };
            }
        }
    }
}
