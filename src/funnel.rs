//! The funnel as a whole: its parts, and the order in which they start and stop.

mod control;
mod drain;
mod endpoint;
mod home_relay;
mod loaded;
mod ports;
mod reload;
mod sources;

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMode, TransportAddr, Watcher};
use iroh_tickets::endpoint::EndpointTicket;
use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{debug, info, warn};

use self::loaded::Loaded;
use crate::{
    address_lookup::{LookupLog, PeerRelays, shown_relay},
    admission::{
        Access, AccessList, Admission, StatusFile,
        audit::Audit,
        enrolment,
        peer_status::{self, SaveRequests},
        roster::RosterFile,
        warn_of_trust,
    },
    call::{LocalNames, inbound::Inbound, permit::Permits},
    config::{AuditLog, CallLimits, Exposed, FunnelConfig, Problems},
    descriptors,
    error::Error,
    grpc_server::{self, LocalProtocol},
    identity::KeyLock,
    protocol::Api,
    tls::LocalTls,
    transport::{IncomingLimits, IrohConnector, IrohIncoming},
    tunnel::{PeerConn, PeerSource, Tunnel},
    upstream::{Upstream, UpstreamState},
};

/// The wait for a relay and for addresses before a ticket is made. It is bounded so that a machine without internet starts
/// too.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);
/// The wait until the ticket is saved.
const SAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A sidecar of a Flower process: it forwards Flower's calls to peer funnels, and their calls to Flower.
///
/// Clones share one funnel. [`shutdown`](Self::shutdown) ends it; dropping the last clone while it serves does not.
#[derive(Clone)]
pub struct Funnel {
    inner: Arc<Inner>,
}

struct Inner {
    endpoint: Endpoint,
    admission: Admission,
    audit: Audit,
    /// The path beside which state is kept; `None` without a key file.
    state_path: Option<PathBuf>,
    roster: Option<RosterFile>,
    save_requests: SaveRequests,
    connector: IrohConnector,
    peer_relays: PeerRelays,
    lookup_log: LookupLog,
    /// The sources of the configured peers, until the tunnel to each is opened.
    sources: Mutex<HashMap<EndpointId, PeerSource>>,
    alpn: Vec<u8>,
    relay_mode: RelayMode,
    incoming_limits: IncomingLimits,
    call_limits: CallLimits,
    drain_timeout: Duration,
    tunnels: Mutex<HashMap<EndpointId, Tunnel>>,
    local_addrs: Vec<SocketAddr>,
    local_names: LocalNames,
    local_tls: Option<LocalTls>,
    inbound: Option<Inbound>,
    /// `None` once `serve` has taken them.
    listeners: Mutex<Option<Vec<Listener>>>,
    /// `None` without a key file, and once the funnel has closed.
    key_lock: Mutex<Option<Arc<KeyLock>>>,
    stop: CancellationToken,
}

/// A local port and the peer that it reaches.
struct Listener {
    socket: TcpListener,
    local_addr: SocketAddr,
    peer: EndpointId,
    protocol: LocalProtocol,
}

