//! One run of an app, from `flwr run` to its result.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::cli::{Cli, LogMode};
use super::dial::Dial;
use super::error::{Context, Error, Result};
use super::outcome::Outcome;
use super::output::Lines;
use super::process::Process;
use super::venv::Venv;

/// Time between two questions for the status: each is a new Python process that costs seconds of CPU.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// The app that is run: a small model, and a payload that shows whether anything was lost.
const APP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/flower_quickstart/app");

/// What the app is asked to do, and how long it may take.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Rounds of training; 3 by default.
    pub rounds: u64,
    /// Nodes that must answer in each round; 2 by default.
    pub nodes: usize,
    /// Size of the payload in elements of 4 bytes; 1000 by default. It travels to and from every node every round.
    pub array_elems: u64,
    /// Time a node spends in each training step; none by default.
    pub train_sleep: Duration,
    /// Whether each round evaluates the model too, which about doubles its time; so by default.
    pub evaluate: bool,
    /// Time after which a round goes on without a missing node; one hour by default.
    pub round_timeout: Duration,
    /// Time for the whole run, from submission to its final status; five minutes by default.
    pub timeout: Duration,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            rounds: 3,
            nodes: 2,
            array_elems: 1000,
            train_sleep: Duration::ZERO,
            evaluate: true,
            round_timeout: Duration::from_secs(3600),
            timeout: Duration::from_secs(300),
        }
    }
}

impl RunConfig {
    fn to_arguments(&self) -> String {
        format!(
            "num-server-rounds={} expected-nodes={} array-elems={} train-sleep={:?} fraction-evaluate={:?} \
             round-timeout={:?}",
            self.rounds,
            self.nodes,
            self.array_elems,
            self.train_sleep.as_secs_f64(),
            if self.evaluate { 1.0 } else { 0.0 },
            self.round_timeout.as_secs_f64(),
        )
    }
}

/// A submitted run, whose log is streamed through the connection to the SuperLink.
#[derive(Debug)]
pub struct FlowerRun {
    process: Process,
    lines: Lines,
    outcome: Outcome,
    deadline: Instant,
    // After the process: its directory goes last.
    cli: Cli,
}

impl FlowerRun {
    /// Submits a copy of the app to the SuperLink behind `control`, and waits until it has a run id.
    pub async fn submit(venv: &Venv, control: impl Into<Dial>, config: &RunConfig) -> Result<Self> {
        let deadline = Instant::now() + config.timeout;
        let control = control.into();
        let cli = Cli::new(venv, control.clone())?;
        // Some versions write beside the app.
        let copy = cli.dir().join("app");
        copy_dir(Path::new(APP), &copy).context(|| format!("cannot copy {APP}"))?;
        let (process, lines) = cli.run(&copy, &config.to_arguments())?;
        let outcome =
            Outcome { run_id: String::new(), status: "submitted".into(), rounds: BTreeMap::new(), summary: None };
        let mut run = Self { process, lines, outcome, deadline, cli };
        run.outcome.run_id = run.accepted(&control).await?;
        Ok(run)
    }

    /// The id Flower gave the run.
    pub fn id(&self) -> &str {
        &self.outcome.run_id
    }

    /// The next line of the run's log, or `None` at its end.
    ///
    /// # Errors
    ///
    /// If the time for the run is over.
    ///
    /// # Cancel safety
    ///
    /// No line is lost if the future is dropped before it is ready.
    pub async fn next_line(&mut self) -> Result<Option<String>> {
        let line = timeout_at(self.deadline, self.lines.next()).await;
        let line = line.map_err(|_| self.process.error("did not reach the end of the run in the time for it"))?;
        if let Some(line) = &line {
            self.outcome.observe(line);
        }
        Ok(line)
    }

    /// Waits until one of `rounds` rounds has begun.
    ///
    /// # Errors
    ///
    /// If the run ends before.
    pub async fn begun(&mut self, round: u64, rounds: u64) -> Result<()> {
        let text = format!("[ROUND {round}/{rounds}]");
        while let Some(line) = self.next_line().await? {
            if line.contains(&text) {
                return Ok(());
            }
        }
        Err(self.process.error(&format!("ended before round {round}")))
    }

    /// Reads the log to its end, and checks that `flwr run` has ended well.
    pub async fn follow(&mut self) -> Result<()> {
        while self.next_line().await?.is_some() {}
        let ended = self.process.wait(self.left()).await?;
        if ended.success() {
            return Ok(());
        }
        Err(self.process.error(&format!("failed ({ended}) after run {} was accepted", self.id())))
    }

    /// [Follows](Self::follow) the run, waits for its final status, and reads the log once more as Flower has kept it.
    pub async fn finish(&mut self) -> Result<Outcome> {
        self.follow().await?;
        self.outcome.status = self.final_status().await?;
        let kept = self.cli.log(&self.outcome.run_id, LogMode::Show, self.left()).await?;
        kept.lines().for_each(|line| self.outcome.observe(line));
        Ok(self.outcome.clone())
    }

    /// Reads the log of the run, finished or not, with a new `flwr log` process.
    pub async fn log(&self, mode: LogMode) -> Result<String> {
        self.cli.log(self.id(), mode, self.left()).await
    }

    /// From when the app ran to its end, by the SuperLink's clock.
    pub async fn elapsed(&self) -> Result<Duration> {
        self.cli.elapsed(self.id()).await
    }

    /// Adds the end of what `flwr run` printed to an error.
    pub fn explain(&self, error: Error) -> Error {
        error.with_log(self.process.log())
    }

    async fn accepted(&mut self, control: &Dial) -> Result<String> {
        while let Some(line) = self.next_line().await? {
            // What follows the id, if anything, depends on both versions.
            let id = line.split_once("started run ").and_then(|(_, rest)| rest.split_whitespace().next());
            if let Some(id) = id {
                return Ok(id.to_owned());
            }
        }
        Err(self.process.error(&format!("could not submit the app, dialling {}", control.addr)))
    }

    async fn final_status(&self) -> Result<String> {
        let mut status = self.outcome.status.clone();
        while Instant::now() < self.deadline {
            status = self.cli.status(&self.outcome.run_id).await?;
            if status.starts_with("finished") {
                return Ok(status);
            }
            tokio::time::sleep(STATUS_INTERVAL).await;
        }
        Err(Error::new(format!("run {} is still {status} when the time for it is over", self.id())))
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
