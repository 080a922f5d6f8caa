//! What a funnel is told.

mod file;

use std::{error::Error, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use iroh::{EndpointAddr, EndpointId, RelayMode, SecretKey};

use crate::{
    access::AccessList,
    alpn::ALPN,
    forward::chain,
    identity,
    protocol::{Api, ApiSet},
    transport::CongestionControl,
    upstream::{Upstream, Upstreams},
};

/// Every interface, any port.
pub const DEFAULT_BIND_ADDR: &str = "0.0.0.0:0";
/// Where Flower clients look for gRPC; only this machine reaches it.
pub const DEFAULT_FLOWER_GRPC_ADDR: &str = "127.0.0.1:9092";
/// Longer than a heartbeat's 5 s, shorter than the patience of service managers.
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// TLS writes an ALPN's length in one byte.
const MAX_ALPN: usize = 255;

/// What a [`Funnel`](crate::Funnel) is made from. Made by [`builder`](Self::builder) or
/// [`from_toml`](Self::from_toml), which check it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FunnelConfig {
    /// The ALPN between funnels. Default [`ALPN`]; both ends must have the same.
    pub alpn: Vec<u8>,
    /// Which relays help where no direct path is found. Default: n0's public ones, meant for trying out.
    pub relay_mode: RelayMode,
    /// How fast links may send. Default: by path, which random loss does not slow down.
    pub congestion_control: CongestionControl,
    /// The UDP address of the iroh endpoint. Default: every interface, any port.
    pub bind_addr: SocketAddr,
    /// The TCP address on which local Flower clients reach the peer, gRPC and HTTP alike. Default `127.0.0.1:9092`.
    pub flower_grpc_addr: SocketAddr,
    /// This funnel's identity. Default: a new one each time.
    pub secret_key: Option<SecretKey>,
    /// What is offered to peers. Default: nothing.
    pub exposed: Option<Exposed>,
    /// The peers that local Flower clients reach, each on an address of its own.
    pub peers: Vec<PeerConfig>,
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
                congestion_control: CongestionControl::default(),
                bind_addr: parse(DEFAULT_BIND_ADDR),
                flower_grpc_addr: parse(DEFAULT_FLOWER_GRPC_ADDR),
                secret_key: None,
                exposed: None,
                peers: Vec::new(),
                drain_timeout: DEFAULT_DRAIN_TIMEOUT,
            },
            key_file: None,
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
            if self.secret_key.as_ref().is_some_and(|key| key.public() == peer.addr.id) {
                mistakes.push(format!(
                    "peer {}: that is this funnel itself; the other side needs a key of its own (--key-file)",
                    peer.label()
                ));
            }
        }
        if let Some(exposed) = &self.exposed
            && exposed.upstreams.is_empty()
        {
            mistakes.push("expose: no upstream is named".to_owned());
        }
        mistakes.extend(self.own_upstreams());
        mistakes
    }

    /// An upstream that is this funnel's own port would lead peers on to a third party, under this funnel's name.
    fn own_upstreams(&self) -> Option<String> {
        let exposed = self.exposed.as_ref()?;
        let own = self.peers.iter().map(|peer| self.listen_addr(peer)).find(|addr| exposed.upstreams.has(*addr))?;
        Some(format!("expose: the upstream at {own} is this funnel's own port for a peer; name the SuperLink's"))
    }

    /// Where local Flower clients reach `peer`.
    pub(crate) fn listen_addr(&self, peer: &PeerConfig) -> SocketAddr {
        peer.listen.unwrap_or(self.flower_grpc_addr)
    }
}

/// Builds a [`FunnelConfig`].
#[derive(Clone, Debug)]
#[must_use]
pub struct FunnelConfigBuilder {
    config: FunnelConfig,
    key_file: Option<PathBuf>,
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

    /// Reads [`FunnelConfig::secret_key`] from a file when the configuration is built, and creates it if absent.
    pub fn key_file(mut self, key_file: impl Into<PathBuf>) -> Self {
        self.key_file = Some(key_file.into());
        self
    }

    /// Whether a key or a file with it was named.
    pub fn has_key(&self) -> bool {
        self.key_file.is_some() || self.config.secret_key.is_some()
    }

    /// The peers named so far.
    pub fn peers(&self) -> &[PeerConfig] {
        &self.config.peers
    }

