//! dumbpipe at a pinned version: each TCP connection gets an iroh connection of its own.

mod program;

use std::process::Command;

pub(crate) use self::program::VERSION;
pub(super) use self::program::install;
use crate::{
    failure::Failure,
    rig::{Rig, TIMEOUT},
    site::Host,
    target::Target,
};

pub(super) fn serve(rig: &mut Rig) -> Result<String, Failure> {
    let server = rig.start_server("tcp")?;
    let mut command = command("listen-tcp", rig.site.far());
    command.args(["--host", &server]);
    rig.start_far("dumbpipe-listen", &mut command)?.wait_for("dumbpipe connect-tcp ", TIMEOUT)
}

pub(super) fn join(rig: &mut Rig, ticket: &str) -> Result<Target, Failure> {
    let addr = rig.free_near_addr()?;
    let mut command = command("connect-tcp", rig.site.near());
    command.args(["--addr", &addr.to_string(), ticket]);
    rig.start_near("dumbpipe-connect", &mut command)?.wait_for_listener(addr, TIMEOUT)?;
    Ok(Target::Tcp(addr, None))
}

/// Both sockets stay at the site; unset, they would take every interface.
fn command(role: &str, host: &Host) -> Command {
    let mut command = Command::new(program::path());
    command.args([role, "--ipv4-addr", &format!("{}:0", host.addr()), "--ipv6-addr", "[::1]:0"]);
    command.env_remove("RUST_LOG");
    command
}
