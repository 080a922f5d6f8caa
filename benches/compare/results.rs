//! Every single measurement, kept as JSON lines: first the machine, then one line each.

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    competitor::{Competitor, DUMBPIPE_VERSION},
    failure::{Context, Failure},
    link::Conditions,
    machine,
    metric::Metrics,
    pace::Pace,
    rig::Measured,
    usage::Usage,
    workload::Workload,
    writer::{Begun, Writer},
};

/// One line of a file of results.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Line {
    /// How the run was made.
    Run(Box<Begun>),
    /// A place that was used.
    Site {
        /// Its name in measurements.
        site: String,
        /// How long and how much is measured there.
        pace: Pace,
        /// What the link turned out to be.
        measured: Option<String>,
    },
    /// One measurement.
    Cell(Box<Cell>),
}

/// One competitor doing one workload once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cell {
    /// Where.
    pub(crate) site: String,
    /// What.
    pub(crate) workload: Workload,
    /// Who.
    pub(crate) competitor: Competitor,
    /// Which of the repeats, from 0.
    pub(crate) repeat: usize,
    /// What was found.
    pub(crate) metrics: Metrics,
    /// Whether the time was over before the work was done.
    pub(crate) timed_out: bool,
    /// Why it ended early.
    pub(crate) failure: Option<String>,
    /// By process.
    pub(crate) usage: BTreeMap<String, Usage>,
    /// Of the competitor, or of TCP at the near end where it did not choose.
    pub(crate) congestion_control: String,
    /// CPU time of everything else on this machine meanwhile: how much the others disturbed.
    pub(crate) elsewhere_cpu_s: f64,
}

impl Cell {
    /// A measurement that came to an end, or did not.
    pub(crate) fn new(
        site: &str,
        workload: Workload,
        competitor: Competitor,
        repeat: usize,
        measured: Result<Measured, Failure>,
    ) -> Self {
        let mut cell = Self {
            site: site.to_owned(),
            workload,
            competitor,
            repeat,
            metrics: Metrics::new(),
            timed_out: false,
            failure: None,
            usage: BTreeMap::new(),
            congestion_control: String::new(),
            elsewhere_cpu_s: 0.0,
        };
        match measured {
            Ok(measured) => cell.fill(measured),
            Err(failure) => cell.failure = Some(failure.to_string()),
        }
        cell
    }

    fn fill(&mut self, measured: Measured) {
        self.metrics = measured.outcome.metrics;
        self.timed_out = measured.outcome.timed_out;
        self.failure = measured.outcome.failure;
        self.congestion_control = measured.congestion_control;
        self.elsewhere_cpu_s = measured.elsewhere_cpu_s;
        self.usage = measured.usage.into_iter().collect();
        let cpu_s: f64 = self.usage.values().map(|usage| usage.cpu_s).sum();
        let both_mib_s =
            self.metrics.get("mib_s").zip(self.metrics.get("beside_mib_s")).map(|(own, beside)| own + beside);
        let mut add = |name: &str, value| self.metrics.insert(name.to_owned(), value);
        let moved_gib = measured.outcome.moved as f64 / f64::from(1 << 30);
        if moved_gib > 0.0 {
            add("cpu_s_per_gib", cpu_s / moved_gib);
        }
        if self.workload == Workload::First && self.failure.is_none() && !self.timed_out {
            add("cold_ms", measured.elapsed.as_secs_f64() * 1_000.0);
        }
        if let (Some(both), Ok(link)) = (both_mib_s, self.site.parse::<Conditions>()) {
            add("used_percent", both / link.limit_mib_s() * 100.0);
        }
        let peak = |usage: &Usage| usage.peak_rss_kib as f64 / 1024.0;
        if let Some(highest) = self.usage.values().map(peak).max_by(f64::total_cmp) {
            add("peak_rss_mib", highest);
        }
        for (part, usage) in &self.usage {
            self.metrics.insert(format!("peak_rss_mib_{part}"), peak(usage));
        }
    }
}

/// Begins a file of results.
pub(crate) fn begin(name: &str) -> Result<Writer, Failure> {
    let mut writer = Writer::create(name)?;
    let tools = vec![format!("dumbpipe {DUMBPIPE_VERSION}"), machine::output("ssh", &["-V"])];
    writer.write(&Line::Run(Begun::here(tools)?))?;
    Ok(writer)
}

/// All lines of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<Line>, Failure> {
    let text = fs::read_to_string(path).context(path.display())?;
    text.lines().map(|line| serde_json::from_str(line).context(path.display())).collect()
}
