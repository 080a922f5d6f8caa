//! A SuperLink's site and many others, each with a funnel.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use flower_iroh_funnel::{EndpointAddr, address_lookup::parse_peer};
use tempfile::TempDir;

use super::restartable::{Launch, Restartable};
use crate::{
    flower::{Context, Error, SuperLink},
    funnel_process::{endpoint_id, run_by},
    ports::free_addr,
    small_disk::{KeptDisk, command},
};

/// Room for the files of the SuperLink's site, without its audit logs' turning over.
const DISK: &str = "64m";

pub(crate) struct Sites {
    pub(crate) inbound: Restartable,
    pub(crate) outbound: Vec<Site>,
    disk: KeptDisk,
    dir: TempDir,
}

/// The end of the tunnel where a SuperNode is.
pub(crate) struct Site {
    pub(crate) funnel: Restartable,
    pub(crate) dial: SocketAddr,
}

impl Sites {
    /// So many sites, which all may call the Fleet API and nothing else. The state folder of the SuperLink's site is a file
    /// system of its own.
    pub(crate) async fn start(superlink: &SuperLink, sites: usize) -> Result<Self, Error> {
        let dir = tempfile::tempdir().context(|| "no temporary directory".into())?;
        let file = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let state = dir.path().join("state");
        std::fs::create_dir(&state).context(|| "no state folder".into())?;
        let disk = KeptDisk::mount(&state, DISK).await.context(|| "no file system for the state folder".into())?;
        let ticket = file("ticket");
        let mut expose = words("expose --relay off --superlink");
        expose.push(superlink.fleet().addr.to_string());
        expose.extend(["--key-file".into(), file("state/secret.key"), "--ticket-file".into(), ticket.clone()]);
        expose.extend(["--bind".into(), free_addr().to_string()]);
        let mut joins = Vec::new();
        for site in 0..sites {
            let key = file(&format!("{site}.key"));
            expose.extend(["--allow".into(), endpoint_id(key.as_ref()).await.map_err(Error::new)?]);
            let dial = free_addr();
            let join = format!("join @{ticket} --listen {dial} --key-file {key} --bind 127.0.0.1:0 --relay off");
            joins.push((dial, words(&join)));
        }
        let launch = Launch { arguments: expose, launcher: disk.words(), ..Launch::default() };
        let inbound = Restartable::start(launch).await?;
        let mut outbound = Vec::new();
        for (dial, arguments) in joins {
            let funnel = Restartable::start(Launch { arguments, ..Launch::default() }).await?;
            outbound.push(Site { funnel, dial });
        }
        Ok(Self { inbound, outbound, disk, dir })
    }

    /// The address of the SuperLink's site.
    pub(crate) fn inbound_addr(&self) -> Result<EndpointAddr, Error> {
        let ticket = self.inbound.process()?.stdout_line("ticket ").unwrap_or_default();
        Ok(parse_peer(&ticket).context(|| format!("{ticket:?} is no ticket"))?.addr().clone())
    }

    /// The state folder of the SuperLink's site.
    pub(crate) fn state(&self) -> PathBuf {
        self.disk.path()
    }

    /// Runs a command that manages the SuperLink's site and must succeed.
    pub(crate) async fn manage(&self, line: &str) -> Result<String, Error> {
        let mut arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        arguments.extend(["--key-file".into(), self.dir.path().join("state/secret.key").into()]);
        let (status, stdout, stderr) = run_by(command(&self.disk.words()), arguments).await.map_err(Error::new)?;
        if status.success() { Ok(stdout) } else { Err(Error::new(format!("{line} ended with {status}: {stderr}"))) }
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
