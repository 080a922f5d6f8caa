//! A SuperLink's site and many others, each with a funnel.

use std::{net::SocketAddr, path::Path};

use tempfile::TempDir;

use super::restartable::{Launch, Restartable};
use crate::{
    flower::{Context, Error, SuperLink},
    funnel_process::endpoint_id,
    ports::free_addr,
};

pub(crate) struct Sites {
    pub(crate) inbound: Restartable,
    pub(crate) outbound: Vec<Site>,
    // After the processes: their files go last.
    _dir: TempDir,
}

/// The end of the tunnel where a SuperNode is.
pub(crate) struct Site {
    pub(crate) funnel: Restartable,
    pub(crate) dial: SocketAddr,
}

impl Sites {
    /// So many sites, which all may call the Fleet API and nothing else.
    pub(crate) async fn start(superlink: &SuperLink, sites: usize) -> Result<Self, Error> {
        let dir = tempfile::tempdir().context(|| "no temporary directory".into())?;
        let file = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let ticket = file("ticket");
        let mut expose = words("expose --relay off --superlink");
        expose.push(superlink.fleet().addr.to_string());
        expose.extend(["--key-file".into(), file("secret.key"), "--ticket-file".into(), ticket.clone()]);
        expose.extend(["--bind".into(), free_addr().to_string()]);
        let mut joins = Vec::new();
        for site in 0..sites {
            let key = file(&format!("{site}.key"));
            expose.extend(["--allow".into(), endpoint_id(Path::new(&key)).await.map_err(Error::new)?]);
            let dial = free_addr();
            let join = format!("join @{ticket} --listen {dial} --key-file {key} --bind 127.0.0.1:0 --relay off");
            joins.push((dial, words(&join)));
        }
        let inbound = Restartable::start(Launch { arguments: expose, ..Launch::default() }).await?;
        let mut outbound = Vec::new();
        for (dial, arguments) in joins {
            let funnel = Restartable::start(Launch { arguments, ..Launch::default() }).await?;
            outbound.push(Site { funnel, dial });
        }
        Ok(Self { inbound, outbound, _dir: dir })
    }

    pub(crate) async fn stop(mut self) -> Result<(), Error> {
        for site in &mut self.outbound {
            site.funnel.stop().await?;
        }
        self.inbound.stop().await
    }
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}
