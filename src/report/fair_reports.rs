//! Reports that anybody can cause: bounded, fair to those of other sources, and made again after a time.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The limits of [`FairReports`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReportLimits {
    /// The interval at which sources get their shares again.
    pub(crate) window: Duration,
    /// How long a subject that was reported is known.
    pub(crate) repeat: Duration,
    /// The most subjects of one source that are reported in a window.
    pub(crate) per_source: usize,
    /// The most subjects that are reported in a window. Past half of them, a source gets one.
    pub(crate) overall: usize,
}

/// Decides which subjects `K` are reported, a peer for instance. One that comes with many keys uses up the share of its source
/// `S`, for one window.
#[derive(Debug)]
pub(crate) struct FairReports<K, S> {
    limits: ReportLimits,
    state: Mutex<State<K, S>>,
}

#[derive(Debug)]
struct State<K, S> {
    /// The beginning of the window.
    began: Instant,
    /// When the subjects were reported that are known.
    known: HashMap<K, Instant>,
    /// How many subjects of each source were reported in the window.
    sources: HashMap<S, usize>,
    reported: usize,
    missed: u64,
}

/// The decision about a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is to be reported.
    Report,
    /// It was reported recently.
    Known,
    /// It is counted and not reported.
    Missed {
        /// No other was missed in this window.
        is_first: bool,
    },
}

impl<K: Eq + Hash, S: Eq + Hash> FairReports<K, S> {
    pub(crate) fn new(limits: ReportLimits) -> Self {
        let (known, sources) = (HashMap::new(), HashMap::new());
        let state = State { began: Instant::now(), known, sources, reported: 0, missed: 0 };
        Self { limits, state: Mutex::new(state) }
    }

    /// Decides about a subject, and returns how many were missed in the window before, if this begins another one.
    pub(crate) fn decide(&self, subject: K, source: S) -> (Decision, u64) {
        self.decide_at(Instant::now(), subject, source)
    }

    fn decide_at(&self, now: Instant, subject: K, source: S) -> (Decision, u64) {
        let ReportLimits { window, repeat, per_source, overall } = self.limits;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut missed = 0;
        if now.saturating_duration_since(state.began) >= window {
            missed = std::mem::take(&mut state.missed);
            state.known.retain(|_, at| now.saturating_duration_since(*at) < repeat);
            state.sources.clear();
            (state.began, state.reported) = (now, 0);
        }
        if state.known.get(&subject).is_some_and(|at| now.saturating_duration_since(*at) < repeat) {
            return (Decision::Known, missed);
        }
        let share = if state.reported < overall / 2 { per_source } else { 1 };
        let of_source = state.sources.get(&source).copied().unwrap_or(0);
        if of_source >= share || state.reported >= overall {
            state.missed += 1;
            return (Decision::Missed { is_first: state.missed == 1 }, missed);
        }
        state.sources.insert(source, of_source + 1);
        state.known.insert(subject, now);
        state.reported += 1;
        (Decision::Report, missed)
    }
}

#[cfg(test)]
mod tests {
    use iroh::{EndpointId, SecretKey};

    use super::*;

    const LIMITS: ReportLimits = ReportLimits {
        window: Duration::from_secs(600),
        repeat: Duration::from_secs(3600),
        per_source: 8,
        overall: 64,
    };

    fn id() -> EndpointId {
        SecretKey::generate().public()
    }

    #[test]
    fn a_crowd_from_one_source_hides_nobody_from_another() {
        let (reports, now) = (FairReports::new(LIMITS), Instant::now());
        let crowd = (0..10_000).map(|_| reports.decide_at(now, id(), "crowd").0);
        assert_eq!(crowd.filter(|decision| *decision == Decision::Report).count(), LIMITS.per_source);
        assert_eq!(reports.decide_at(now, id(), "other"), (Decision::Report, 0));
    }

    #[test]
    fn crowds_from_many_sources_leave_half_of_the_reports_to_one_peer_of_each_other_source() {
        let (reports, now) = (FairReports::new(LIMITS), Instant::now());
        for source in 0..LIMITS.overall / 2 / LIMITS.per_source {
            (0..100).for_each(|_| {
                let _ = reports.decide_at(now, id(), source);
            });
        }
        for source in 1000..1000 + LIMITS.overall / 2 {
            assert_eq!(reports.decide_at(now, id(), source).0, Decision::Report);
            assert!(matches!(reports.decide_at(now, id(), source).0, Decision::Missed { .. }));
        }
        assert!(matches!(reports.decide_at(now, id(), 9999).0, Decision::Missed { .. }), "they are bounded");
    }

    #[test]
    fn what_was_missed_is_counted_and_a_window_later_others_are_reported() {
        let (reports, mut now) = (FairReports::new(LIMITS), Instant::now());
        let peer = id();
        assert_eq!(reports.decide_at(now, peer, "one"), (Decision::Report, 0));
        for _ in 1..LIMITS.per_source {
            assert_eq!(reports.decide_at(now, id(), "one").0, Decision::Report);
        }
        for is_first in [true, false, false] {
            assert_eq!(reports.decide_at(now, id(), "one").0, Decision::Missed { is_first });
        }
        now += LIMITS.window;
        assert_eq!(reports.decide_at(now, id(), "one"), (Decision::Report, 3));
        assert_eq!(reports.decide_at(now, peer, "one"), (Decision::Known, 0));
        now += LIMITS.repeat;
        assert_eq!(reports.decide_at(now, peer, "one"), (Decision::Report, 0));
    }

    #[test]
    fn a_year_of_strangers_costs_no_memory() {
        let (reports, mut now) = (FairReports::new(LIMITS), Instant::now());
        for _ in 0..100 {
            (0..100).for_each(|source| {
                let _ = reports.decide_at(now, id(), source);
            });
            now += LIMITS.window;
        }
        let state = reports.state.lock().unwrap();
        let windows = LIMITS.repeat.as_secs() / LIMITS.window.as_secs();
        assert!(state.known.len() <= LIMITS.overall * windows as usize && state.sources.len() <= LIMITS.overall);
    }
}
