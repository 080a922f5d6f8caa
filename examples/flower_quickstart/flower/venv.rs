//! A virtual environment with a pinned flwr, kept between runs.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::error::{Context, Error, Result};
use super::poll;
use super::process::Process;
use super::python::Python;
use super::version::Version;

/// Time for pip to download and install flwr and what it needs, on a slow line.
const INSTALL: Duration = Duration::from_secs(15 * 60);
/// Directory of a virtual environment that holds its programs.
const BIN: &str = if cfg!(windows) { "Scripts" } else { "bin" };
/// Prints what an installed flwr requires.
const REQUIREMENTS: &str = include_str!("requirements.py");
/// Written last; a directory without it is half finished.
const MARKER: &str = "complete";

/// A virtual environment in which one version of flwr is installed.
#[derive(Clone, Debug)]
pub struct Venv {
    dir: PathBuf,
    version: Version,
}

impl Venv {
    /// Returns `venv-<version>` of the target directory, and makes it first if it is missing, half finished or
    /// moved. `progress` is told what happens; a process that is making the same one is waited for.
    pub async fn prepare(version: Version, mut progress: impl FnMut(&str)) -> Result<Self> {
        let root = flower_dir()?;
        fs::create_dir_all(&root).context(|| format!("cannot create {}", root.display()))?;
        let venv = Self { dir: root.join(format!("venv-{version}")), version };
        let _lock = venv.lock(&mut progress).await?;
        if !venv.is_complete() {
            venv.make(&mut progress).await?;
        }
        Ok(venv)
    }

    /// The version of flwr in it.
    pub fn version(&self) -> Version {
        self.version
    }

    /// A command that runs its Python, apart from all other installations.
    pub fn python(&self) -> Command {
        let mut python = Command::new(self.program("python"));
        python.arg("-I").env("FLWR_TELEMETRY_ENABLED", "0").kill_on_drop(true);
        python
    }

    /// The directory that holds its programs.
    pub(super) fn bin_dir(&self) -> PathBuf {
        self.dir.join(BIN)
    }

    /// The path of one of its programs.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.bin_dir().join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
    }

    /// Takes the lock that keeps two processes from making the same environment; released when the file is closed.
    async fn lock(&self, progress: &mut impl FnMut(&str)) -> Result<File> {
        let path = self.beside("lock");
        let file = File::create(&path).context(|| format!("cannot create {}", path.display()))?;
        let mut told = false;
        let locked = poll::until(INSTALL, || match file.try_lock() {
            Ok(()) => Some(Ok(())),
            Err(TryLockError::Error(error)) => Some(Err(error)),
            Err(TryLockError::WouldBlock) => {
                if !std::mem::replace(&mut told, true) {
                    progress("waiting for another process that is installing the same version");
                }
                None
            }
        });
        let taken = locked.await.ok_or_else(|| Error::new(format!("{} stays locked", path.display())))?;
        taken.context(|| format!("cannot lock {}", path.display()))?;
        Ok(file)
    }

    async fn make(&self, progress: &mut impl FnMut(&str)) -> Result<()> {
        let python = Python::find(self.version).await?;
        progress("creating a virtual environment");
        let mut create = python.command();
        // Clearing a half finished one can take long, and a child can be interrupted.
        create.args(["-m", "venv", "--clear"]).arg(&self.dir);
        self.run("python -m venv", create, "venv.log", progress).await?;
        let flwr = [format!("flwr=={}", self.version)];
        self.pip_install(&["--no-deps"], &flwr, "pip-flwr.log", progress).await?;
        let requirements = self.requirements().await?;
        self.pip_install(&[], &requirements, "pip.log", progress).await?;
        let marker = self.dir.join(MARKER);
        fs::write(&marker, self.marker()).context(|| format!("cannot write {}", marker.display()))
    }

    async fn pip_install(
        &self,
        options: &[&str],
        packages: &[String],
        log: &str,
        progress: &mut impl FnMut(&str),
    ) -> Result<()> {
        let mut install = Command::new(self.program("python"));
        install.args(["-m", "pip", "install", "--no-input", "--disable-pip-version-check"]);
        install.args(options).args(packages);
        self.run("pip install", install, log, progress).await
    }

    /// What flwr, installed alone, says that it requires; but of certifi, any version.
    async fn requirements(&self) -> Result<Vec<String>> {
        let mut python = self.python();
        let output = python.args(["-c", REQUIREMENTS]).output().await.context(|| "Python does not start".into())?;
        if !output.status.success() {
            let printed = String::from_utf8_lossy(&output.stderr);
            return Err(Error::new(format!("flwr {} does not say what it requires:\n{printed}", self.version)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }

    async fn run(&self, name: &str, command: Command, log: &str, progress: &mut impl FnMut(&str)) -> Result<()> {
        let (mut process, mut lines) = Process::spawn(name, command, &self.beside(log))?;
        let follow = async {
            while let Some(line) = lines.next().await {
                if let Some(step) = step_in(&line) {
                    progress(step);
                }
            }
        };
        if tokio::time::timeout(INSTALL, follow).await.is_err() {
            return Err(process.error(&format!("has not ended after {} s", INSTALL.as_secs())));
        }
        let status = process.wait(poll::INTERVAL * 20).await?;
        if status.success() { Ok(()) } else { Err(process.error(&format!("failed ({status})"))) }
    }

    fn is_complete(&self) -> bool {
        let marked = fs::read_to_string(self.dir.join(MARKER)).is_ok_and(|found| found == self.marker());
        // An interpreter that was uninstalled leaves a dangling link.
        marked && self.program("python").exists()
    }

    /// Names the directory too: scripts in it hold its path, so that a moved one is of no use.
    fn marker(&self) -> String {
        format!("flwr {}\n{}\n", self.version, self.dir.display())
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        self.dir.with_file_name(format!("venv-{}.{suffix}", self.version))
    }
}

/// What pip is about to do for long, if a line of its output tells.
fn step_in(line: &str) -> Option<&'static str> {
    const STEPS: &[(&str, &str)] = &[
        ("Collecting flwr==", "downloading flwr"),
        ("Collecting certifi", "downloading what flwr needs"),
        ("Installing collected packages", "installing the packages"),
    ];
    STEPS.iter().find(|(marker, _)| line.starts_with(marker)).map(|(_, step)| *step)
}

/// `flower` in cargo's target directory.
fn flower_dir() -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"));
    std::path::absolute(target.join("flower")).context(|| "cannot resolve the target directory".into())
}
