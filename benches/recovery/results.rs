//! Every single measurement, kept as JSON lines: first the machine, then the link of each repeat, and what was found on it.

use serde::{Deserialize, Serialize};

use crate::{metric::Metrics, row::Row, tunnel::Kind, writer::Begun};

/// One line of a file of results.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Line {
    /// How the run was made.
    Run(Box<Begun>),
    /// A link.
    Site {
        /// What it was asked to be.
        asked: String,
        /// What it turned out to be.
        measured: String,
    },
    /// One measurement.
    Cell(Cell),
}

/// What one tunnel made of one thing that happened to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cell {
    /// What happened.
    pub(crate) row: Row,
    /// To whom.
    pub(crate) tunnel: Kind,
    /// Which of the repeats, from 0.
    pub(crate) repeat: usize,
    /// What was found; what never came is missing.
    pub(crate) metrics: Metrics,
    /// Why nothing was found.
    pub(crate) failure: Option<String>,
}
