//! Whom the attackers attack, and an honest peer beside them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use flower_iroh_funnel::{
    Api, EndpointAddr, Exposed, Invitation, PeerConfig, SecretKey, Timestamp,
    roster::{Roster, RosterFile},
    transport::IncomingLimits,
};
use http_body_util::BodyExt;
use iroh::Endpoint;
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    attacker::Attacker,
    support::{LocalClient, Running, Upstream, grpc_call, http_call, join, loopback},
};

/// Calls that an honest peer makes before an attack is said to have left it alone.
const UNDISTURBED: u64 = 40;

/// An inbound funnel that admits one honest peer and attackers, and the honest peer, which calls and calls.
pub(crate) struct Scene {
    pub(crate) inbound: Running,
    pub(crate) peer: EndpointAddr,
    pub(crate) honest: Honest,
    attackers: Vec<SecretKey>,
    /// Without its endpoint, nobody attacks any more.
    endpoints: Vec<Endpoint>,
    roster: RosterFile,
    _folder: TempDir,
    _upstream: Upstream,
}

impl Scene {
    pub(crate) async fn start() -> Self {
        Self::with(1, |_| {}).await
    }

    /// With more attackers, and other limits.
    pub(crate) async fn with(attackers: usize, set: impl FnOnce(&mut IncomingLimits)) -> Self {
        let upstream = Upstream::echo().await;
        let attackers: Vec<_> = (0..attackers).map(|_| SecretKey::generate()).collect();
        let key = SecretKey::generate();
        let mut limits = loopback().build().unwrap().incoming_limits;
        set(&mut limits);
        let admit = |exposed: Exposed, key: &SecretKey| exposed.allow(key.public(), [Api::Fleet]);
        let folder = tempfile::tempdir().unwrap();
        let roster = RosterFile::new(folder.path().join("peers.toml"));
        let exposed = upstream.both_wires().roster(roster.clone());
        let exposed = attackers.iter().chain([&key]).fold(exposed, admit);
        let inbound = Running::start(loopback().incoming_limits(limits).expose(exposed).build().unwrap()).await;
        let peer = inbound.funnel.endpoint_addr().await;
        let honest = Honest::start(peer.clone(), key).await;
        Self { inbound, peer, honest, attackers, endpoints: Vec::new(), roster, _folder: folder, _upstream: upstream }
    }

    /// One that the funnel admits.
    pub(crate) async fn attacker(&mut self) -> Attacker {
        let key = self.attackers.pop().expect("so many are admitted");
        let attacker = Attacker::new(key, self.peer.clone()).await;
        self.endpoints.push(attacker.endpoint.clone());
        attacker
    }

    /// Whom the funnel does not know.
    pub(crate) async fn stranger(&self) -> Attacker {
        Attacker::new(SecretKey::generate(), self.peer.clone()).await
    }

    /// The same from another address.
    pub(crate) async fn stranger_at(&self, source: Ipv4Addr) -> Attacker {
        Attacker::at(source, SecretKey::generate(), self.peer.clone()).await
    }

    /// One that has an invitation, and is let in by it.
    pub(crate) async fn invited(&self) -> Running {
        self.invited_as("site").await
    }

    /// The same, by a name.
    pub(crate) async fn invited_as(&self, name: &str) -> Running {
        let invitation = Invitation::new(self.peer.clone());
        let expires = Timestamp::now().plus(Duration::from_secs(3600));
        let name = name.parse().unwrap();
        let invite =
            |roster: &mut Roster| roster.invite(&invitation, name, Api::Fleet.into(), NonZeroU32::MIN, expires);
        self.roster.update(invite).unwrap().unwrap();
        let peer = PeerConfig::invited(invitation);
        let site = Running::start(loopback().secret_key(SecretKey::generate()).peer(peer).build().unwrap()).await;
        site.funnel.peer(self.peer.id).ready(|_| {}).await;
        site
    }

    /// Ends it, and asserts that the honest peer was left alone.
    pub(crate) async fn end(self) {
        self.honest.goes_on().await;
        self.honest.end().await;
        self.inbound.stop().await;
    }
}

/// A peer that makes calls in both wires, all of which must succeed.
pub(crate) struct Honest {
    outbound: Running,
    calls: watch::Receiver<u64>,
    stop: Arc<AtomicBool>,
    callers: JoinSet<()>,
}

impl Honest {
    async fn start(peer: EndpointAddr, key: SecretKey) -> Self {
        let outbound = join(peer.clone(), key).await;
        outbound.funnel.connect_to_peer(peer).await.unwrap();
        let dial = outbound.funnel.local_addrs()[0];
        let (counter, calls) = watch::channel(0);
        let stop = Arc::new(AtomicBool::new(false));
        let mut callers = JoinSet::new();
        for client in [LocalClient::http(dial), LocalClient::grpc(dial)] {
            let (counter, stop) = (counter.clone(), Arc::clone(&stop));
            callers.spawn(async move {
                while !stop.load(SeqCst) {
                    call(&client).await;
                    counter.send_modify(|calls| *calls += 1);
                }
            });
        }
        Self { outbound, calls, stop, callers }
    }

    /// Its local port.
    pub(crate) fn dial(&self) -> SocketAddr {
        self.outbound.funnel.local_addrs()[0]
    }

    /// Waits for many more calls.
    pub(crate) async fn goes_on(&self) {
        let mut calls = self.calls.clone();
        let enough = *calls.borrow() + UNDISTURBED;
        calls.wait_for(|calls| *calls >= enough).await.expect("a call failed: its caller has panicked");
    }

    async fn end(mut self) {
        self.stop.store(true, SeqCst);
        while let Some(caller) = self.callers.join_next().await {
            caller.expect("every call succeeds");
        }
        self.outbound.stop().await;
    }
}

async fn call(client: &LocalClient) {
    for (request, length) in [
        (http_call("/v1/fleet/send-node-heartbeat", "beat"), 4),
        (http_call("/v1/fleet/push-object", vec![7; 50_000]), 50_000),
        (grpc_call("/flwr.proto.Fleet/PullMessages", "\0\0\0\0\u{3}abc"), 8),
    ] {
        // Each client speaks its own version of HTTP, and the funnel takes both wires in either.
        let response = client.send(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let status = response.headers().get("grpc-status").cloned();
        assert_eq!(status, None, "{:?}", response.headers());
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), length);
    }
}
