//! The program dumbpipe, at a pinned version.

use std::{env, ffi::OsStr, path::PathBuf, process::Command};

use crate::failure::{Context, Failure};

/// The version that is installed.
pub(crate) const VERSION: &str = "0.40.1";

/// Installs the pinned version below the target directory, unless it is there.
pub(crate) fn install() -> Result<(), Failure> {
    if is_installed() {
        return Ok(());
    }
    eprintln!("installing dumbpipe {VERSION}: takes minutes, once");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["install", "dumbpipe", "--version", VERSION, "--locked", "--force", "--root"]).arg(root());
    let status = cargo.status().context("cargo install dumbpipe")?;
    if status.success() { Ok(()) } else { Err(format!("cargo install dumbpipe: {status}").into()) }
}

/// Whether it is there.
pub(crate) fn is_installed() -> bool {
    let output = Command::new(path()).arg("--version").output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(VERSION))
}

/// Where it is installed.
pub(crate) fn path() -> PathBuf {
    root().join("bin").join("dumbpipe")
}

/// Beside what cargo builds: this binary lies in `<target>/<profile>/deps`.
fn root() -> PathBuf {
    let own = env::current_exe().unwrap_or_default();
    let target = own.ancestors().find(|folder| folder.file_name() == Some(OsStr::new("deps")));
    target.and_then(|deps| deps.ancestors().nth(2)).unwrap_or(&own).join("bench-tools")
}
