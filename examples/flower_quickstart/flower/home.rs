//! The private directory of one Flower process, and its environment.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::process::Command;

use super::error::{Context, Result};
use super::venv::Venv;

/// Settings that every Flower process runs with.
const ENVIRONMENT: &[(&str, &str)] = &[
    // No call home, and no other installation than the pinned one.
    ("FLWR_TELEMETRY_ENABLED", "0"),
    ("FLWR_DISABLE_UPDATE_CHECK", "1"),
    ("FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION", "1"),
    ("FLWR_LOG_LEVEL", "INFO"),
    ("NO_COLOR", "1"),
    ("PYTHONUNBUFFERED", "1"),
    ("PYTHONIOENCODING", "utf-8"),
    // gRPC and httpx obey proxy variables even for loopback.
    ("NO_PROXY", "127.0.0.1,localhost,::1"),
    ("no_proxy", "127.0.0.1,localhost,::1"),
];

/// A temporary directory that is Flower's home and working directory; removed on drop.
#[derive(Debug)]
pub(super) struct Home {
    dir: TempDir,
}

impl Home {
    pub(super) fn create() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("flower-").tempdir().context(|| "no temporary directory".into())?;
        Ok(Self { dir })
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}.log"))
    }

    /// A command of the virtual environment that sees this directory only.
    pub(super) fn command(&self, venv: &Venv, program: &str) -> Command {
        let mut command = Command::new(venv.program(program));
        command.current_dir(self.path()).env("FLWR_HOME", self.path()).env("PATH", path_with(venv));
        command.env_remove("PYTHONPATH").env_remove("PYTHONHOME").envs(ENVIRONMENT.iter().copied());
        command
    }
}

/// The search path with the virtual environment first: Flower starts `flower-superexec` and others by name.
fn path_with(venv: &Venv) -> OsString {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(venv.bin_dir()).chain(std::env::split_paths(&inherited));
    // Only a directory with the separator in its name cannot be joined; programs are then found without the rest.
    std::env::join_paths(dirs).unwrap_or_else(|_| venv.bin_dir().into_os_string())
}
