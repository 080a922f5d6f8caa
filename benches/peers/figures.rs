//! What one measurement found, and where it should get to.

use serde::{Deserialize, Serialize};

use crate::{crowd::Outcome, metric::percentile, run::Plan};

/// Resident memory of the inbound funnel.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// With nobody connected.
    pub(crate) before_kib: u64,
    /// When each has had its first answer.
    pub(crate) connected_kib: u64,
    /// After the polls.
    pub(crate) polled_kib: u64,
    /// The most at any time.
    pub(crate) peak_kib: u64,
}

/// One measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// How it was made.
    pub(crate) plan: Plan,
    /// Of the inbound funnel.
    pub(crate) memory: Memory,
    /// What one peer has added to what is resident after the polls.
    pub(crate) peer_kib: f64,
    /// What one peer had added at the peak.
    pub(crate) peer_peak_kib: f64,
    /// CPU time of the inbound funnel while they polled, in percent of one core.
    pub(crate) cpu_percent: f64,
    /// From the first dial to the last first answer.
    pub(crate) connect_s: f64,
    /// CPU time of the inbound funnel meanwhile.
    pub(crate) connect_cpu_s: f64,
    /// Polls that were measured.
    pub(crate) polls: usize,
    /// Polls that failed.
    pub(crate) failed: usize,
    /// Some of their reasons.
    pub(crate) reasons: Vec<String>,
    /// From when a poll was due to its whole answer.
    pub(crate) p50_ms: Option<f64>,
    /// The same.
    pub(crate) p99_ms: Option<f64>,
    /// The same.
    pub(crate) max_ms: Option<f64>,
    /// CPU time of the crowd while it polled.
    pub(crate) crowd_cpu_s: f64,
    /// CPU time of the SuperLink meanwhile.
    pub(crate) superlink_cpu_s: f64,
    /// CPU time of everything else on this machine meanwhile: how much the others disturbed.
    pub(crate) elsewhere_cpu_s: f64,
}

impl Figures {
    /// Without CPU times.
    pub(crate) fn new(plan: Plan, memory: Memory, connect_s: f64, outcome: Outcome) -> Self {
        let each = |kib: u64| (kib as f64 - memory.before_kib as f64) / plan.peers as f64;
        let latencies = &outcome.latencies_ms;
        Self {
            plan,
            memory,
            peer_kib: each(memory.polled_kib),
            peer_peak_kib: each(memory.peak_kib),
            cpu_percent: 0.0,
            connect_s,
            connect_cpu_s: 0.0,
            polls: latencies.len(),
            failed: outcome.failed,
            p50_ms: percentile(latencies, 50.0),
            p99_ms: percentile(latencies, 99.0),
            max_ms: latencies.last().copied(),
            reasons: outcome.reasons.into_iter().collect(),
            crowd_cpu_s: 0.0,
            superlink_cpu_s: 0.0,
            elsewhere_cpu_s: 0.0,
        }
    }

    /// Prints all, and whether the targets were reached.
    pub(crate) fn print(&self) {
        let Plan { peers, every, window, repeat } = self.plan;
        println!("\n### {peers} peers, each polling every {every:?}, for {window:?} · #{repeat}\n");
        println!("| | found | target | reached |\n|---|---|---|---|");
        against("memory for each peer, KiB", Some(self.peer_kib), 100.0);
        against("CPU of the inbound funnel, % of a core", Some(self.cpu_percent), 30.0);
        against("polls, p99, ms", self.p99_ms, 50.0);
        against("connecting all, s", Some(self.connect_s), 60.0);
        against("polls that failed", Some(self.failed as f64), 0.0);
        row("polls, p50, ms", self.p50_ms);
        row("polls, slowest, ms", self.max_ms);
        row("polls measured", Some(self.polls as f64));
        row("memory for each peer at the peak, KiB", Some(self.peer_peak_kib));
        row("memory before, MiB", Some(self.memory.before_kib as f64 / 1024.0));
        row("memory when all were connected, MiB", Some(self.memory.connected_kib as f64 / 1024.0));
        row("memory after the polls, MiB", Some(self.memory.polled_kib as f64 / 1024.0));
        row("CPU of the inbound funnel for one connecting peer, ms", Some(1e3 * self.connect_cpu_s / peers as f64));
        row("CPU of the crowd, s", Some(self.crowd_cpu_s));
        row("CPU of the SuperLink, s", Some(self.superlink_cpu_s));
        row("CPU of others on this machine, s", Some(self.elsewhere_cpu_s));
        for reason in &self.reasons {
            println!("\na poll failed: {reason}");
        }
    }
}

fn against(name: &str, value: Option<f64>, target: f64) {
    let reached = if value.is_some_and(|value| value <= target) { "yes" } else { "no" };
    println!("| {name} | {} | ≤ {target} | {reached} |", text(value));
}

fn row(name: &str, value: Option<f64>) {
    println!("| {name} | {} | | |", text(value));
}

fn text(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}
