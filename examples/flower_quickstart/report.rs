//! What the quickstart prints.

use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::flower::Round;

/// Time between two signs of life.
const TICK: Duration = Duration::from_secs(5);

/// Prints what is going on, with the time since the start.
pub(crate) struct Report {
    started: Instant,
    ticks: Interval,
    phase: String,
    has_table: bool,
}

impl Report {
    /// Starts the clock.
    pub(crate) fn start() -> Self {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { started: Instant::now(), ticks, phase: String::new(), has_table: false }
    }

    /// Awaits `work` and says that it is still going on as long as it is.
    pub(crate) async fn during<T>(&mut self, phase: &str, work: impl Future<Output = T>) -> T {
        if self.phase != phase {
            phase.clone_into(&mut self.phase);
            self.ticks.reset();
            self.say(phase);
        }
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                output = &mut work => return output,
                _ = self.ticks.tick() => self.say(&format!("{} ...", self.phase)),
            }
        }
    }

    /// Prints a line with the time since the start.
    pub(crate) fn say(&self, what: &str) {
        println!("[{:5.1} s] {what}", self.started.elapsed().as_secs_f64());
    }

    /// Prints a round as a line of a table; nodes are named by their place in `nodes`.
    pub(crate) fn round(&mut self, round: &Round, nodes: &[String], path: &str) {
        if !std::mem::replace(&mut self.has_table, true) {
            println!("round  nodes that answered  loss        seconds  path");
        }
        let answered = format!("{} of {}: {}", round.nodes.len(), nodes.len(), names(&round.nodes, nodes));
        let loss = round.loss.map_or("-".into(), |loss| format!("{loss:.6}"));
        println!("{:5}  {answered:<19}  {loss:<10}  {:7.1}  {path}", round.number, round.seconds);
    }
}

/// What the run is doing, if a line of its log tells.
pub(crate) fn phase_in(line: &str) -> Option<String> {
    if line.contains("Start `flwr-serverapp` process") {
        return Some("starting the app".into());
    }
    let (_, round) = line.split_once("[ROUND ")?;
    Some(format!("training, round {}", round.trim_end_matches(']').replace('/', " of ")))
}

fn names(answered: &[String], nodes: &[String]) -> String {
    let places = (1..).zip(nodes).filter(|(_, id)| answered.contains(id));
    places.map(|(place, _)| place.to_string()).collect::<Vec<_>>().join(", ")
}