impl Funnel {
    /// Binds the endpoint and the local ports, and reads the files that the configuration names: key, certificates and
    /// roster. From here on the funnel can dial; it accepts with [`serve`](Self::serve).
    ///
    /// The key file is locked until the funnel has closed or is dropped, so that no other funnel of this machine runs with it.
    ///
    /// # Errors
    /// If another funnel runs with the key file, if files cannot be used, all of them in one error, or if an address cannot be
    /// bound.
    ///
    /// # Panics
    /// If called outside a tokio runtime.
    pub async fn new(config: FunnelConfig) -> Result<Self, Error> {
        let loaded = Loaded::read(&config)?;
        descriptors::hold_file_reserve();
        debug!(descriptors = descriptors::for_calls(), "calls may use so many file descriptors in all");
        let listeners = listen(&config, loaded.local_tls.as_ref()).await?;
        let exposed = config.exposed.clone().unwrap_or_default();
        let audit = open_audit(exposed.audit_log.as_ref())?;
        let access = Access::new(exposed.access.clone(), loaded.roster.clone());
        let admission = admission(&config, &exposed, &access, &audit);
        warn_of_exposure(&config, &access.list());
        show_relays(&config);
        let (endpoint, lookup_log) = endpoint::bind_endpoint(&config, &loaded, admission.clone()).await?;
        let connector = IrohConnector::new(endpoint.clone(), config.alpn.clone());
        for peer in config.peers.iter().filter(|peer| !peer.addr.is_empty()) {
            connector.add_peer(peer.addr.clone());
        }
        let inbound = config.exposed.is_some().then(|| {
            let max_calls = config.call_limits.max_calls_at_upstreams;
            Inbound::new(access, audit.clone(), exposed.upstreams, max_calls, &loaded.trust, exposed.passthrough)
        });
        let peer_relays = config.peer_relays();
        let inner = Inner {
            sources: Mutex::new(sources::of(&config, &endpoint)),
            endpoint,
            admission,
            audit,
            state_path: config.state_path(),
            roster: exposed.roster,
            save_requests: SaveRequests::new(),
            connector,
            peer_relays,
            lookup_log,
            alpn: config.alpn,
            relay_mode: config.relay_mode,
            incoming_limits: config.incoming_limits,
            call_limits: config.call_limits,
            drain_timeout: config.drain_timeout,
            tunnels: Mutex::default(),
            local_addrs: listeners.iter().map(|listener| listener.local_addr).collect(),
            local_names: LocalNames::new(config.listen_names),
            local_tls: loaded.local_tls,
            inbound,
            listeners: Mutex::new(Some(listeners)),
            key_lock: Mutex::new(loaded.key_lock.map(Arc::new)),
            stop: CancellationToken::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Returns this funnel's endpoint id: its public key.
    pub fn endpoint_id(&self) -> EndpointId {
        self.inner.endpoint.id()
    }

    /// Returns the address to dial this funnel at: id, relays and direct addresses, as in a ticket.
    ///
    /// Waits up to 3 s for a relay, if one is configured, and for an address. Self-hosted relays are all included, whether
    /// or not they are in use now.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn endpoint_addr(&self) -> EndpointAddr {
        let endpoint = &self.inner.endpoint;
        let mut addr = endpoint.watch_addr();
        let known = async {
            if self.inner.relay_mode != RelayMode::Disabled {
                endpoint.online().await;
            }
            while addr.get().is_empty() {
                if addr.updated().await.is_err() {
                    return;
                }
            }
        };
        if timeout(ADDRESS_TIMEOUT, known).await.is_err() {
            warn!(
                "no relay answers, or none whose certificate is trusted (--relay-ca): for now, peers reach this funnel only \
                 at its direct addresses"
            );
        }
        known_addr(endpoint, &self.inner.relay_mode)
    }

    /// Saves this funnel's ticket beside its roster, for invitations, and waits until that is done. Only a funnel that serves
    /// does it: call this beside [`serve`](Self::serve). It gives up after 5 s, as on a disk that does not answer.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn save_ticket(&self) {
        if self.inner.roster.is_some() && timeout(SAVE_TIMEOUT, self.inner.save_requests.save()).await.is_err() {
            debug!("the ticket for invitations is not saved yet");
        }
    }

