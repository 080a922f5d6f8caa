//! A relay of one's own on a public host, with a certificate that funnels trust.

use std::{fs, net::IpAddr, path::PathBuf};

use iroh::RelayUrl;
use patchbay::Device;
use tempfile::TempDir;

use super::internet::on;
use crate::funnel_process::FunnelProcess;

/// One certificate for all relays, which funnels trust as it is.
pub(crate) struct Authority {
    folder: TempDir,
}

impl Authority {
    pub(crate) fn new(hosts: impl Iterator<Item = IpAddr>) -> Self {
        let names: Vec<String> = hosts.map(|host| host.to_string()).collect();
        let issued = rcgen::generate_simple_self_signed(names).unwrap();
        let this = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(this.file(), issued.cert.pem()).unwrap();
        fs::write(this.key_file(), issued.signing_key.serialize_pem()).unwrap();
        this
    }

    /// The certificate in PEM.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn key_file(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }
}

/// The command `relay`, with address discovery.
pub(crate) struct Relay {
    pub(crate) url: RelayUrl,
    host: Device,
    process: FunnelProcess,
}

impl Relay {
    pub(crate) async fn start(host: &Device, authority: &Authority) -> Self {
        let (ip, cert, key) = (host.ip().unwrap(), authority.file(), authority.key_file());
        let line = format!("relay --open --host {ip} --tls-cert {} --tls-key {}", cert.display(), key.display());
        let process = on(host, async move { FunnelProcess::start(line.split(' ')).await.unwrap() }).await;
        let url = process.stdout_line("ready ").unwrap().parse().unwrap();
        Self { url, host: host.clone(), process }
    }

    pub(crate) async fn kill(self) {
        let process = self.process;
        on(&self.host, async move { process.kill().await.unwrap() }).await;
    }
}
