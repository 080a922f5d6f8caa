//! Log lines about peers that are not admitted.

use std::{hash::Hash, sync::Arc, time::Duration};

use iroh::EndpointId;
use tracing::warn;

use super::fair_reports::{Decision, FairReports, ReportLimits};

/// A misconfigured site that dials all day is a line an hour; one address causes at most 48 lines an hour, all of them 768.
const LIMITS: ReportLimits =
    ReportLimits { window: Duration::from_secs(600), repeat: Duration::from_secs(3600), per_source: 8, overall: 128 };

/// Reports on peers that are not admitted, by their sources `S`. Clones share what was reported.
#[derive(Debug)]
pub(crate) struct StrangerLog<S> {
    /// What happened to the peers, for the line that counts those that are not reported.
    what: &'static str,
    reports: Arc<FairReports<EndpointId, S>>,
}

impl<S> Clone for StrangerLog<S> {
    fn clone(&self) -> Self {
        Self { what: self.what, reports: Arc::clone(&self.reports) }
    }
}

impl<S: Eq + Hash> StrangerLog<S> {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, reports: Arc::new(FairReports::new(LIMITS)) }
    }

    /// Runs `report`, unless it ran for this peer within the last hour, or its source or all of them have too many peers; those
    /// are counted.
    pub(crate) fn run(&self, peer: EndpointId, source: S, report: impl FnOnce()) {
        let (decision, missed) = self.reports.decide(peer, source);
        if missed > 0 {
            warn!(missed, "{}: so many attempts were not reported before", self.what);
        }
        match decision {
            Decision::Report => report(),
            Decision::Known => {}
            Decision::Missed { is_first } if is_first => {
                let minutes = LIMITS.window.as_secs() / 60;
                warn!("{}: too many peers; for {minutes} min, further ones are counted and not reported", self.what);
            }
            Decision::Missed { .. } => {}
        }
    }
}
