//! What a funnel is told.

mod exposed;
mod file;
mod lookups;
mod peer;
mod relay;
mod relay_authorities;
mod relay_token;

use std::{
    error::Error,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use iroh::{RelayMode, SecretKey};

use self::lookups::Chosen;
pub(crate) use self::relay_authorities::RelayAuthorities;
#[cfg(feature = "relay")]
pub(crate) use self::relay_token::Match;
pub use self::{
    exposed::{AuditLog, Exposed},
    peer::PeerConfig,
    relay::{InvalidRelay, Relay},
    relay_token::{InvalidRelayToken, RelayToken},
};
use crate::{
    ALPN,
    address_lookup::{Lookup, Publication},
    admission::enrolment::ALPN_SUFFIX,
    transport::{CongestionControl, IncomingLimits},
};

/// Every interface, any port.
pub const DEFAULT_BIND_ADDR: &str = "0.0.0.0:0";
/// Where Flower clients look for gRPC; only this machine reaches it.
pub const DEFAULT_FLOWER_GRPC_ADDR: &str = "127.0.0.1:9092";
/// Longer than a heartbeat's 5 s, shorter than the patience of service managers.
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// TLS writes an ALPN's length in one byte, and enrolments have a longer one.
const MAX_ALPN: usize = 255 - ALPN_SUFFIX.len();

fn default_limits() -> IncomingLimits {
    IncomingLimits { max_sessions_per_peer: 64, ..IncomingLimits::default() }
}

/// What a [`Funnel`](crate::Funnel) is made from. Made by [`builder`](Self::builder) or
/// [`from_toml`](Self::from_toml), which check it.
#[derive(Clone)]
#[non_exhaustive]
pub struct FunnelConfig {
    /// The ALPN between funnels. Default [`ALPN`]; both ends must have the same.
    pub alpn: Vec<u8>,
    /// Which relays help where no direct path is found. Default: n0's public ones, meant for trying out.
    pub relay_mode: RelayMode,
    /// Who is asked where a peer is. Default: n0 where the relays are n0's, else nobody; a peer then needs an address, as in
    /// a ticket.
    pub lookups: Vec<Lookup>,
    /// Where it is published where this funnel is. Default: the relay's URL at n0, where something is exposed and relays and
    /// lookups were not chosen, else nowhere.
    pub publications: Vec<Publication>,
    /// PEM files with certificate authorities that may sign the certificates of relays and pkarr servers, besides the
    /// public ones. [`Funnel::new`](crate::Funnel::new) reads them.
    pub relay_ca_files: Vec<PathBuf>,
    /// How fast links may send. Default: by path, which random loss does not slow down.
    pub congestion_control: CongestionControl,
    /// The UDP address of the iroh endpoint. Default: every interface, any port.
    pub bind_addr: SocketAddr,
    /// The TCP address on which local Flower clients reach the peer, gRPC and HTTP alike. Default `127.0.0.1:9092`.
    pub flower_grpc_addr: SocketAddr,
    /// This funnel's identity, unless there is a key file. Default: a new one each time.
    pub secret_key: Option<SecretKey>,
    /// The file with this funnel's identity. [`Funnel::new`](crate::Funnel::new) reads it, and creates it if it is absent.
    pub key_file: Option<PathBuf>,
    /// What peers may open at once. Default: see there, but 64 sessions a peer: two links with 17 lanes each, and some more.
    pub incoming_limits: IncomingLimits,
    /// What is offered to peers. Default: nothing.
    pub exposed: Option<Exposed>,
    /// The peers that local Flower clients reach, each on an address of its own.
    pub peers: Vec<PeerConfig>,
    /// Whether local Flower clients connect with TLS. [`Funnel::new`](crate::Funnel::new) reads the certificate from files
    /// beside the key file, and creates them if they are absent or no longer valid. Default: no, as only this machine reaches
    /// the port.
    pub local_tls: bool,
    /// How long calls under way may take when the funnel stops. Default 10 s.
    pub drain_timeout: Duration,
}

impl FunnelConfig {
    /// Starts from the defaults.
    pub fn builder() -> FunnelConfigBuilder {
        let parse = |addr: &str| addr.parse().expect("the constants are addresses");
        FunnelConfigBuilder {
            config: Self {
                alpn: ALPN.to_vec(),
                relay_mode: RelayMode::Default,
                lookups: Vec::new(),
                publications: Vec::new(),
                relay_ca_files: Vec::new(),
                congestion_control: CongestionControl::default(),
                bind_addr: parse(DEFAULT_BIND_ADDR),
                flower_grpc_addr: parse(DEFAULT_FLOWER_GRPC_ADDR),
                secret_key: None,
                key_file: None,
                incoming_limits: default_limits(),
                exposed: None,
                peers: Vec::new(),
                local_tls: false,
                drain_timeout: DEFAULT_DRAIN_TIMEOUT,
            },
            chosen: Chosen::default(),
            mistakes: Vec::new(),
        }
    }

    /// Reads the text of a configuration file; `docs/configuration.md` lists its keys. What it does not say can be said
    /// of the builder, before [`build`](FunnelConfigBuilder::build) reports every mistake in both.
    pub fn from_toml(text: &str) -> FunnelConfigBuilder {
        file::read(text)
    }

    fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if self.alpn.is_empty() || self.alpn.len() > MAX_ALPN {
            mistakes.push(format!("alpn: it has {} bytes; 1 to {MAX_ALPN} are possible", self.alpn.len()));
        }
        for (index, peer) in self.peers.iter().enumerate() {
            let listen = self.listen_addr(peer);
            let earlier = self.peers[..index].iter().find(|earlier| self.listen_addr(earlier) == listen);
            if let (Some(earlier), true) = (earlier, listen.port() != 0) {
                mistakes.push(format!(
                    "peer {}: it would listen on {listen}, as peer {} does; give each a listen address of its own",
                    peer.label(),
                    earlier.label()
                ));
            }
        }
        mistakes.extend(self.secret_key.iter().flat_map(|key| self.peers_with_key(key)));
        if self.local_tls && self.key_file.is_none() {
            mistakes.push("local_tls: no key file is set, beside which its certificate is kept".to_owned());
        }
        if let Some(exposed) = &self.exposed {
            if exposed.upstreams.is_empty() {
                mistakes.push("expose: no upstream is named".to_owned());
            }
            mistakes.extend(exposed.untold_trust());
            if exposed.passthrough.is_none() && exposed.access.passthroughs() > 0 {
                mistakes.push(
                    "expose: a peer may pass bytes through, and where to is not named: --passthrough HOST:PORT, or \
                     passthrough in [expose]"
                        .to_owned(),
                );
            }
        }
        mistakes.extend(self.empty_publications());
        mistakes.extend(self.own_upstreams());
        mistakes
    }

    /// The mistake of each peer that is this funnel itself.
    pub(crate) fn peers_with_key(&self, key: &SecretKey) -> Vec<String> {
        let own = self.peers.iter().filter(|peer| peer.addr.id == key.public());
        own.map(|peer| {
            format!(
                "peer {}: that is this funnel itself; the other side needs a key of its own (--key-file)",
                peer.label()
            )
        })
        .collect()
    }

    /// An upstream that is this funnel's own port would lead peers on to a third party, under this funnel's name.
    fn own_upstreams(&self) -> Option<String> {
        let exposed = self.exposed.as_ref()?;
        let leads_to = |addr: &SocketAddr| {
            let target = exposed.passthrough.as_ref().map(ToString::to_string);
            exposed.upstreams.has(*addr) || target.is_some_and(|target| target.parse() == Ok(*addr))
        };
        let own = self.peers.iter().map(|peer| self.listen_addr(peer)).find(leads_to)?;
        Some(format!("expose: the upstream at {own} is this funnel's own port for a peer; name the SuperLink's"))
    }

    /// Where local Flower clients reach `peer`.
    pub(crate) fn listen_addr(&self, peer: &PeerConfig) -> SocketAddr {
        peer.listen.unwrap_or(self.flower_grpc_addr)
    }
}

