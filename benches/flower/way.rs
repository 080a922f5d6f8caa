//! Which way the model takes.

use serde::{Deserialize, Serialize};

/// From SuperNodes and `flwr` to the SuperLink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Way {
    /// Over TCP.
    Direct,
    /// Through a pair of funnels.
    Funnel,
}

impl Way {
    /// All, in the order in which they are measured.
    pub(crate) const ALL: [Self; 2] = [Self::Direct, Self::Funnel];

    /// As tables name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Funnel => "funnel",
        }
    }
}
