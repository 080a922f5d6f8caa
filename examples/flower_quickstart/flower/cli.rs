//! The `flwr` command, pointed at one SuperLink.

use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::Value;

use super::dial::Dial;
use super::error::{Context, Error, Result};
use super::home::Home;
use super::output::Lines;
use super::process::Process;
use super::venv::Venv;

/// Name of the only connection in the configuration.
const CONNECTION: &str = "harness";
/// Time for a command that asks one question.
const QUESTION: Duration = Duration::from_secs(60);

/// How `flwr log` reads the log of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogMode {
    /// Prints what there is.
    Show,
    /// Follows the log until the run ends.
    Stream,
}

/// How a command has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether it did what it was asked to.
    pub succeeded: bool,
    /// What it printed, on stdout and stderr.
    pub printed: String,
}

/// The `flwr` command with a configuration of its own.
#[derive(Debug)]
pub struct Cli {
    venv: Venv,
    home: Home,
    control: Dial,
}

impl Cli {
    /// A command that dials `control`.
    pub fn new(venv: &Venv, control: impl Into<Dial>) -> Result<Self> {
        let control = control.into();
        let home = Home::create()?;
        let config =
            format!("[superlink]\ndefault = \"{CONNECTION}\"\n\n[superlink.{CONNECTION}]\n{}", control.settings());
        std::fs::write(home.path().join("config.toml"), config).context(|| "cannot write config.toml".into())?;
        Ok(Self { venv: venv.clone(), home, control })
    }

    /// Runs a command, words with spaces between them, to its end, whatever that is.
    pub async fn ask(&self, command: &str) -> Result<Answer> {
        let words: Vec<_> = command.split_whitespace().collect();
        let name = format!("flwr-{}", words.first().unwrap_or(&"nothing"));
        let (process, status) = self.end_of(&name, &words, QUESTION).await?;
        Ok(Answer { succeeded: status.success(), printed: printed(&process)? })
    }

    /// The status of a run, for example `finished:completed`.
    pub async fn status(&self, run_id: &str) -> Result<String> {
        self.told_of(run_id, "status", |status| Some(status.as_str()?.to_owned())).await
    }

    /// For how long a run has been running, by the SuperLink's clock. `flwr` 1.39 and later know.
    pub async fn elapsed(&self, run_id: &str) -> Result<Duration> {
        self.told_of(run_id, "elapsed", |elapsed| Duration::try_from_secs_f64(elapsed.as_f64()?).ok()).await
    }

    /// The log of a run, as `flwr log` prints it within `limit`.
    pub async fn log(&self, run_id: &str, mode: LogMode, limit: Duration) -> Result<String> {
        let (name, option) = match mode {
            LogMode::Show => ("flwr-log-show", "--show"),
            LogMode::Stream => ("flwr-log-stream", "--stream"),
        };
        self.output(name, &["log", run_id, CONNECTION, option], limit).await
    }

    /// Starts `flwr log --stream`, which prints the log of a run until the run ends.
    pub fn follow_log(&self, run_id: &str) -> Result<(Process, Lines)> {
        self.spawn("flwr-log-follow", &["log", run_id, CONNECTION, "--stream"])
    }

    /// Starts `flwr run` for the app in a directory, which prints the log of the run until it ends.
    pub(super) fn run(&self, app: &Path, config: &str) -> Result<(Process, Lines)> {
        let app = app.to_string_lossy();
        self.spawn("flwr-run", &["run", &app, CONNECTION, "--stream", "-c", config])
    }

    /// A private directory, removed with this value.
    pub(super) fn dir(&self) -> &Path {
        self.home.path()
    }

    /// What `flwr list` says of a run.
    async fn told_of<T>(&self, run_id: &str, field: &str, read: impl Fn(&Value) -> Option<T>) -> Result<T> {
        let arguments = ["list", CONNECTION, "--run-id", run_id, "--format", "json"];
        let printed = self.output("flwr-list", &arguments, QUESTION).await?;
        run_in(&printed).and_then(|run| read(&run[field])).ok_or_else(|| {
            Error::new(format!("flwr list names no {field} of run {run_id}")).with_log(&self.home.log("flwr-list"))
        })
    }

    async fn output(&self, name: &str, arguments: &[&str], limit: Duration) -> Result<String> {
        let (process, status) = self.end_of(name, arguments, limit).await?;
        if !status.success() {
            return Err(process.error(&format!("failed ({status}), dialling {}", self.control.addr)));
        }
        printed(&process)
    }

    async fn end_of(&self, name: &str, arguments: &[&str], limit: Duration) -> Result<(Process, ExitStatus)> {
        let (mut process, _) = self.spawn(name, arguments)?;
        let status = process.wait(limit).await?;
        Ok((process, status))
    }

    fn spawn(&self, name: &str, arguments: &[&str]) -> Result<(Process, Lines)> {
        let mut command = self.home.command(&self.venv, "flwr");
        command.args(arguments);
        Process::spawn(name, command, &self.home.log(name))
    }
}

fn printed(process: &Process) -> Result<String> {
    let log = process.log();
    std::fs::read_to_string(log).context(|| format!("cannot read {}", log.display()))
}

/// Reads the answer of `flwr list`, around which warnings may stand.
fn run_in(printed: &str) -> Option<Value> {
    let json = &printed[printed.find('{')?..=printed.rfind('}')?];
    let mut answer: Value = serde_json::from_str(json).ok()?;
    Some(answer["runs"][0].take())
}
