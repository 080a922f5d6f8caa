//! dumbpipe at a pinned version: each TCP connection gets an iroh connection of its own.

use std::{env, ffi::OsStr, path::PathBuf, process::Command};

use crate::{
    failure::{Context, Failure},
    rig::{PATIENCE, Rig},
    site::Host,
    target::Target,
};

/// The version that is installed.
pub(crate) const VERSION: &str = "0.40.1";

/// Installs the pinned version below the target directory, unless it is there.
pub(super) fn install() -> Result<(), Failure> {
    if is_installed() {
        return Ok(());
    }
    eprintln!("installing dumbpipe {VERSION}: takes minutes, once");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["install", "dumbpipe", "--version", VERSION, "--locked", "--force", "--root"]).arg(root());
    let status = cargo.status().context("cargo install dumbpipe")?;
    if status.success() { Ok(()) } else { Err(format!("cargo install dumbpipe: {status}").into()) }
}

pub(super) fn serve(rig: &mut Rig) -> Result<String, Failure> {
    let server = rig.start_server("tcp")?;
    let mut command = command("listen-tcp", rig.site.far());
    command.args(["--host", &server]);
    rig.start_far("dumbpipe-listen", &mut command)?.wait_for("dumbpipe connect-tcp ", PATIENCE)
}

pub(super) fn join(rig: &mut Rig, ticket: &str) -> Result<Target, Failure> {
    let addr = rig.free_near_addr()?;
    let mut command = command("connect-tcp", rig.site.near());
    command.args(["--addr", &addr.to_string(), ticket]);
    rig.start_near("dumbpipe-connect", &mut command)?.wait_for_listener(addr, PATIENCE)?;
    Ok(Target::Tcp(addr, None))
}

/// Both sockets stay at the site; unset, they would take every interface.
fn command(role: &str, host: &Host) -> Command {
    let mut command = Command::new(program());
    command.args([role, "--ipv4-addr", &format!("{}:0", host.addr()), "--ipv6-addr", "[::1]:0"]);
    command.env_remove("RUST_LOG");
    command
}

fn is_installed() -> bool {
    let output = Command::new(program()).arg("--version").output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(VERSION))
}

fn program() -> PathBuf {
    root().join("bin").join("dumbpipe")
}

/// Beside what cargo builds: this binary lies in `<target>/<profile>/deps`.
fn root() -> PathBuf {
    let own = env::current_exe().unwrap_or_default();
    let target = own.ancestors().find(|folder| folder.file_name() == Some(OsStr::new("deps")));
    target.and_then(|deps| deps.ancestors().nth(2)).unwrap_or(&own).join("bench-tools")
}
