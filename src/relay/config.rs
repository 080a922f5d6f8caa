//! What a relay is told.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
};

use iroh::RelayUrl;

use super::{access::RelayAccess, tls};
use crate::config::ConfigError;

/// Where funnels look for QUIC address discovery: iroh's own choice.
pub const DEFAULT_QUIC_PORT: u16 = 7842;
/// A consortium has tens of peers; more than this at once is a mistake or an attack.
pub const DEFAULT_MAX_CLIENTS: NonZeroUsize = NonZeroUsize::new(1024).expect("it is not zero");

/// By what the relay proves who it is.
#[derive(Clone, Debug)]
pub enum RelayTls {
    /// A certificate chain and its key, in PEM files. They are read again once a day.
    Files {
        /// The certificate, and those between it and its authority.
        cert: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// A certificate for these names that a local CA has signed, kept beside this file and made if it is missing. Funnels
    /// need the CA's: see [`RelayServer::ca_file`](super::RelayServer::ca_file).
    Local {
        /// `NAME.tls.pem` and `NAME.ca.pem` stand beside it; it need not exist itself.
        beside: PathBuf,
        /// DNS names and addresses.
        names: Vec<String>,
    },
    /// Nothing: plain HTTP. Who is between a funnel and the relay sees who talks to whom, and the token.
    Plain,
}

/// What a [`RelayServer`](super::RelayServer) is made from. Made by [`builder`](Self::builder), which checks it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RelayServerConfig {
    /// The TCP address for clients. Default: every IPv4 interface, port 443, without TLS 80.
    pub listen: SocketAddr,
    /// The name or address by which clients know it. Default: the address it listens on.
    pub host: Option<String>,
    /// Its certificate.
    pub tls: RelayTls,
    /// The UDP port of QUIC address discovery, which needs TLS; clients look for it at 7842, the default.
    pub quic_port: u16,
    /// Who may use it. Default: nobody.
    pub access: RelayAccess,
    /// The most connections of clients at once. Default 1024. What has not said who it is within 30 s is closed, and not
    /// counted.
    pub max_clients: NonZeroUsize,
    /// How many bytes a second one client may send. Default: as many as it can.
    pub client_rate: Option<NonZeroU32>,
    /// Where metrics are served, for Prometheus, to whoever reaches it. Default: nowhere.
    pub metrics: Option<SocketAddr>,
}

impl RelayTls {
    /// A certificate of a local CA for a relay that is known as `host` and on this machine, kept beside `beside`.
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
            config: Self {
                listen: (Ipv4Addr::UNSPECIFIED, port).into(),
                host: None,
                tls,
                quic_port: DEFAULT_QUIC_PORT,
                access: RelayAccess::nobody(),
                max_clients: DEFAULT_MAX_CLIENTS,
                client_rate: None,
                metrics: None,
            },
            mistakes: Vec::new(),
        }
    }
}

/// Builds a [`RelayServerConfig`].
#[derive(Clone, Debug)]
#[must_use]
pub struct RelayServerConfigBuilder {
    config: RelayServerConfig,
    mistakes: Vec<String>,
}

impl RelayServerConfigBuilder {
    /// Sets [`RelayServerConfig::listen`].
    pub fn listen(mut self, listen: SocketAddr) -> Self {
        self.config.listen = listen;
        self
    }

    /// Sets [`RelayServerConfig::host`].
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.config.host = Some(host.into());
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

    /// Adds a mistake that was found while the values were read, so that it is reported with the others.
    pub fn mistake(mut self, mistake: impl fmt::Display) -> Self {
        self.mistakes.push(mistake.to_string());
        self
    }

    /// Checks everything, and reads the certificate's files.
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake.
    pub fn build(self) -> Result<RelayServerConfig, ConfigError> {
        let mut mistakes = self.mistakes;
        if self.config.access.is_nobody() {
            mistakes.push(
                "access: nobody may use this relay; let in who has a token (--token-file F), a roster (--roster F), peers \
                 by their id (--allow ID), or everybody (--open)"
                    .to_owned(),
            );
        }
        if let Some(host) = &self.config.host
            && format!("https://{host}:1").parse::<RelayUrl>().is_err()
        {
            mistakes.push(format!("host: {host:?} is no name or address"));
        }
        mistakes.extend(tls::mistakes(&self.config.tls));
        ConfigError::check(mistakes).map(|()| self.config)
    }
}
