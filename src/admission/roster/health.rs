//! Whether a roster can be followed.

use serde::{Deserialize, Serialize};

use crate::admission::Timestamp;

/// Whether a running funnel can follow its roster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RosterHealth {
    /// Since when it is as it is.
    pub since: Timestamp,
    /// Why the roster cannot be followed; `None` if it is followed. Meanwhile the last valid roster is in force.
    #[serde(default)]
    pub problem: Option<String>,
}

impl Default for RosterHealth {
    /// The roster is followed from now on.
    fn default() -> Self {
        Self { since: Timestamp::now(), problem: None }
    }
}

impl RosterHealth {
    /// Sets the problem, and returns whether it differs from the one before.
    pub(super) fn set(&mut self, problem: Option<String>) -> bool {
        let differs = self.problem != problem;
        if differs {
            *self = Self { since: Timestamp::now(), problem };
        }
        differs
    }
}
