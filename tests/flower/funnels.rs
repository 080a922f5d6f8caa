//! One funnel beside the SuperLink, and one beside everything else.

// The bench `flower` includes this module by path, and each of them uses a part of it.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::path::Path;

use tempfile::TempDir;

use crate::flower::{Dial, Error, SuperLink};
use crate::funnel_process::{FunnelProcess, endpoint_id};

pub(crate) const LOOPBACK: [&str; 4] = ["--bind", "127.0.0.1:0", "--relay", "off"];

/// Two funnels, and the only port that leads through them: it takes Fleet and Control, in either wire.
pub(crate) struct Funnels {
    inbound: FunnelProcess,
    outbound: FunnelProcess,
    dial: SocketAddr,
    // After the processes: their files go last.
    _dir: TempDir,
}

impl Funnels {
    pub(crate) async fn start(superlink: &SuperLink) -> Result<Self, Error> {
        Self::start_as(superlink, "fleet,control", &[], &[]).await
    }

    /// Funnels that speak TLS with Flower on both sides; `ca` signed the SuperLink's certificate.
    pub(crate) async fn start_with_tls(superlink: &SuperLink, ca: &Path) -> Result<Self, Error> {
        let ca = ca.to_string_lossy();
        Self::start_as(superlink, "fleet,control", &["--superlink-ca", &ca], &["--tls"]).await
    }

    /// Funnels that cannot read what they carry; all APIs of the SuperLink are on one port.
    pub(crate) async fn start_with_passthrough(superlink: &SuperLink, ca: &Path) -> Result<Self, Error> {
        let (ca, target) = (ca.to_string_lossy(), superlink.fleet().addr.to_string());
        let exposing = ["--superlink-ca", &ca, "--passthrough", &target];
        Self::start_as(superlink, "passthrough", &exposing, &["--passthrough"]).await
    }

    /// Funnels of which the inbound one lets others in, too, to the Fleet API.
    pub(crate) async fn start_allowing(superlink: &SuperLink, ids: &[String]) -> Result<Self, Error> {
        let allowed: Vec<_> = ids.iter().flat_map(|id| ["--allow", id]).collect();
        Self::start_as(superlink, "fleet,control", &allowed, &[]).await
    }

    async fn start_as(superlink: &SuperLink, grants: &str, exposing: &[&str], joining: &[&str]) -> Result<Self, Error> {
        let dir = tempfile::tempdir().map_err(|error| Error::new(format!("no temporary directory: {error}")))?;
        let file = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let (ticket, joiner_key) = (file("ticket"), file("joiner.key"));
        let joiner = endpoint_id(Path::new(&joiner_key)).await.map_err(Error::new)?;

        let mut expose = strings(["expose", "--ticket-file", &ticket, "--key-file", &file("inbound.key")]);
        expose.extend(strings(["--allow", &format!("{joiner}={grants}")]));
        expose.extend(upstreams(superlink));
        expose.extend(exposing.iter().map(ToString::to_string));
        expose.extend(strings(LOOPBACK));
        let inbound = FunnelProcess::start(expose).await.map_err(Error::new)?;

        let mut join = strings(["join", &format!("@{ticket}"), "--key-file", &joiner_key]);
        join.extend(strings(["--listen", "127.0.0.1:0"]));
        join.extend(joining.iter().map(ToString::to_string));
        join.extend(strings(LOOPBACK));
        let outbound = FunnelProcess::start(join).await.map_err(Error::new)?;
        let dial = outbound.listen_addr().map_err(Error::new)?;
        Ok(Self { inbound, outbound, dial, _dir: dir })
    }

    /// How to reach the inbound funnel.
    pub(crate) fn ticket(&self) -> String {
        self.inbound.stdout_line("ticket ").unwrap_or_default()
    }

    /// What SuperNodes and the `flwr` command dial instead of the SuperLink.
    pub(crate) fn dial(&self) -> SocketAddr {
        self.dial
    }

    /// The same with the CA's file, as the line says that an operator is told to type.
    pub(crate) fn dial_with_tls(&self) -> Result<Dial, Error> {
        let line = self.outbound.stdout_line("run a SuperNode: ").unwrap_or_default();
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["flower-supernode", "--root-certificates", file, "--superlink", addr] if addr == self.dial.to_string() => {
                Ok(Dial { addr: self.dial, root_certificates: Some(file.into()) })
            }
            _ => Err(Error::new(format!("the line to type is {line:?}"))),
        }
    }

    /// The ids of the processes, by what they are.
    pub(crate) fn processes(&self) -> [(&'static str, Option<u32>); 2] {
        [("inbound", self.inbound.id()), ("outbound", self.outbound.id())]
    }

    /// Adds what the funnels have logged to an error.
    pub(crate) fn explain(&self, error: Error) -> Error {
        let logs = [&self.inbound, &self.outbound].map(FunnelProcess::stderr);
        Error::new(format!("{error}\n--- inbound funnel\n{}\n--- outbound funnel\n{}", logs[0], logs[1]))
    }

    pub(crate) async fn stop(self) -> Result<(), Error> {
        for funnel in [self.outbound, self.inbound] {
            let status = funnel.stop().await.map_err(Error::new)?;
            if cfg!(unix) && !status.success() {
                return Err(Error::new(format!("a funnel ended with {status} after SIGTERM")));
            }
        }
        Ok(())
    }
}

/// The options that tell a funnel where the SuperLink serves what. In which wire, it finds out by itself; who will call
/// in which wire, nothing says.
fn upstreams(superlink: &SuperLink) -> Vec<String> {
    let (fleet, control) = (superlink.fleet().addr, superlink.control().addr);
    if fleet == control {
        return strings(["--superlink", &fleet.to_string()]);
    }
    strings(["--upstream", &format!("fleet={fleet}"), "--upstream", &format!("control={control}")])
}

pub(crate) fn strings<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).into()
}
