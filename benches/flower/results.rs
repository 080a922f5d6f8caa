//! Every single run, kept as JSON lines: first the machine, then one line each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{metric::Metrics, usage::Usage, way::Way, writer::Begun};

/// One line of a file of results.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Line {
    /// How all of them were made.
    Run(Box<Begun>),
    /// One run of the app that was complete and exact.
    Cell(Cell),
}

/// One run of the app.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cell {
    /// Which way the model took.
    pub(crate) way: Way,
    /// Which of the repeats, from 0.
    pub(crate) repeat: usize,
    /// What was found.
    pub(crate) metrics: Metrics,
    /// Of the funnels during the run.
    pub(crate) usage: BTreeMap<String, Usage>,
}
