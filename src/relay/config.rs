//! The configuration of a relay.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
};

use iroh::RelayUrl;

use super::{access::RelayAccess, proxies::TrustedProxies, tls};
use crate::config::{ConfigError, Problems};

/// The UDP port where funnels expect QUIC address discovery: iroh's default.
pub const DEFAULT_QUIC_PORT: u16 = 7842;
/// The default of [`RelayServerConfig::max_clients`]. A consortium has tens of peers; more than this at once is a mistake or
/// an attack.
pub const DEFAULT_MAX_CLIENTS: NonZeroUsize = NonZeroUsize::new(1024).expect("it is not zero");

/// The certificate that a relay authenticates itself with.
#[derive(Clone, Debug)]
pub enum RelayTls {
    /// A certificate chain and its key, in PEM files. They are reloaded once a day.
    Files {
        /// The certificate, and those between it and its CA.
        cert: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// A certificate for these names that a local CA signs, stored beside this file and made if it is missing. Funnels
    /// need the CA's: see [`RelayServer::ca_file`](super::RelayServer::ca_file).
    Local {
        /// `NAME.tls.pem` and `NAME.ca.pem` are stored beside it; the file itself need not exist.
        beside: PathBuf,
        /// DNS names and addresses.
        names: Vec<String>,
    },
    /// None: plain HTTP. Anybody on the path between a funnel and the relay sees which peers communicate, and the token.
    Plain,
}

/// The configuration of a [`RelayServer`](super::RelayServer). [`builder`](Self::builder) makes and checks it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RelayServerConfig {
    /// The TCP address for clients. Default: every IPv4 interface, or every interface if the host is an IPv6 address; port
    /// 443, without TLS 80.
    pub listen: SocketAddr,
    /// The name or address that clients use. Default: the address it listens on. With TLS a name or an IPv4
    /// address: iroh 1.4 cannot check a certificate for an IPv6 address.
    pub host: Option<String>,
    /// Its certificate.
    pub tls: RelayTls,
    /// The UDP port of QUIC address discovery, which needs TLS; clients look for it at 7842, the default.
    pub quic_port: u16,
    /// The peers that may use it. Default: none.
    pub access: RelayAccess,
    /// The most connections of clients at once. Default 1024. Those that are not authenticated yet have a limit of their own,
    /// 128, and 10 s; past it, the one that has been idle longest of the address with the most gives way.
    pub max_clients: NonZeroUsize,
    /// How many bytes per second one client may send. Default: unlimited.
    pub client_rate: Option<NonZeroU32>,
    /// The address where metrics for Prometheus are served, without access control. Default: none.
    pub metrics: Option<SocketAddr>,
    /// The proxies whose connections begin with a header of the PROXY protocol, version 1 or 2, which gives the address of the
    /// client. Default: none; such a header of anybody else is not read.
    pub proxy_protocol: TrustedProxies,
    /// The HTTP proxies whose `X-Forwarded-For` gives the address of the client. Default: none; that of anybody else is
    /// ignored.
    pub trust_forwarded: TrustedProxies,
}

impl RelayTls {
    /// A certificate of a local CA for `host` and this machine's own names, stored beside `beside`.
    pub fn local(beside: impl Into<PathBuf>, host: &str) -> Self {
        let mut names = crate::tls::names([]);
        if !names.iter().any(|name| name == host) {
            names.push(host.to_owned());
        }
        Self::Local { beside: beside.into(), names }
    }
}

impl RelayServerConfig {
    /// Starts from the defaults.
    pub fn builder(tls: RelayTls) -> RelayServerConfigBuilder {
        let port = if matches!(tls, RelayTls::Plain) { 80 } else { 443 };
        RelayServerConfigBuilder {
            listen: None,
            config: Self {
                listen: (Ipv4Addr::UNSPECIFIED, port).into(),
                host: None,
                tls,
                quic_port: DEFAULT_QUIC_PORT,
                access: RelayAccess::nobody(),
                max_clients: DEFAULT_MAX_CLIENTS,
                client_rate: None,
                metrics: None,
                proxy_protocol: TrustedProxies::default(),
                trust_forwarded: TrustedProxies::default(),
            },
            problems: Problems::default(),
        }
    }
}

impl RelayServerConfig {
    /// Explains why clients could not verify the certificate, if they could not.
    fn unverifiable(&self) -> Option<String> {
        let known_as = match &self.host {
            Some(host) => host.parse().ok()?,
            None => self.listen.ip(),
        };
        let is_checked = !matches!(self.tls, RelayTls::Plain);
        (is_checked && known_as.is_ipv6()).then(|| {
            format!(
                "host: iroh 1.4 cannot check a certificate for an IPv6 address ({known_as}); give the relay a name, which \
                 may resolve to that address, or an IPv4 address: --host HOST"
            )
        })
    }
}

/// Formats a host for a URL.
pub(super) fn authority(host: &str) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(ip) => format!("[{ip}]"),
        Err(_) => host.to_owned(),
    }
}

/// Builds a [`RelayServerConfig`].
#[derive(Clone, Debug)]
#[must_use]
pub struct RelayServerConfigBuilder {
    listen: Option<SocketAddr>,
    config: RelayServerConfig,
    problems: Problems,
}

