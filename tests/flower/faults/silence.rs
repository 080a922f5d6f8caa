//! Live TCP connections that fall silent: what stands between their ends forgets them, and tells neither.

use std::{collections::HashSet, fs, process::Stdio};

use lab::Host;
use tokio::{io::AsyncWriteExt, process::Command};

use super::place::on;
use crate::flower::{Context, Error};

const ESTABLISHED: &str = "01";

/// Whether there is nft. Says so where there is none, and fails there if `CI` is `true`.
pub(crate) async fn is_possible() -> bool {
    let missing = match Command::new("nft").arg("--version").output().await {
        Ok(output) if output.status.success() => return true,
        Ok(output) => output.status.to_string(),
        Err(error) => error.to_string(),
    };
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must have nft: {missing}");
    eprintln!("skipped: nft, of nftables, does not work: {missing}");
    false
}

/// Silences the connections between `port` and the process `id`, on whichever side of it, for good. Later ones are not
/// touched.
pub(crate) async fn silence(host: &Host, id: u32, port: u16) -> Result<(), Error> {
    let ports: Vec<_> = others(id, port)?.iter().map(u16::to_string).collect();
    if ports.is_empty() {
        return Err(Error::new(format!("nothing connects process {id} and port {port}")));
    }
    let ports = ports.join(", ");
    let rule = |side| format!("add rule inet silence input tcp {side} {{ {ports} }} drop\n");
    let table = "add table inet silence\nadd chain inet silence input { type filter hook input priority 0; }\n";
    nft(host, &[table, &rule("sport"), &rule("dport")].concat()).await
}

/// The other ports of the process's connections of which one is `port`.
fn others(id: u32, port: u16) -> Result<Vec<u16>, Error> {
    let sockets = sockets(id)?;
    let file = format!("/proc/{id}/net/tcp");
    let table = fs::read_to_string(&file).context(|| format!("cannot read {file}"))?;
    let connections = table.lines().skip(1).filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, local, remote, ESTABLISHED, _, _, _, _, _, socket, ..] = words[..] else { return None };
        sockets.contains(socket).then_some((port_of(local)?, port_of(remote)?))
    });
    Ok(connections
        .filter_map(|(local, remote)| match (local == port, remote == port) {
            (true, _) => Some(remote),
            (_, true) => Some(local),
            _ => None,
        })
        .collect())
}

/// The numbers of the process's sockets.
fn sockets(id: u32) -> Result<HashSet<String>, Error> {
    let folder = format!("/proc/{id}/fd");
    let files = fs::read_dir(&folder).context(|| format!("cannot read {folder}"))?;
    // A file may be closed meanwhile.
    let targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    Ok(targets
        .filter_map(|target| Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect())
}

fn port_of(addr: &str) -> Option<u16> {
    u16::from_str_radix(addr.rsplit_once(':')?.1, 16).ok()
}

async fn nft(host: &Host, script: &str) -> Result<(), Error> {
    let run = async {
        let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn()?;
        nft.stdin.take().expect("stdin is piped").write_all(script.as_bytes()).await?;
        nft.wait().await
    };
    let status = on(Some(host), run).await.context(|| "nft, of nftables, cannot be run".into())?;
    if status.success() { Ok(()) } else { Err(Error::new(format!("nft ended with {status}"))) }
}
