//! What a watcher has found, and what it reports of it.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
};

use tracing::{error, info, warn};

use super::{
    super::{
        Member, Roster, Standing,
        ledger::{Ledger, Overruled},
    },
    look::Seen,
};
use crate::report::{OnChange, chain};

/// Some editors remove or empty a file before they write it again: an absence counts only when it is seen twice.
const ABSENCES: u32 = 2;
/// The most peers or invitations that a line lists.
const LISTED: usize = 10;

/// What a watcher has found.
#[derive(Debug)]
pub(super) struct Findings {
    path: PathBuf,
    /// Whether there was a roster that would be missed.
    had_roster: bool,
    /// How many of the last looks found no roster, or an empty one.
    absences: u32,
    /// Why the roster cannot be used.
    of_roster: Option<String>,
    /// Why the ledger cannot be used.
    of_ledger: Option<String>,
    /// Why there is no look.
    of_look: Option<String>,
    /// What the ledger overruled at the last look. A command that writes both files may be between them.
    overruled: Overruled,
    reported: Reported,
}

/// What was reported.
#[derive(Debug, Default)]
struct Reported {
    problem: OnChange<String>,
    overruled: OnChange<Overruled>,
    is_empty: OnChange<PathBuf>,
}

impl Findings {
    /// Creates the findings at the start, with the roster that is in force.
    pub(super) fn new(path: &Path, in_force: &Roster) -> Self {
        let is_allowed = |member: &Member| member.standing == Standing::Allowed;
        Self {
            path: path.to_owned(),
            // Denied peers are in the ledger too.
            had_roster: in_force.peers().iter().any(is_allowed) || !in_force.invitations().is_empty(),
            absences: 0,
            of_roster: None,
            of_ledger: None,
            of_look: None,
            overruled: Overruled::default(),
            reported: Reported::default(),
        }
    }

    /// Takes in what a look found of the roster.
    pub(super) fn roster(&mut self, seen: &Seen<Roster>) {
        self.of_look = None;
        match seen {
            Seen::Unchanged => {}
            Seen::Absent => self.roster_is("gone"),
            Seen::Empty => self.roster_is("empty"),
            Seen::Valid(_) => {
                (self.had_roster, self.absences, self.of_roster) = (true, 0, None);
            }
            Seen::Failed(error) => self.of_roster = Some(chain(error)),
        }
    }

    fn roster_is(&mut self, what: &str) {
        self.absences += 1;
        let path = self.path.display();
        if self.had_roster {
            if self.absences >= ABSENCES {
                let remedy = "put a copy of it back, or restart to begin with an empty one";
                self.of_roster = Some(format!("the roster {path} is {what}: {remedy}"));
            }
            return;
        }
        self.of_roster = None;
        if what == "empty" {
            self.reported.is_empty.run(self.path.clone(), |_| {
                warn!("the roster {path} is empty; if peers were on it, put a copy of it back");
            });
        }
    }

    /// Takes in what a look found of the ledger.
    pub(super) fn ledger(&mut self, seen: &Seen<Ledger>) {
        match seen {
            Seen::Unchanged => {}
            Seen::Failed(error) => self.of_ledger = Some(chain(error)),
            Seen::Absent | Seen::Empty | Seen::Valid(_) => self.of_ledger = None,
        }
    }

    /// Takes in why there is no look at the files.
    pub(super) fn no_look(&mut self, reason: &str) {
        self.of_look = Some(format!("the roster {} cannot be read: {reason}", self.path.display()));
    }

    /// Takes in what the ledger overrules; `None` if nothing has changed since the last look.
    pub(super) fn overruled(&mut self, found: Option<Overruled>) {
        match found {
            Some(found) if found != self.overruled => self.overruled = found,
            _ if self.overruled == Overruled::default() => drop(self.reported.overruled.clear()),
            _ => {
                let path = self.path.display();
                self.reported.overruled.run(self.overruled.clone(), |Overruled { denied, used }| {
                    if !denied.is_empty() {
                        warn!(
                            "the roster {path} does not deny peers any more that were denied, by an edit or as an older \
                             copy: they stay denied ({}). To admit one: flower-iroh-funnel peers allow ID; to forget it: \
                             peers remove ID",
                            list(denied)
                        );
                    }
                    if !used.is_empty() {
                        warn!(
                            "the roster {path} has invitations that were used or revoked, by an edit or as an older copy: \
                             they stay so ({}). To make a new one: flower-iroh-funnel invite NAME",
                            list(used)
                        );
                    }
                });
            }
        }
    }

    /// Returns why the files cannot be followed.
    pub(super) fn problem(&self) -> Option<String> {
        let problems: Vec<_> =
            [&self.of_look, &self.of_roster, &self.of_ledger].into_iter().flatten().cloned().collect();
        Some(problems.join("; and ")).filter(|problems| !problems.is_empty())
    }

    /// Reports the problem if it has changed.
    pub(super) fn report(&mut self) {
        match self.problem() {
            Some(problem) => self.reported.problem.run(problem, |problem| {
                error!("{problem}; the last valid roster stays in force until this is fixed");
            }),
            None if self.reported.problem.clear().is_some() => {
                info!(path = %self.path.display(), "the roster is in force again");
            }
            None => {}
        }
    }
}

/// Lists the first ones.
fn list(all: impl IntoIterator<Item = impl Display>) -> String {
    let all: Vec<_> = all.into_iter().map(|one| one.to_string()).collect();
    let more = all.len().saturating_sub(LISTED);
    let listed = all[..all.len() - more].join(", ");
    if more == 0 { listed } else { format!("{listed} and {more} more") }
}
