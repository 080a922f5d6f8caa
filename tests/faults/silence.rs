//! Live TCP connections that fall silent: what stands between their ends forgets them, and tells neither.

use std::{fs, process::Stdio};

use lab::Host;
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{
    flower::{Context, Error},
    place::on,
};

const ESTABLISHED: &str = "01";

/// Silences the connections that are open to `port` on `host`, where the process `id` runs, for good. Later ones are not
/// touched.
pub(crate) async fn silence(host: &Host, id: u32, port: u16) -> Result<(), Error> {
    let ports: Vec<_> = open_to(id, port)?.iter().map(u16::to_string).collect();
    if ports.is_empty() {
        return Err(Error::new(format!("nothing is connected to port {port}")));
    }
    let ports = ports.join(", ");
    let rule = |side| format!("add rule inet silence input tcp {side} {{ {ports} }} drop\n");
    let table = "add table inet silence\nadd chain inet silence input { type filter hook input priority 0; }\n";
    nft(host, &[table, &rule("sport"), &rule("dport")].concat()).await
}

/// The other ports of the connections to `port`.
fn open_to(id: u32, port: u16) -> Result<Vec<u16>, Error> {
    let file = format!("/proc/{id}/net/tcp");
    let table = fs::read_to_string(&file).context(|| format!("cannot read {file}"))?;
    let open = table.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, remote, state) = (words.next()?, words.next()?, words.next()?);
        (port_of(remote)? == port && state == ESTABLISHED).then(|| port_of(local))?
    });
    Ok(open.collect())
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
