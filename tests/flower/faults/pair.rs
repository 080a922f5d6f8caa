//! Two funnel processes that come to harm and come back, at the same addresses and with the same keys.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use lab::{Host, Link};
use tempfile::TempDir;

use super::{
    place::on,
    restartable::{Launch, Restartable},
};
use crate::{
    flower::{Context, Error, SuperLink},
    funnel_process::endpoint_id,
    ports::free_addr,
    small_disk::{seen_by, with_disk},
    wrong_clock::with_clock,
};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Beside the SuperLink.
    Inbound,
    /// Beside the SuperNodes.
    Outbound,
}

/// Where the funnels run, and how.
#[derive(Debug, Default)]
pub(crate) struct Setting {
    /// The SuperLink's site is on the right host, the SuperNodes' site on the left one; both are here without a link.
    pub(crate) link: Option<Link>,
    /// The inbound funnel's state folder is a small file system of its own.
    pub(crate) small_disk: bool,
    /// The library that turns clocks on the wall: an hour ahead for the inbound funnel, an hour behind for the outbound one.
    pub(crate) wrong_clocks: Option<String>,
}

impl Setting {
    /// The host of the SuperLink and of the inbound funnel.
    pub(crate) fn superlink(&self) -> Option<&Host> {
        self.link.as_ref().map(Link::right)
    }

    /// The host of SuperNodes and of the outbound funnel.
    pub(crate) fn nodes(&self) -> Option<&Host> {
        self.link.as_ref().map(Link::left)
    }

    fn launcher(&self, end: End, state: &Path) -> Vec<String> {
        let offset = if end == End::Inbound { "+1h" } else { "-1h" };
        match &self.wrong_clocks {
            Some(library) => with_clock(library, offset),
            None if self.small_disk && end == End::Inbound => with_disk(state, "rw"),
            None => Vec::new(),
        }
    }
}

pub(crate) struct Pair {
    pub(crate) setting: Setting,
    inbound: Restartable,
    outbound: Restartable,
    dial: SocketAddr,
    state: PathBuf,
    // After the processes: their files go last.
    _dir: TempDir,
}

impl Pair {
    /// Both ends, around a SuperLink whose Fleet API alone they carry.
    pub(crate) async fn start(superlink: &SuperLink, setting: Setting) -> Result<Self, Error> {
        let dir = tempfile::tempdir().context(|| "no temporary directory".into())?;
        let file = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let state = dir.path().join("state");
        std::fs::create_dir(&state).context(|| "no state folder".into())?;
        let (ticket, joiner_key) = (file("ticket"), file("joiner.key"));
        let joiner = endpoint_id(Path::new(&joiner_key)).await.map_err(Error::new)?;
        let bind = on(setting.superlink(), async { free_addr() }).await.port();
        let bind = SocketAddr::new(setting.superlink().map_or(Ipv4Addr::LOCALHOST.into(), Host::addr), bind);
        let dial = on(setting.nodes(), async { free_addr() }).await;
        let from = if setting.link.is_some() { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
        let expose = format!(
            "expose --superlink {} --allow {joiner} --key-file {} --ticket-file {ticket} --bind {bind} --relay off",
            superlink.fleet().addr,
            state.join("secret.key").display(),
        );
        let join = format!("join @{ticket} --listen {dial} --key-file {joiner_key} --bind {from}:0 --relay off");
        let launch = |end, line: &str, host: Option<&Host>| Launch {
            arguments: line.split(' ').map(str::to_owned).collect(),
            launcher: setting.launcher(end, &state),
            host: host.cloned(),
        };
        let inbound = Restartable::start(launch(End::Inbound, &expose, setting.superlink())).await?;
        let outbound = Restartable::start(launch(End::Outbound, &join, setting.nodes())).await?;
        Ok(Self { setting, inbound, outbound, dial, state, _dir: dir })
    }

    /// What SuperNodes dial instead of the SuperLink.
    pub(crate) fn dial(&self) -> SocketAddr {
        self.dial
    }

    pub(crate) fn end(&mut self, end: End) -> &mut Restartable {
        match end {
            End::Inbound => &mut self.inbound,
            End::Outbound => &mut self.outbound,
        }
    }

    /// The state folder, as the inbound funnel sees it.
    pub(crate) fn state(&self) -> Result<PathBuf, Error> {
        Ok(seen_by(self.inbound.id()?, &self.state))
    }

    /// Adds what the funnels have logged since they were last started to an error.
    pub(crate) fn explain(&self, error: Error) -> Error {
        let (inbound, outbound) = (self.inbound.log(), self.outbound.log());
        Error::new(format!("{error}\n--- inbound funnel\n{inbound}\n--- outbound funnel\n{outbound}"))
    }

    pub(crate) async fn stop(mut self) -> Result<(), Error> {
        self.outbound.stop().await?;
        self.inbound.stop().await
    }
}
