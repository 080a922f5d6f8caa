//! Builds a configuration, and reports every mistake in it together.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use iroh::{RelayMode, SecretKey};

use super::{CallLimits, ConfigError, Exposed, FunnelConfig, PeerConfig, Problems, Relay, lookups::Chosen};
use crate::transport::{CongestionControl, IncomingLimits};

/// Builds a [`FunnelConfig`].
#[derive(Clone, Debug)]
#[must_use]
pub struct FunnelConfigBuilder {
    pub(super) config: FunnelConfig,
    pub(super) chosen: Chosen,
    problems: Problems,
    missing_ticket_files: Vec<PathBuf>,
}

impl FunnelConfigBuilder {
    pub(super) fn new(config: FunnelConfig) -> Self {
        Self { config, chosen: Chosen::default(), problems: Problems::default(), missing_ticket_files: Vec::new() }
    }

    /// Sets [`FunnelConfig::alpn`].
    pub fn alpn(mut self, alpn: impl Into<Vec<u8>>) -> Self {
        self.config.alpn = alpn.into();
        self
    }

    /// Sets [`FunnelConfig::relay_mode`].
    pub fn relay_mode(mut self, relay_mode: RelayMode) -> Self {
        self.config.relay_mode = relay_mode;
        self
    }

    /// Sets [`FunnelConfig::relay_mode`] from text: each item is parsed as a [`Relay`]. `place` is the prefix of mistakes,
    /// for instance `--relay`.
    pub fn relays<T: AsRef<str>>(mut self, texts: impl IntoIterator<Item = T>, place: &str) -> Self {
        let mut relays = Vec::new();
        for text in texts {
            match text.as_ref().parse::<Relay>() {
                Ok(relay) => relays.push(relay),
                Err(error) => self = self.problem(format_args!("{place} {error}"), error.is_mistake()),
            }
        }
        match Relay::mode(relays) {
            Ok(relay_mode) => self.relay_mode(relay_mode),
            Err(error) => self.mistake(format_args!("{place} {error}")),
        }
    }

    /// Sets [`FunnelConfig::allow_http_relay`].
    pub fn allow_http_relay(mut self) -> Self {
        self.config.allow_http_relay = true;
        self
    }

    /// Adds to [`FunnelConfig::relay_ca_files`].
    pub fn relay_ca_file(mut self, relay_ca_file: impl Into<PathBuf>) -> Self {
        self.config.relay_ca_files.push(relay_ca_file.into());
        self
    }

    /// Sets [`FunnelConfig::congestion_control`].
    pub fn congestion_control(mut self, congestion_control: CongestionControl) -> Self {
        self.config.congestion_control = congestion_control;
        self
    }

    /// Sets [`FunnelConfig::bind_addr`].
    pub fn bind_addr(mut self, bind_addr: SocketAddr) -> Self {
        self.config.bind_addr = bind_addr;
        self
    }

    /// Sets [`FunnelConfig::flower_grpc_addr`].
    pub fn flower_grpc_addr(mut self, flower_grpc_addr: SocketAddr) -> Self {
        self.config.flower_grpc_addr = flower_grpc_addr;
        self
    }

    /// Adds to [`FunnelConfig::listen_names`].
    pub fn listen_name(mut self, listen_name: impl Into<String>) -> Self {
        self.config.listen_names.push(listen_name.into());
        self
    }

    /// Sets [`FunnelConfig::secret_key`].
    pub fn secret_key(mut self, secret_key: SecretKey) -> Self {
        self.config.secret_key = Some(secret_key);
        self
    }

    /// Sets [`FunnelConfig::key_file`].
    pub fn key_file(mut self, key_file: impl Into<PathBuf>) -> Self {
        self.config.key_file = Some(key_file.into());
        self
    }

    /// Returns what has been exposed so far.
    pub fn exposed(&self) -> Option<&Exposed> {
        self.config.exposed.as_ref()
    }

    /// Returns the path of the key file, if one is set.
    pub fn key_file_path(&self) -> Option<&Path> {
        self.config.key_file.as_deref()
    }

