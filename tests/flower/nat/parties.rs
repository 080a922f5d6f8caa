//! The parties of a real federation, each with its processes on a host of its own: Flower's and a funnel.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;

use super::{
    facts::Meeting,
    internet::{Internet, on},
    relay::Relay,
    site::Site,
};
use crate::{
    flower::{self, Context, Error, FlowerRun, RunConfig, Venv},
    funnel_process::{FunnelProcess, endpoint_id, run_for_output},
};

/// Until a link has the path that it will keep; iroh 1.4 looks each 60 s whether a relayed one can be direct.
const PATH: Duration = Duration::from_secs(180);

/// What all parties have agreed on, and the files of them all.
pub(crate) struct Federation {
    venv: Venv,
    relay: String,
    nodes: usize,
    folder: TempDir,
}

impl Federation {
    pub(crate) fn new(venv: Venv, nodes: usize, internet: &Internet, relays: &[Relay]) -> Result<Self, Error> {
        let relays: Vec<_> = relays.iter().map(|relay| format!("--relay {}", relay.url)).collect();
        let relay = format!("{} --relay-ca {}", relays.join(" "), internet.authority.file().display());
        let folder = tempfile::tempdir().context(|| "no temporary directory".into())?;
        Ok(Self { venv, relay, nodes, folder })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What identifies the funnel of a SuperNode.
    async fn id(&self, node: usize) -> Result<String, Error> {
        endpoint_id(&self.file(&format!("{node}.key"))).await.map_err(Error::new)
    }

    fn words(&self, line: &str, key: &str) -> Vec<OsString> {
        let mut words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        words.extend(["--key-file".into(), self.file(key).into_os_string()]);
        words
    }

    async fn funnel(&self, site: &Site, line: &str, key: &str) -> Result<FunnelProcess, Error> {
        let words = self.words(&format!("{line} {}", self.relay), key);
        on(&site.host, async move { FunnelProcess::start(words).await }).await.map_err(Error::new)
    }
}

/// A SuperLink with its funnel, and whoever submits runs there and looks after the peers.
pub(crate) struct Coordinator<'a> {
    pub(crate) site: Site,
    federation: &'a Federation,
    superlink: flower::SuperLink,
    funnel: FunnelProcess,
}

impl<'a> Coordinator<'a> {
    /// Lets all SuperNodes' funnels in.
    pub(crate) async fn start(site: Site, federation: &'a Federation) -> Result<Self, Error> {
        for node in 0..federation.nodes {
            operate(federation, &format!("peers allow {} --name {node}", federation.id(node).await?)).await?;
        }
        let venv = federation.venv.clone();
        let superlink = on(&site.host, async move { flower::SuperLink::start(&venv).await }).await?;
        let (fleet, ticket) = (superlink.fleet().addr, federation.file("ticket"));
        let line = format!("expose --superlink {fleet} --ticket-file {}", ticket.display());
        let funnel = federation.funnel(&site, &line, "secret.key").await.map_err(|error| superlink.explain(error))?;
        Ok(Self { site, federation, superlink, funnel })
    }

    /// The path of a SuperNode's link, as the operator is told.
    pub(crate) async fn path(&self, node: usize) -> Result<String, Error> {
        let printed = operate(self.federation, "peers list --json").await?;
        let peers: Vec<Value> = serde_json::from_str(&printed).context(|| format!("peers list says {printed}"))?;
        let name = node.to_string();
        let peer = peers.iter().find(|peer| peer["name"] == *name);
        let path = peer.and_then(|peer| peer["path"].as_str());
        Ok(path.unwrap_or("none").to_owned())
    }

    /// Waits until a SuperNode's link has the path that it will keep.
    pub(crate) async fn settled(&self, node: usize, meeting: Meeting) -> Result<(), Error> {
        let settled = async {
            while !is_path_of(meeting, &self.path(node).await?) {}
            Ok(())
        };
        match timeout(PATH, settled).await {
            Ok(settled) => settled,
            Err(_) => Err(Error::new(format!("{meeting:?} is possible, and the path is {}", self.path(node).await?))),
        }
    }

    /// Submits a run, does something when each round has begun, and checks what has come of it: these nodes in every round,
    /// and an exact model.
    pub(crate) async fn train(
        &self,
        config: &RunConfig,
        ids: &[String],
        mut in_round: impl AsyncFnMut(u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (venv, control, rounds) = (self.federation.venv.clone(), self.superlink.control().addr, config.rounds);
        let config = config.clone();
        let mut run = on(&self.site.host, async move { FlowerRun::submit(&venv, control, &config).await }).await?;
        for round in 1..=rounds {
            run.begun(round, rounds).await?;
            in_round(round).await?;
        }
        let (finished, run) = on(&self.site.host, async move { (run.finish().await, run) }).await;
        finished.and_then(|outcome| outcome.verify(rounds, ids)).map_err(|error| run.explain(error))
    }

    pub(crate) fn explain(&self, error: Error) -> Error {
        let error = self.superlink.explain(error);
        Error::new(format!("{error}\n--- the SuperLink's funnel\n{}", self.funnel.stderr()))
    }

    pub(crate) async fn stop(self) -> Result<(), Error> {
        stop(&self.site, self.funnel).await?;
        self.superlink.stop().await
    }
}

/// A SuperNode with its funnel.
pub(crate) struct Hospital {
    pub(crate) site: Site,
    supernode: flower::SuperNode,
    funnel: FunnelProcess,
}

impl Hospital {
    pub(crate) async fn start(site: Site, node: usize, federation: &Federation) -> Result<Self, Error> {
        let line = format!("join @{} --listen 127.0.0.1:0", federation.file("ticket").display());
        let funnel = federation.funnel(&site, &line, &format!("{node}.key")).await?;
        let dial = funnel.listen_addr().map_err(Error::new)?;
        let (venv, nodes) = (federation.venv.clone(), federation.nodes);
        let supernode = on(&site.host, async move { flower::SuperNode::start(&venv, dial, node, nodes) }).await?;
        Ok(Self { site, supernode, funnel })
    }

    /// Waits until the SuperLink knows the SuperNode, and returns the id that Flower has given it.
    pub(crate) async fn registered(&mut self) -> Result<String, Error> {
        self.supernode.registered().await
    }

    pub(crate) fn explain(&self, error: Error) -> Error {
        let error = self.supernode.explain(error);
        Error::new(format!("{error}\n--- its funnel\n{}", self.funnel.stderr()))
    }

    pub(crate) async fn stop(self) -> Result<(), Error> {
        self.supernode.stop().await?;
        stop(&self.site, self.funnel).await
    }
}

/// Whether a link whose ends can meet so, or not, ends up with this path.
pub(crate) fn is_path_of(meeting: Meeting, path: &str) -> bool {
    path.starts_with(match meeting {
        Meeting::Direct => "direct ",
        Meeting::Impossible => "relay ",
    })
}

/// What the coordinator's operator types in, and what is printed.
async fn operate(federation: &Federation, line: &str) -> Result<String, Error> {
    let (status, stdout, stderr) = run_for_output(federation.words(line, "secret.key")).await.map_err(Error::new)?;
    if status.success() { Ok(stdout) } else { Err(Error::new(format!("{line}: {status}: {stderr}"))) }
}

async fn stop(site: &Site, funnel: FunnelProcess) -> Result<(), Error> {
    let status = on(&site.host, async move { funnel.stop().await }).await.map_err(Error::new)?;
    if status.success() { Ok(()) } else { Err(Error::new(format!("a funnel ended with {status} after SIGTERM"))) }
}
