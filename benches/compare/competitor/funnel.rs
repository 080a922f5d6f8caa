//! A pair of funnel processes: the real command at both ends.

use std::process::Command;

use crate::{
    failure::{Context, Failure},
    rig::{Rig, TIMEOUT},
    site::Host,
    target::Target,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_flower-iroh-funnel");

pub(super) fn serve(rig: &mut Rig) -> Result<String, Failure> {
    let server = rig.start_server("tcp")?;
    let mut command = command(rig, rig.site.far(), "expose.key");
    command.args(["expose", "--allow-any", "--superlink", &format!("grpc://{server}")]);
    let inbound = rig.start_far("inbound", &mut command)?;
    let ticket = inbound.wait_for("ticket ", TIMEOUT)?;
    inbound.wait_for("ready ", TIMEOUT)?;
    Ok(ticket)
}

pub(super) fn join(rig: &mut Rig, ticket: &str) -> Result<Target, Failure> {
    let mut command = command(rig, rig.site.near(), "join.key");
    command.args(["join", ticket, "--listen", "127.0.0.1:0"]);
    let outbound = rig.start_near("outbound", &mut command)?;
    let ready = outbound.wait_for("ready listening on ", TIMEOUT)?;
    let addr = ready.split_whitespace().next().unwrap_or_default();
    let addr = addr.parse().context(format_args!("outbound funnel's address in {ready:?}"))?;
    Ok(Target::Tcp(addr, None))
}

fn command(rig: &Rig, host: &Host, key: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["--relay", "off", "--bind", &format!("{}:0", host.addr())]);
    command.arg("--key-file").arg(rig.file(key));
    command.env_remove("RUST_LOG");
    command
}
