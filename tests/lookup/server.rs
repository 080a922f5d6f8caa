//! A DNS and pkarr server of one's own, the real one.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use iroh_dns_server::{
    Server,
    config::{CertMode, Config, MetricsConfig, RateLimitConfig},
};
use tempfile::TempDir;

use crate::certificates::Certificate;

/// What `iroh-dns-server` serves unless it is told otherwise.
const ORIGIN: &str = "irohdns.example";

pub(crate) struct NameServer {
    server: Server,
    _folder: TempDir,
}

impl NameServer {
    pub(crate) async fn start() -> Self {
        Self::on(0, None).await
    }

    /// With this port for HTTP, and HTTPS at another if there is a certificate.
    pub(crate) async fn on(port: u16, certificate: Option<Certificate>) -> Self {
        let (folder, host) = (tempfile::tempdir().unwrap(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        let mut config = Config::default();
        (config.dns.port, config.dns.bind_addr) = (0, Some(host));
        let http = config.http.as_mut().unwrap();
        (http.port, http.bind_addr) = (port, Some(host));
        let https = config.https.as_mut().unwrap();
        (https.port, https.bind_addr) = (0, Some(host));
        (https.cert_mode, https.domains) = (CertMode::Manual, vec![host.to_string()]);
        match certificate {
            Some(Certificate { certificate, key }) => {
                let cache = folder.path().join("cert_cache");
                fs::create_dir(&cache).unwrap();
                fs::write(cache.join(format!("{host}.crt")), certificate).unwrap();
                fs::write(cache.join(format!("{host}.key")), key).unwrap();
            }
            None => config.https = None,
        }
        config.metrics = Some(MetricsConfig::disabled());
        config.pkarr_put_rate_limit = RateLimitConfig::Disabled;
        config.data_dir = Some(folder.path().to_owned());
        Self { server: Server::bind(config).await.unwrap(), _folder: folder }
    }

    pub(crate) fn nameserver(&self) -> SocketAddr {
        self.server.dns_addr()
    }

    /// As `--lookup` takes it.
    pub(crate) fn dns(&self) -> String {
        dns_lookup(self.nameserver())
    }

    /// As `--lookup` and `--publish` take it.
    pub(crate) fn pkarr(&self) -> String {
        pkarr(self.server.http_addr().unwrap())
    }

    /// The same over HTTPS.
    pub(crate) fn secure_pkarr(&self) -> String {
        format!("pkarr:https://{}/pkarr", self.server.https_addr().unwrap())
    }

    pub(crate) async fn stop(self) {
        self.server.shutdown().await.unwrap();
    }
}

pub(crate) fn dns_lookup(nameserver: SocketAddr) -> String {
    format!("dns:{ORIGIN}@{nameserver}")
}

pub(crate) fn pkarr(server: SocketAddr) -> String {
    format!("pkarr:http://{server}/pkarr")
}