/// Relays are shown by their URLs: iroh's own text has their tokens in it.
impl fmt::Debug for FunnelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunnelConfig")
            .field("alpn", &self.alpn)
            .field("relays", &self.relay_mode.relay_map().urls::<Vec<_>>())
            .field("lookups", &self.lookups)
            .field("publications", &self.publications)
            .field("bind_addr", &self.bind_addr)
            .field("flower_grpc_addr", &self.flower_grpc_addr)
            .field("exposed", &self.exposed)
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}

/// Builds a [`FunnelConfig`].
#[derive(Clone, Debug)]
#[must_use]
pub struct FunnelConfigBuilder {
    config: FunnelConfig,
    chosen: Chosen,
    mistakes: Vec<String>,
}

impl FunnelConfigBuilder {
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

    /// Sets [`FunnelConfig::relay_mode`] from what an operator wrote, each a [`Relay`]; `place` begins what is said of a
    /// mistake.
    pub fn relays<T: AsRef<str>>(mut self, texts: impl IntoIterator<Item = T>, place: &str) -> Self {
        let mut relays = Vec::new();
        for text in texts {
            match text.as_ref().parse::<Relay>() {
                Ok(relay) => relays.push(relay),
                Err(error) => self = self.mistake(format_args!("{place} {error}")),
            }
        }
        match Relay::mode(relays) {
            Ok(relay_mode) => self.relay_mode(relay_mode),
            Err(error) => self.mistake(format_args!("{place} {error}")),
        }
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

    /// What is exposed so far.
    pub fn exposed(&self) -> Option<&Exposed> {
        self.config.exposed.as_ref()
    }

    /// Where the key is read from.
    pub fn key_file_path(&self) -> Option<&Path> {
        self.config.key_file.as_deref()
    }

    /// Sets [`FunnelConfig::local_tls`].
    pub fn local_tls(mut self) -> Self {
        self.config.local_tls = true;
        self
    }

    /// Whether a key or a file with it was named.
    pub fn has_key(&self) -> bool {
        self.config.key_file.is_some() || self.config.secret_key.is_some()
    }

    /// The peers named so far.
    pub fn peers(&self) -> &[PeerConfig] {
        &self.config.peers
    }

    /// Sets [`FunnelConfig::incoming_limits`].
    pub fn incoming_limits(mut self, incoming_limits: IncomingLimits) -> Self {
        self.config.incoming_limits = incoming_limits;
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

    /// Adds a mistake that was found while the values were read, so that it is reported with the others.
    pub fn mistake(mut self, mistake: impl fmt::Display) -> Self {
        self.mistakes.push(mistake.to_string());
        self
    }

    /// Ends here if what was read so far has mistakes. Reads no file, and does not check what fits together.
    ///
    /// # Errors
    /// [`ConfigError`] with the mistakes so far.
    pub fn without_mistakes(self) -> Result<Self, ConfigError> {
        ConfigError::check(self.mistakes.clone()).map(|()| self)
    }

    /// Checks everything but the files that are named: those are read by [`Funnel::new`](crate::Funnel::new).
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake.
    pub fn build(self) -> Result<FunnelConfig, ConfigError> {
        self.decide().check()
    }

    fn check(mut self) -> Result<FunnelConfig, ConfigError> {
        let mut mistakes = self.mistakes;
        let own: Vec<_> = self.config.peers.iter().map(|peer| self.config.listen_addr(peer)).collect();
        if let Some(exposed) = &mut self.config.exposed
            && exposed.looks_for_superlink
        {
            for addr in own {
                exposed.upstreams.remove(addr);
            }
        }
        mistakes.extend(self.config.mistakes());
        ConfigError::check(mistakes).map(|()| self.config)
    }
}

/// Every mistake in a configuration.
#[derive(Clone, Debug)]
pub struct ConfigError {
    mistakes: Vec<String>,
}

impl ConfigError {
    /// Nothing where there is no mistake.
    pub(crate) fn check(mistakes: Vec<String>) -> Result<(), Self> {
        if mistakes.is_empty() { Ok(()) } else { Err(Self { mistakes }) }
    }

    /// One line for each.
    pub fn mistakes(&self) -> &[String] {
        &self.mistakes
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mistakes.as_slice() {
            [mistake] => write!(f, "a mistake in the configuration: {mistake}"),
            mistakes => {
                write!(f, "{} mistakes in the configuration:", mistakes.len())?;
                mistakes.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
            }
        }
    }
}

impl Error for ConfigError {}
