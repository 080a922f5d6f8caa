//! Every single measurement, kept as JSON lines: first the machine, then one line each.

use serde::{Deserialize, Serialize};

use crate::{newcomers::Newcomers, writer::Begun};

/// One line of a file of results.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Line {
    /// How all of them were made.
    Run(Box<Begun>),
    /// Heartbeats beside busy sites.
    Cell(Cell),
    /// Newcomers, alone or beside strangers.
    Newcomers(Newcomers),
}

/// Whether calls wait in the funnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Queue {
    /// As calls come, they go to the SuperLink.
    Off,
    /// The default.
    Default,
}

impl Queue {
    pub(crate) const ALL: [Self; 2] = [Self::Off, Self::Default];
}

/// The heartbeats of one site, beside busy ones.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) queue: Queue,
    /// Sites with 250 calls under way.
    pub(crate) busy: usize,
    /// Which of the repeats, from 0.
    pub(crate) repeat: usize,
    /// The times of the heartbeats, in seconds.
    pub(crate) heartbeats_s: Vec<f64>,
    /// Answers to the calls of all busy sites, per second.
    pub(crate) busy_calls_per_s: f64,
}