impl RelayServerConfigBuilder {
    /// Sets [`RelayServerConfig::listen`].
    pub fn listen(mut self, listen: SocketAddr) -> Self {
        self.listen = Some(listen);
        self
    }

    /// Sets [`RelayServerConfig::host`]. An IPv6 address may be in brackets.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        let host = host.into();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        self.config.host = Some(bare.map_or(host.clone(), str::to_owned));
        self
    }

    /// Sets [`RelayServerConfig::quic_port`].
    pub fn quic_port(mut self, quic_port: u16) -> Self {
        self.config.quic_port = quic_port;
        self
    }

    /// Sets [`RelayServerConfig::access`].
    pub fn access(mut self, access: RelayAccess) -> Self {
        self.config.access = access;
        self
    }

    /// Sets [`RelayServerConfig::max_clients`].
    pub fn max_clients(mut self, max_clients: NonZeroUsize) -> Self {
        self.config.max_clients = max_clients;
        self
    }

    /// Sets [`RelayServerConfig::client_rate`].
    pub fn client_rate(mut self, client_rate: NonZeroU32) -> Self {
        self.config.client_rate = Some(client_rate);
        self
    }

    /// Sets [`RelayServerConfig::metrics`].
    pub fn metrics(mut self, metrics: SocketAddr) -> Self {
        self.config.metrics = Some(metrics);
        self
    }

    /// Adds to [`RelayServerConfig::proxy_protocol`].
    pub fn proxy_protocol(mut self, proxies: TrustedProxies) -> Self {
        self.config.proxy_protocol = self.config.proxy_protocol.and(proxies);
        self
    }

    /// Adds to [`RelayServerConfig::trust_forwarded`].
    pub fn trust_forwarded(mut self, proxies: TrustedProxies) -> Self {
        self.config.trust_forwarded = self.config.trust_forwarded.and(proxies);
        self
    }

    /// Adds a mistake that was found while reading the values, so that it is reported with the others.
    pub fn mistake(mut self, mistake: impl fmt::Display) -> Self {
        self.problems.mistake(mistake.to_string());
        self
    }

    /// Adds a trouble, a file that could not be read while reading the values, so that it is reported with the mistakes.
    pub fn trouble(mut self, trouble: impl fmt::Display) -> Self {
        self.problems.add(trouble.to_string(), false);
        self
    }

    /// Checks the configuration, and reads the certificate's files.
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake.
    pub fn build(mut self) -> Result<RelayServerConfig, ConfigError> {
        let mut problems = self.problems;
        let host: Option<IpAddr> = self.config.host.as_ref().and_then(|host| host.parse().ok());
        match self.listen {
            Some(listen) => self.config.listen = listen,
            None if host.is_some_and(|host| host.is_ipv6()) => self.config.listen.set_ip(Ipv6Addr::UNSPECIFIED.into()),
            None => {}
        }
        if self.config.access.is_nobody() && !problems.has_trouble() {
            problems.mistake(
                "access: no peer may use this relay; admit peers that have a token (--token-file F), that are on a roster \
                 (--roster F), by their id (--allow ID), or all (--open)"
                    .to_owned(),
            );
        }
        if let Some(host) = &self.config.host
            && format!("https://{}:1", authority(host)).parse::<RelayUrl>().is_err()
        {
            problems.mistake(format!("host: {host:?} is not a name or an address"));
        }
        problems.extend(self.config.unverifiable());
        problems.append(tls::problems(&self.config.tls));
        problems.check().map(|()| self.config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(tls: RelayTls, host: &str) -> Result<RelayServerConfig, ConfigError> {
        RelayServerConfig::builder(tls).host(host).access(RelayAccess::nobody().everybody()).build()
    }

    #[test]
    fn a_relay_with_an_ipv6_address_listens_there() {
        for host in ["2001:db8::1", "[2001:db8::1]"] {
            let config = built(RelayTls::Plain, host).unwrap();
            assert_eq!(config.listen, "[::]:80".parse().unwrap());
            assert_eq!(authority(&config.host.unwrap()), "[2001:db8::1]");
        }
        for host in ["relay.example.org", "192.0.2.1"] {
            assert_eq!(built(RelayTls::Plain, host).unwrap().listen, "0.0.0.0:80".parse().unwrap());
        }
        for host in ["[relay.example.org", "2001:db8::1:", "a b"] {
            assert!(built(RelayTls::Plain, host).is_err(), "{host}");
        }
    }

    #[test]
    fn a_certificate_for_an_ipv6_address_is_a_mistake() {
        let error = built(RelayTls::local("relay", "::1"), "::1").unwrap_err().to_string();
        assert!(error.contains("IPv6") && error.contains("--host"), "{error}");
        let listening = RelayServerConfig::builder(RelayTls::local("relay", "localhost"))
            .listen("[::1]:443".parse().unwrap())
            .access(RelayAccess::nobody().everybody());
        assert!(listening.clone().build().is_err());
        assert!(listening.host("localhost").build().is_ok());
    }
}