    /// Returns the local address for each configured peer, in the order of the configuration.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.inner.local_addrs
    }

    /// Returns the certificate that local Flower clients verify; `None` if they connect without TLS.
    pub fn local_tls(&self) -> Option<&LocalTls> {
        self.inner.local_tls.as_ref()
    }

    /// Returns the state of each upstream, for every API that a peer may call. Waits until all have been probed once, which
    /// begins with [`serve`](Self::serve).
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn upstreams(&self) -> Vec<(Api, Upstream, UpstreamState)> {
        let Some(inbound) = &self.inner.inbound else { return Vec::new() };
        inbound.probe().first_round().await;
        inbound.probe().results()
    }

    /// Returns the tunnel to a peer, and opens it if necessary. Waits until the peer has answered or the first attempt has
    /// failed.
    ///
    /// The tunnel stays open, and is restored after a loss, for the lifetime of the funnel.
    ///
    /// # Errors
    /// If the peer was not reached or does not admit this funnel: the tunnel keeps trying. If its relay may not be dialled
    /// ([`FunnelConfig::allow_http_relay`]): there is no tunnel.
    ///
    /// # Cancel safety
    /// Dropping the future does not close the tunnel.
    pub async fn connect_to_peer(&self, peer: impl Into<EndpointAddr>) -> Result<PeerConn, Error> {
        let peer = peer.into();
        let refused = self.inner.peer_relays.check(&peer).err();
        let mut problems = Problems::default();
        problems.extend(refused.map(|refused| format!("peer {}: {refused}", peer.id.fmt_short())));
        problems.check().map_err(Error::config)?;
        if !peer.is_empty() {
            self.inner.connector.add_peer(peer.clone());
        }
        let tunnel = self.inner.tunnel(peer.id);
        match tunnel.settled().await {
            Ok(_) => Ok(PeerConn::new(tunnel)),
            Err(down) => Err(Error::peer(down)),
        }
    }

    /// Returns the tunnel to a peer, and opens it if necessary. Does not wait until the peer has answered.
    pub fn peer(&self, peer: EndpointId) -> PeerConn {
        PeerConn::new(self.inner.tunnel(peer))
    }

    /// Serves until [`shutdown`](Self::shutdown), then drains: it accepts no new calls, sends GOAWAY, lets the calls in
    /// progress finish, and closes the links with
    /// [`Code::SHUTDOWN`](crate::transport::Code::SHUTDOWN).
    ///
    /// # Errors
    /// If it is serving or has served already, or if the endpoint was closed while it served.
    ///
    /// # Cancel safety
    /// Dropping the future ends every call and connection immediately.
    pub async fn serve(&self) -> Result<(), Error> {
        let inner = &self.inner;
        let listeners = inner.listeners.lock().unwrap_or_else(PoisonError::into_inner).take();
        let listeners = listeners.ok_or_else(Error::serving)?;
        // Before the roster is read for the first time, so that no command finds neither this socket nor a reader.
        let control = inner.open_control_socket().await;
        let serving = inner.start(listeners);
        // Held until the tasks have ended that write files beside the key file, even if the funnel is closed meanwhile.
        let _key_lock = inner.key_lock().clone();
        let watching = inner.watch();
        let ended = tokio::select! {
            () = inner.stop.cancelled() => Ok(()),
            _ = inner.endpoint.closed() => Err(Error::endpoint_closed()),
        };
        inner.drain(serving).await;
        if let Some(control) = control {
            control.stop().await;
        }
        drop(watching);
        inner.release_key();
        ended
    }

    /// Ends [`serve`](Self::serve), which returns once the calls in progress have finished or the drain timeout has elapsed.
    pub fn shutdown(&self) {
        self.inner.stop.cancel();
    }

    /// Closes all links immediately. Meant for a funnel that only dials; to stop one that serves, use
    /// [`shutdown`](Self::shutdown).
    pub async fn close(&self) {
        self.inner.stop.cancel();
        self.inner.close_links();
        endpoint::close_endpoint(&self.inner.endpoint).await;
        self.inner.end_audit().await;
        self.inner.release_key();
    }
}

async fn listen(config: &FunnelConfig, local_tls: Option<&LocalTls>) -> Result<Vec<Listener>, Error> {
    let mut listeners = Vec::new();
    for peer in &config.peers {
        let addr = config.listen_addr(peer);
        let socket = TcpListener::bind(addr).await.map_err(|source| Error::listen(addr, source))?;
        let local_addr = socket.local_addr().map_err(|source| Error::listen(addr, source))?;
        let protocol = match local_tls {
            _ if peer.is_passthrough() => LocalProtocol::Passthrough,
            Some(tls) => LocalProtocol::Tls(tls.clone()),
            None => LocalProtocol::Plain,
        };
        listeners.push(Listener { socket, local_addr, peer: peer.addr.id, protocol });
    }
    Ok(listeners)
}

fn open_audit(log: Option<&AuditLog>) -> Result<Audit, Error> {
    match log {
        Some(AuditLog::File(path)) => {
            Audit::open(path.clone()).map_err(|source| Error::audit_log(path.clone(), source))
        }
        Some(AuditLog::Off) | None => Ok(Audit::default()),
    }
}

fn admission(config: &FunnelConfig, exposed: &Exposed, access: &Access, audit: &Audit) -> Admission {
    let admission = Admission::new(access.clone(), audit.clone());
    match &exposed.roster {
        Some(file) => admission.enrolling(enrolment::alpn_of(&config.alpn), file.clone()),
        None => admission,
    }
}

/// Returns the address to dial an endpoint at, with all self-hosted relays.
fn known_addr(endpoint: &Endpoint, relay_mode: &RelayMode) -> EndpointAddr {
    let own = match relay_mode {
        RelayMode::Custom(relays) => relays.urls::<Vec<_>>(),
        RelayMode::Disabled | RelayMode::Default | RelayMode::Staging => Vec::new(),
    };
    endpoint.addr().with_addrs(own.into_iter().map(TransportAddr::Relay))
}

/// The serving tasks. A local port returns nothing, the sessions return what keeps idle links open.
type Serving = JoinSet<Option<IrohIncoming>>;