    /// Sets [`FunnelConfig::exposed`].
    pub fn expose(mut self, exposed: Exposed) -> Self {
        self.config.exposed = Some(exposed);
        self
    }

    /// Adds to [`FunnelConfig::peers`].
    pub fn peer(mut self, peer: PeerConfig) -> Self {
        self.config.peers.push(peer);
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

    /// Checks everything, and reads the key file if there is one.
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake.
    pub fn build(mut self) -> Result<FunnelConfig, ConfigError> {
        let mut mistakes = self.mistakes;
        let own: Vec<_> = self.config.peers.iter().map(|peer| self.config.listen_addr(peer)).collect();
        if let Some(exposed) = &mut self.config.exposed
            && exposed.looks_for_superlink
        {
            for addr in own {
                exposed.upstreams.remove(addr);
            }
        }
        match self.key_file.as_deref().map(identity::load_or_create) {
            Some(Ok(key)) => self.config.secret_key = Some(key),
            Some(Err(error)) => mistakes.push(format!("key file: {}", chain(&error))),
            None => {}
        }
        mistakes.extend(self.config.mistakes());
        if mistakes.is_empty() { Ok(self.config) } else { Err(ConfigError { mistakes }) }
    }
}

/// What is offered to peers: upstreams, and who may call them. Nobody may until told so.
#[derive(Clone, Debug, Default)]
pub struct Exposed {
    pub(crate) upstreams: Upstreams,
    pub(crate) access: AccessList,
    looks_for_superlink: bool,
}

impl Exposed {
    /// Nothing, to nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Offers a SuperLink on this machine at its default ports (8000, 9092, 9093), whatever its version.
    #[must_use]
    pub fn local_superlink(mut self) -> Self {
        self.upstreams = Upstreams::local_superlink();
        self.looks_for_superlink = true;
        self
    }

    /// Offers a SuperLink: `http://` serves all its APIs, `grpc://` its Fleet API.
    #[must_use]
    pub fn superlink(mut self, upstream: Upstream) -> Self {
        self.upstreams.add_superlink(&upstream);
        self
    }

    /// Names the upstream of one API, in the wire it speaks.
    #[must_use]
    pub fn upstream(mut self, api: Api, upstream: Upstream) -> Self {
        self.upstreams.add(api, upstream);
        self
    }

    /// Lets `peer` call `apis`.
    #[must_use]
    pub fn allow(mut self, peer: EndpointId, apis: impl IntoIterator<Item = Api>) -> Self {
        self.access.allow(peer, apis.into_iter().collect::<ApiSet>());
        self
    }

    /// Lets every peer call `apis`, whoever it is.
    #[must_use]
    pub fn allow_any(mut self, apis: impl IntoIterator<Item = Api>) -> Self {
        self.access.allow_any(apis.into_iter().collect::<ApiSet>());
        self
    }

    /// Whether upstreams were named.
    pub fn has_upstreams(&self) -> bool {
        !self.upstreams.is_empty()
    }
}

/// A peer that local Flower clients reach.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    pub(crate) name: Option<String>,
    pub(crate) addr: EndpointAddr,
    pub(crate) listen: Option<SocketAddr>,
}

impl PeerConfig {
    /// The peer at `addr`; an id alone is looked up when it is dialled.
    pub fn new(addr: impl Into<EndpointAddr>) -> Self {
        Self { name: None, addr: addr.into(), listen: None }
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Where local Flower clients reach it; [`FunnelConfig::flower_grpc_addr`] if not set.
    #[must_use]
    pub fn listen(mut self, listen: SocketAddr) -> Self {
        self.listen = Some(listen);
        self
    }

    /// The peer's id.
    pub fn id(&self) -> EndpointId {
        self.addr.id
    }

    /// The peer's address.
    pub fn addr(&self) -> &EndpointAddr {
        &self.addr
    }

    /// Whether it was given this name.
    pub fn has_name(&self, name: &str) -> bool {
        self.name.as_deref() == Some(name)
    }

    fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.addr.id.fmt_short().to_string())
    }
}

/// Every mistake in a configuration.
#[derive(Clone, Debug)]
pub struct ConfigError {
    mistakes: Vec<String>,
}

impl ConfigError {
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