    /// Sets [`FunnelConfig::state_dir`].
    pub fn state_dir(mut self, state_dir: impl Into<PathBuf>) -> Self {
        self.config.state_dir = Some(state_dir.into());
        self
    }

    /// Returns the path beside which state is kept: the key file, if one is set, or that name in
    /// [`FunnelConfig::state_dir`].
    pub fn state_path(&self) -> Option<PathBuf> {
        self.config.state_path()
    }

    /// Sets [`FunnelConfig::local_tls`].
    pub fn local_tls(mut self) -> Self {
        self.config.local_tls = true;
        self
    }

    /// Whether a key or a key file is set.
    pub fn has_key(&self) -> bool {
        self.config.key_file.is_some() || self.config.secret_key.is_some()
    }

    /// Returns the peers added so far.
    pub fn peers(&self) -> &[PeerConfig] {
        &self.config.peers
    }

    /// Sets [`FunnelConfig::incoming_limits`].
    pub fn incoming_limits(mut self, incoming_limits: IncomingLimits) -> Self {
        self.config.incoming_limits = incoming_limits;
        self
    }

    /// Sets [`FunnelConfig::call_limits`].
    pub fn call_limits(mut self, call_limits: CallLimits) -> Self {
        self.config.call_limits = call_limits;
        self
    }

    /// Sets [`FunnelConfig::exposed`].
    pub fn expose(mut self, exposed: Exposed) -> Self {
        self.config.exposed = Some(exposed);
        self
    }

    /// Adds to [`FunnelConfig::peers`].
    pub fn peer(mut self, peer: impl Into<PeerConfig>) -> Self {
        self.config.peers.push(peer.into());
        self
    }

    /// Sets [`FunnelConfig::drain_timeout`].
    pub fn drain_timeout(mut self, drain_timeout: Duration) -> Self {
        self.config.drain_timeout = drain_timeout;
        self
    }

    /// Adds a mistake that was found while reading the values, so that it is reported with the others.
    pub fn mistake(self, mistake: impl fmt::Display) -> Self {
        self.problem(mistake, true)
    }

    /// Adds a trouble, a file that could not be read while reading the values, so that it is reported with the mistakes.
    pub fn trouble(self, trouble: impl fmt::Display) -> Self {
        self.problem(trouble, false)
    }

    pub(super) fn problem(mut self, problem: impl fmt::Display, is_mistake: bool) -> Self {
        self.problems.add(problem.to_string(), is_mistake);
        self
    }

    pub(super) fn with_problems(mut self, problems: Problems) -> Self {
        self.problems.append(problems);
        self
    }

    /// Returns the ticket files (`@FILE`) of peers in a configuration file that do not exist yet. Each is a trouble too: wait
    /// until it exists, and parse the configuration file again.
    pub fn missing_ticket_files(&self) -> &[PathBuf] {
        &self.missing_ticket_files
    }

    pub(super) fn missing_ticket_file(mut self, path: PathBuf) -> Self {
        self.missing_ticket_files.push(path);
        self
    }

    /// Returns the builder if it has no mistakes so far. Reads no files, and does not check whether values fit together.
    ///
    /// # Errors
    /// [`ConfigError`] with the mistakes and troubles so far.
    pub fn without_mistakes(self) -> Result<Self, ConfigError> {
        self.problems.clone().check().map(|()| self)
    }

    /// Checks the configuration. The key, certificate and CA files are read later, by
    /// [`Funnel::new`](crate::Funnel::new).
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake.
    pub fn build(self) -> Result<FunnelConfig, ConfigError> {
        self.with_defaults().check()
    }

    fn check(mut self) -> Result<FunnelConfig, ConfigError> {
        let mut problems = self.problems;
        let own: Vec<_> = self.config.peers.iter().map(|peer| self.config.listen_addr(peer)).collect();
        if let Some(exposed) = &mut self.config.exposed
            && exposed.looks_for_superlink
        {
            for addr in own {
                exposed.upstreams.remove(addr);
            }
        }
        // Without a file that could not be read, values may seem not to fit together.
        if !problems.has_trouble() {
            problems.extend(self.config.mistakes());
        }
        problems.check().map(|()| self.config)
    }
}
