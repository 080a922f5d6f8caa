//! The configuration of a funnel: plain data, from a builder or a file.

mod builder;
mod call_limits;
mod error;
mod exposed;
mod file;
mod grant;
mod lookups;
mod peer;
mod relay;
mod relay_authorities;
mod relay_token;

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use iroh::{RelayMode, SecretKey};

#[cfg(feature = "relay")]
pub(crate) use self::relay_token::Match;
pub use self::{
    builder::FunnelConfigBuilder,
    call_limits::CallLimits,
    error::ConfigError,
    exposed::{AuditLog, Exposed},
    grant::{Grant, InvalidGrant},
    peer::PeerConfig,
    relay::{InvalidRelay, Relay},
    relay_token::{InvalidRelayToken, RelayToken},
};
pub(crate) use self::{error::Problems, relay_authorities::RelayAuthorities};
use crate::{
    ALPN,
    address_lookup::{Lookup, PeerRelays, Publication, shown},
    admission::enrolment::ALPN_SUFFIX,
    transport::{CongestionControl, IncomingLimits},
};

/// The default of [`FunnelConfig::bind_addr`]: every interface, any port.
pub const DEFAULT_BIND_ADDR: &str = "0.0.0.0:0";
/// The default of [`FunnelConfig::flower_grpc_addr`]: the address that Flower's clients dial by default. Only this machine
/// reaches it.
pub const DEFAULT_FLOWER_GRPC_ADDR: &str = "127.0.0.1:9092";
/// The default of [`FunnelConfig::drain_timeout`]: longer than a heartbeat may take (5 s), shorter than the time that service
/// managers allow for a stop.
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest name of a host, in characters.
const MAX_LISTEN_NAME: usize = 253;
/// The longest ALPN, in bytes: TLS encodes the length in one byte, and the ALPN of enrolments adds a suffix.
const MAX_ALPN: usize = 255 - ALPN_SUFFIX.len();

fn default_limits() -> IncomingLimits {
    IncomingLimits { max_sessions_per_peer: 64, ..IncomingLimits::default() }
}

/// The configuration of a [`Funnel`](crate::Funnel). Build it with [`builder`](Self::builder) or
/// [`from_toml`](Self::from_toml), which check it.
#[derive(Clone)]
#[non_exhaustive]
pub struct FunnelConfig {
    /// The ALPN of the tunnel, which must be the same at both ends. Default: [`ALPN`].
    pub alpn: Vec<u8>,
    /// The relays for peers without a direct path. Default: n0's public relays, which are meant for evaluation.
    pub relay_mode: RelayMode,
    /// Whether a peer's relay may be dialled without TLS, although it is not one of [`relay_mode`](Self::relay_mode): a ticket
    /// could then have this machine send a request to any host and port. Default: false.
    pub allow_http_relay: bool,
    /// The address lookup services for peers. Default: n0's if the relays are n0's, otherwise none; a peer then needs an
    /// address, as in a ticket.
    pub lookups: Vec<Lookup>,
    /// Where to publish this funnel's address. Default: the relay's URL at n0, if upstreams are exposed, the relays are n0's
    /// and no lookups are set; otherwise nowhere.
    pub publications: Vec<Publication>,
    /// PEM files with the CAs that are trusted for relays and pkarr servers, in addition to the public ones.
    /// [`Funnel::new`](crate::Funnel::new) reads them.
    pub relay_ca_files: Vec<PathBuf>,
    /// The congestion control of links. Default: chosen by path, so that random loss does not slow it down.
    pub congestion_control: CongestionControl,
    /// The UDP address of the iroh endpoint. Default: every interface, any port.
    pub bind_addr: SocketAddr,
    /// The TCP address on which local Flower clients reach the peer, gRPC and HTTP alike. Default `127.0.0.1:9092`.
    pub flower_grpc_addr: SocketAddr,
    /// The names by which local Flower clients dial this funnel, in addition to IP addresses, `localhost` and names without a
    /// dot. Other names are refused, since a web page could have made them lead here. Default: none.
    pub listen_names: Vec<String>,
    /// The secret key, unless a key file is set. Default: a new one for each funnel.
    pub secret_key: Option<SecretKey>,
    /// The file with the secret key. [`Funnel::new`](crate::Funnel::new) reads it, and creates it if it is absent.
    pub key_file: Option<PathBuf>,
    /// The folder for everything that is kept beside the key file otherwise: locks, the control socket, the local certificate,
    /// and by default the roster and the audit log. For a key in a folder that cannot be written. Default: the key file's
    /// folder.
    pub state_dir: Option<PathBuf>,
    /// The limits on links and sessions that peers open. Default: those of [`IncomingLimits`], except 64 sessions per peer:
    /// two links with 17 lanes each, and some to spare.
    pub incoming_limits: IncomingLimits,
    /// The limits of the calls that peers make. Default: those of [`CallLimits`].
    pub call_limits: CallLimits,
    /// The upstreams that peers may call. Default: none.
    pub exposed: Option<Exposed>,
    /// The peers that local Flower clients reach, each on its own address.
    pub peers: Vec<PeerConfig>,
    /// Whether local Flower clients connect with TLS. [`Funnel::new`](crate::Funnel::new) reads the certificate from files
    /// beside the key file, and creates them if they are absent or no longer valid. Default: false, as only this machine
    /// reaches the port.
    pub local_tls: bool,
    /// How long calls in progress may take to finish when the funnel stops. Default: 10 s.
    pub drain_timeout: Duration,
}

impl FunnelConfig {
    /// Starts from the defaults.
    pub fn builder() -> FunnelConfigBuilder {
        FunnelConfigBuilder::new(Self::defaults())
    }

