//! The configuration of a funnel: plain data, from a builder or a file.

mod builder;
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

pub(crate) use self::relay_authorities::RelayAuthorities;
#[cfg(feature = "relay")]
pub(crate) use self::relay_token::Match;
pub use self::{
    builder::FunnelConfigBuilder,
    error::ConfigError,
    exposed::{AuditLog, Exposed},
    grant::{Grant, InvalidGrant},
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

impl Default for FunnelConfig {
    fn default() -> Self {
        let parse = |addr: &str| addr.parse().expect("the constants are addresses");
        Self {
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
        }
    }
}

impl FunnelConfig {
    /// Starts from the defaults.
    pub fn builder() -> FunnelConfigBuilder {
        FunnelConfigBuilder::new(Self::default())
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
            mistakes.push("local_tls: no key file is named, beside which its certificate is kept".to_owned());
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
