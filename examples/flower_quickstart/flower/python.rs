//! Finding a Python that can run Flower.

use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::error::{Error, Result};
use super::version::Version;

/// The newest minor version of Python 3 that the harness was written for.
const NEWEST: u16 = 13;
/// Even a cold interpreter answers well within this time.
const ANSWER: Duration = Duration::from_secs(60);

#[cfg(not(windows))]
const CANDIDATES: &[&[&str]] =
    &[&["python3"], &["python3.13"], &["python3.12"], &["python3.11"], &["python3.10"], &["python"]];
#[cfg(windows)]
const CANDIDATES: &[&[&str]] = &[&["py", "-3"], &["python"]];

/// An installed Python that is new enough and can create virtual environments.
#[derive(Clone, Debug)]
pub struct Python {
    command: &'static [&'static str],
    minor: u16,
}

impl Python {
    /// Finds a Python on the search path for a version of flwr.
    ///
    /// # Errors
    ///
    /// One sentence that says what to install; [`Error::is_missing_python`] is then true.
    pub async fn find(version: Version) -> Result<Self> {
        let mut without_venv = None;
        for command in CANDIDATES {
            let Some(python) = Self::probe(command, version).await else { continue };
            if python.can_create_venv().await {
                return Ok(python);
            }
            without_venv = Some(python);
        }
        Err(Error::missing_python(remedy(version, without_venv.as_ref())))
    }

    /// A command that runs this Python.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(self.command[0]);
        command.args(&self.command[1..]).kill_on_drop(true);
        command
    }

    async fn probe(command: &'static [&'static str], version: Version) -> Option<Self> {
        let unknown = Self { command, minor: 0 };
        let printed = unknown.eval("import sys; print(*sys.version_info[:2])").await?;
        let minor = printed.trim().strip_prefix("3 ")?.parse().ok()?;
        (version.oldest_python()..=NEWEST).contains(&minor).then_some(Self { command, minor })
    }

    async fn can_create_venv(&self) -> bool {
        self.eval("import venv, ensurepip").await.is_some()
    }

    async fn eval(&self, code: &str) -> Option<String> {
        let output = timeout(ANSWER, self.command().args(["-c", code]).output()).await.ok()?.ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn remedy(version: Version, without_venv: Option<&Python>) -> String {
    match without_venv {
        Some(python) => format!(
            "Python 3.{0} lacks its venv module, please install it (Debian and Ubuntu: apt install python3.{0}-venv).",
            python.minor
        ),
        None => format!(
            "Flower {version} needs Python 3.{} to 3.{NEWEST} and none was found, please install one with its venv \
             module (Debian and Ubuntu: apt install python3 python3-venv).",
            version.oldest_python()
        ),
    }
}