    /// Parses the text of a configuration file; `docs/configuration.md` lists its keys. The returned builder can set further
    /// values or override them; [`build`](FunnelConfigBuilder::build) reports the mistakes of both.
    pub fn from_toml(text: &str) -> FunnelConfigBuilder {
        file::read(text)
    }

    fn defaults() -> Self {
        let parse = |addr: &str| addr.parse().expect("the constants are addresses");
        Self {
            alpn: ALPN.to_vec(),
            relay_mode: RelayMode::Default,
            allow_http_relay: false,
            lookups: Vec::new(),
            publications: Vec::new(),
            relay_ca_files: Vec::new(),
            congestion_control: CongestionControl::default(),
            bind_addr: parse(DEFAULT_BIND_ADDR),
            flower_grpc_addr: parse(DEFAULT_FLOWER_GRPC_ADDR),
            listen_names: Vec::new(),
            secret_key: None,
            key_file: None,
            state_dir: None,
            incoming_limits: default_limits(),
            call_limits: CallLimits::default(),
            exposed: None,
            peers: Vec::new(),
            local_tls: false,
            drain_timeout: DEFAULT_DRAIN_TIMEOUT,
        }
    }

    /// Returns every mistake that shows without reading a file.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if self.alpn.is_empty() || self.alpn.len() > MAX_ALPN {
            mistakes.push(format!("alpn: it has {} bytes; it must have 1 to {MAX_ALPN}", self.alpn.len()));
        }
        for (index, peer) in self.peers.iter().enumerate() {
            let listen = self.listen_addr(peer);
            let earlier = self.peers[..index].iter().find(|earlier| self.listen_addr(earlier) == listen);
            if let (Some(earlier), true) = (earlier, listen.port() != 0) {
                mistakes.push(format!(
                    "peer {}: it would listen on {listen}, like peer {}; give each its own listen address",
                    peer.label(),
                    earlier.label()
                ));
            }
        }
        mistakes.extend(self.refused_relays());
        mistakes.extend(self.invalid_listen_names());
        mistakes.extend(self.secret_key.iter().flat_map(|key| self.peers_with_key(key)));
        if self.local_tls && self.key_file.is_none() {
            mistakes.push("local_tls: no key file is named, beside which its certificate is kept".to_owned());
        }
        if let Some(exposed) = &self.exposed {
            if exposed.upstreams.is_empty() {
                mistakes.push("expose: no upstream is configured".to_owned());
            }
            mistakes.extend(exposed.trust_mistake());
            if exposed.passthrough.is_none() && exposed.access.passthroughs() > 0 {
                mistakes.push(
                    "expose: a peer may use pass-through, but no target is set: --passthrough HOST:PORT, or passthrough in \
                     [expose]"
                        .to_owned(),
                );
            }
        }
        mistakes.extend(self.empty_publications());
        mistakes.extend(self.own_upstreams());
        mistakes
    }

    /// Returns the path beside which state is kept: the key file, or that name in [`state_dir`](Self::state_dir).
    pub(crate) fn state_path(&self) -> Option<PathBuf> {
        let key_file = self.key_file.as_deref()?;
        Some(match (&self.state_dir, key_file.file_name()) {
            (Some(state_dir), Some(name)) => state_dir.join(name),
            _ => key_file.to_owned(),
        })
    }

    /// Decides which relays of peers may be dialled.
    pub(crate) fn peer_relays(&self) -> PeerRelays {
        PeerRelays::new(&self.relay_mode, self.allow_http_relay)
    }

    /// Returns a mistake for each peer whose relay may not be dialled.
    fn refused_relays(&self) -> impl Iterator<Item = String> {
        let relays = self.peer_relays();
        self.peers.iter().filter_map(move |peer| {
            let refused = relays.check(&peer.addr).err()?;
            Some(format!("peer {}: {refused}", peer.label()))
        })
    }

    fn invalid_listen_names(&self) -> impl Iterator<Item = String> {
        let is_name = |name: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            (1..=MAX_LISTEN_NAME).contains(&name.len()) && name.bytes().all(is_plain)
        };
        self.listen_names
            .iter()
            .filter(move |name| !is_name(name))
            .map(|name| format!("listen name {:?}: it must be a host name, without scheme and port", shown(name)))
    }

    /// Returns a mistake for each peer that is this funnel itself.
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

    /// Returns a mistake if an upstream is one of this funnel's own ports: peers would reach a third party under this
    /// funnel's identity.
    fn own_upstreams(&self) -> Option<String> {
        let exposed = self.exposed.as_ref()?;
        let leads_to = |addr: &SocketAddr| {
            let target = exposed.passthrough.as_ref().map(ToString::to_string);
            exposed.upstreams.has(*addr) || target.is_some_and(|target| target.parse() == Ok(*addr))
        };
        let own = self.peers.iter().map(|peer| self.listen_addr(peer)).find(leads_to)?;
        Some(format!(
            "expose: the upstream at {own} is this funnel's own port for a peer; give the SuperLink's address"
        ))
    }

    /// Returns the local address for `peer`.
    pub(crate) fn listen_addr(&self, peer: &PeerConfig) -> SocketAddr {
        peer.listen.unwrap_or(self.flower_grpc_addr)
    }
}

/// Shows relays by their URLs: iroh's own output contains their tokens.
impl fmt::Debug for FunnelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunnelConfig")
            .field("alpn", &self.alpn)
            .field("relays", &self.relay_mode.relay_map().urls::<Vec<_>>())
            .field("allow_http_relay", &self.allow_http_relay)
            .field("lookups", &self.lookups)
            .field("publications", &self.publications)
            .field("bind_addr", &self.bind_addr)
            .field("flower_grpc_addr", &self.flower_grpc_addr)
            .field("listen_names", &self.listen_names)
            .field("exposed", &self.exposed)
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}