impl Inner {
    fn start(&self, listeners: Vec<Listener>) -> Serving {
        let mut serving = JoinSet::new();
        for listener in listeners {
            let tunnel = self.tunnel(listener.peer);
            let (names, max_pause, stop) = (self.local_names.clone(), self.call_limits.max_pause, self.stop.clone());
            let serve = grpc_server::serve_local(listener.socket, listener.protocol, names, tunnel, max_pause, stop);
            serving.spawn(async {
                serve.await;
                None
            });
        }
        if let Some(inbound) = self.inbound.clone() {
            let limits = self.incoming_limits.clone();
            let (endpoint, admission) = (self.endpoint.clone(), self.admission.clone());
            let is_known = move |peer| admission.admits(peer);
            let incoming = IrohIncoming::with_known_peers(endpoint, self.alpn.clone(), limits, is_known);
            let permits = Permits::new(self.call_limits.clone(), descriptors::for_calls());
            let serve = grpc_server::serve_sessions(incoming, inbound, permits, self.stop.clone());
            serving.spawn(async { Some(serve.await) });
        }
        serving
    }

    /// Spawns the background tasks, which end when the handles are dropped.
    fn watch(&self) -> Vec<AbortOnDropHandle<()>> {
        let relays = self.relay_mode.relay_map();
        let home_relay = home_relay::watch_home_relay(self.endpoint.clone(), relays);
        let mut watching = vec![tokio::spawn(home_relay), tokio::spawn(self.admission.clone().close_silent_links())];
        if let Some(inbound) = self.inbound.clone() {
            watching.push(tokio::spawn(inbound.watch_upstreams()));
        }
        if let (Some(roster), Some(requests)) = (self.roster.clone(), self.save_requests.take()) {
            let seen = StatusFile::of_roster(roster.path());
            let admission = self.admission.clone();
            let (endpoint, relay_mode) = (self.endpoint.clone(), self.relay_mode.clone());
            let ticket = move || EndpointTicket::new(known_addr(&endpoint, &relay_mode)).to_string();
            watching.push(tokio::spawn(peer_status::watch(seen, admission.clone(), ticket, requests)));
            watching.push(tokio::spawn(admission.watch_roster()));
        }
        watching.into_iter().map(AbortOnDropHandle::new).collect()
    }

    fn key_lock(&self) -> MutexGuard<'_, Option<Arc<KeyLock>>> {
        self.key_lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release_key(&self) {
        drop(self.key_lock().take());
    }

    fn tunnel(&self, peer: EndpointId) -> Tunnel {
        let source = || self.sources.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer).unwrap_or_default();
        let open = || Tunnel::open(self.connector.clone(), peer, self.lookup_log.clone(), source());
        self.tunnels().entry(peer).or_insert_with(open).clone()
    }

    fn tunnels(&self) -> MutexGuard<'_, HashMap<EndpointId, Tunnel>> {
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Warns of configurations that admit no peer, or that let peers or local users do more than usual.
fn warn_of_exposure(config: &FunnelConfig, access: &AccessList) {
    if let Some(exposed) = &config.exposed {
        if access.is_empty() {
            info!(
                "no peer is admitted yet; invite one with: flower-iroh-funnel invite NAME, or list it with: --allow ID"
            );
        }
        if let (Some(target), peers @ 1..) = (&exposed.passthrough, access.passthroughs()) {
            warn!(
                peers,
                %target,
                "pass-through: these peers have every API that is served there, including Control and Runtime; the funnel \
                 neither checks nor logs their calls"
            );
        }
        access.trusting_apis().iter().for_each(warn_of_trust);
    }
    for peer in &config.peers {
        let listen = config.listen_addr(peer);
        if !listen.ip().to_canonical().is_loopback() {
            warn!(
                peer = %peer.id().fmt_short(),
                %listen,
                "the local port is open to the network: whoever reaches it calls as this site, with or without --tls, which \
                 checks no client; listen on 127.0.0.1, or let a firewall admit only the machines of your Flower clients"
            );
        }
    }
    for peer in config.peers.iter().filter(|peer| peer.is_passthrough()) {
        warn!(
            peer = %peer.id().fmt_short(),
            "pass-through: whoever reaches the local port can call everything that the other side serves there; the \
             funnel sees no calls"
        );
    }
}

/// Logs the relays of peers before they are dialled: whoever wrote a ticket chose them.
fn show_relays(config: &FunnelConfig) {
    if config.relay_mode == RelayMode::Disabled {
        return;
    }
    for peer in &config.peers {
        let source = if peer.invitation.is_some() { "invitation" } else { "ticket" };
        for relay in peer.addr.relay_urls() {
            info!(peer = %peer.id().fmt_short(), "the peer's relay, from its {source}: {}", shown_relay(relay));
        }
    }
}

impl fmt::Debug for Funnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Funnel").field("id", &self.endpoint_id()).finish_non_exhaustive()
    }
}
