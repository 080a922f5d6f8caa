//! What a finished run has shown.

use std::collections::BTreeMap;

use serde_json::Value;

use super::error::{Error, Result};

/// How Flower reports a run that did all it should.
const COMPLETED: &str = "finished:completed";

/// One round of training, as the app's server side saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// Counted from 1.
    pub number: u64,
    /// Ids of the nodes that answered without an error, sorted.
    pub nodes: Vec<String>,
    /// What nodes answered instead of a result.
    pub errors: Vec<String>,
    /// Mean of the nodes' losses after their training step; `None` if no node answered.
    pub loss: Option<f64>,
    /// Time from sending the model to having all answers.
    pub seconds: f64,
}

/// What the app says at its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Whether the payload came back with exactly the values it must have.
    pub payload_exact: bool,
    /// Size of the payload.
    pub payload_bytes: u64,
    /// Time for all rounds.
    pub seconds: f64,
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The id Flower gave the run.
    pub run_id: String,
    /// The status Flower reports, for example `finished:completed`.
    pub status: String,
    /// The rounds by number.
    pub rounds: BTreeMap<u64, Round>,
    /// What the app said at its end, if it came that far.
    pub summary: Option<Summary>,
}

impl Outcome {
    /// Takes in one line of a run's log; others than the app's records are passed over.
    pub(super) fn observe(&mut self, line: &str) {
        if let Some(round) = Round::parse(line) {
            self.rounds.insert(round.number, round);
        }
        self.summary = Summary::parse(line).or(self.summary.take());
    }

    /// Checks that the run completed, that exactly `nodes` answered in each of `rounds` rounds, and that the
    /// payload is exact.
    ///
    /// # Errors
    ///
    /// Names everything that is not as it should be.
    pub fn verify(&self, rounds: u64, nodes: &[String]) -> Result<()> {
        let mut wanted = nodes.to_vec();
        wanted.sort();
        let mut faults: Vec<String> = (1..=rounds).filter_map(|number| self.fault_in(number, &wanted)).collect();
        if self.status != COMPLETED {
            faults.push(format!("its status is {}", self.status));
        }
        match &self.summary {
            None => faults.push("the app printed no summary".into()),
            Some(summary) if !summary.payload_exact => faults.push("the payload is not exact".into()),
            Some(_) => {}
        }
        if faults.is_empty() { Ok(()) } else { Err(Error::new(format!("run {}: {}", self.run_id, faults.join("; ")))) }
    }

    fn fault_in(&self, number: u64, wanted: &[String]) -> Option<String> {
        match self.rounds.get(&number) {
            None => Some(format!("round {number} is missing")),
            Some(round) if round.nodes != wanted => {
                let (nodes, errors) = (&round.nodes, &round.errors);
                Some(format!("round {number} was answered by {nodes:?} and not by {wanted:?} (errors: {errors:?})"))
            }
            Some(_) => None,
        }
    }
}

impl Round {
    /// Reads a round from a line of the run's log, if the line holds one.
    pub fn parse(line: &str) -> Option<Self> {
        let record = record(line, "TINYAPP_ROUND ")?;
        let mut nodes = strings(&record["nodes"])?;
        nodes.sort();
        Some(Self {
            number: record["round"].as_u64()?,
            nodes,
            errors: strings(&record["errors"])?,
            loss: record["loss"].as_f64(),
            seconds: record["seconds"].as_f64()?,
        })
    }
}

impl Summary {
    fn parse(line: &str) -> Option<Self> {
        let record = record(line, "TINYAPP_SUMMARY ")?;
        Some(Self {
            payload_exact: record["payload_exact"].as_bool()?,
            payload_bytes: record["payload_bytes"].as_u64()?,
            seconds: record["seconds"].as_f64()?,
        })
    }
}

fn record(line: &str, marker: &str) -> Option<Value> {
    let (_, json) = line.split_once(marker)?;
    serde_json::from_str(json.trim()).ok()
}

fn strings(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| Some(item.as_str()?.to_owned())).collect()
}
