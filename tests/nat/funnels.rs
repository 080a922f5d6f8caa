//! A SuperLink's funnel and SuperNodes' funnels, each on a host of its own.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use flower_iroh_funnel::{Api, EndpointAddr, FunnelConfig, FunnelConfigBuilder, PeerConfig, PeerConn, RelayMode};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use iroh::RelayUrl;
use tokio::sync::mpsc;

use crate::{
    internet::{Internet, on},
    relay::Relay,
    site::Site,
    support::{LocalClient, Running, Upstream, http_call, piecewise},
};

const POLL: &str = "/v1/fleet/pull-messages";
const PUSH: &str = "/v1/fleet/push-object";
/// Larger than what fits into a packet, and than what a stream sends at first.
const PAYLOAD: usize = 256 << 10;

/// What all funnels of a lab are told.
#[derive(Clone)]
pub(crate) struct Settings {
    config: FunnelConfigBuilder,
}

impl Settings {
    pub(crate) fn new(internet: &Internet, relays: &[&Relay]) -> Self {
        let urls: Vec<RelayUrl> = relays.iter().map(|relay| relay.url.clone()).collect();
        let config = FunnelConfig::builder()
            .relay_mode(RelayMode::custom(urls))
            .relay_ca_file(internet.authority.file())
            .flower_grpc_addr("127.0.0.1:0".parse().unwrap());
        Self { config }
    }
}

/// A funnel in front of an upstream that sends back what it gets. Lets everyone in.
pub(crate) struct SuperLink {
    pub(crate) site: Site,
    pub(crate) addr: EndpointAddr,
    _upstream: Upstream,
    _funnel: Running,
}

impl SuperLink {
    pub(crate) async fn start(site: Site, settings: &Settings) -> Self {
        let config = settings.config.clone();
        let (upstream, funnel, addr) = on(&site.host, async move {
            let upstream = Upstream::echo().await;
            let exposed = upstream.both_wires().allow_any([Api::Fleet]);
            let funnel = Running::start(config.expose(exposed).build().unwrap()).await;
            let addr = funnel.funnel.endpoint_addr().await;
            (upstream, funnel, addr)
        })
        .await;
        Self { site, addr, _upstream: upstream, _funnel: funnel }
    }
}

/// A funnel that leads to the SuperLink's.
pub(crate) struct SuperNode {
    pub(crate) site: Site,
    pub(crate) tunnel: PeerConn,
    pub(crate) dial: SocketAddr,
    _funnel: Running,
}

impl SuperNode {
    pub(crate) async fn start(site: Site, settings: &Settings, superlink: &EndpointAddr) -> Self {
        let (config, superlink) = (settings.config.clone(), superlink.clone());
        let (funnel, tunnel, dial) = on(&site.host, async move {
            let peer = superlink.id;
            let funnel = Running::start(config.peer(PeerConfig::new(superlink)).build().unwrap()).await;
            let (tunnel, dial) = (funnel.funnel.peer(peer), funnel.funnel.local_addrs()[0]);
            (funnel, tunnel, dial)
        })
        .await;
        tunnel.ready(|trouble| eprintln!("{trouble}")).await;
        Self { site, tunnel, dial, _funnel: funnel }
    }

    /// One call of a SuperNode, and its whole answer.
    pub(crate) async fn exchange(&self) {
        let dial = self.dial;
        let payload = Bytes::from(vec![7; PAYLOAD]);
        let answer = on(&self.site.host, {
            let payload = payload.clone();
            async move {
                let response = LocalClient::http(dial).send(http_call(POLL, payload)).await.unwrap();
                assert_eq!(response.status(), 200);
                response.into_body().collect().await.unwrap().to_bytes()
            }
        })
        .await;
        assert!(answer == payload, "the answer has {} bytes", answer.len());
    }

    /// An upload whose pieces come back as they arrive.
    pub(crate) async fn upload(&self) -> Upload {
        let dial = self.dial;
        let (pieces, answer) = on(&self.site.host, async move {
            let (pieces, body) = piecewise();
            let mut call = http_call(PUSH, "");
            *call.body_mut() = body;
            let answer = LocalClient::http(dial).send(call).await.unwrap();
            (pieces, answer.into_body())
        })
        .await;
        Upload { pieces, answer }
    }

    pub(crate) async fn direct(&self) {
        self.tunnel.path_where(|path| !path.is_relay()).await;
    }

    pub(crate) async fn relayed(&self) {
        self.tunnel.path_where(|path| path.is_relay()).await;
    }
}

/// A call under way.
pub(crate) struct Upload {
    pieces: mpsc::Sender<Result<Frame<Bytes>, Infallible>>,
    answer: Incoming,
}

impl Upload {
    /// Sends a piece and waits until it is back.
    pub(crate) async fn pass_piece(&mut self) {
        let piece = Bytes::from(vec![7; PAYLOAD]);
        self.pieces.send(Ok(Frame::data(piece))).await.unwrap();
        let mut missing = PAYLOAD;
        while missing > 0 {
            missing -= self.answer.frame().await.unwrap().unwrap().into_data().unwrap().len();
        }
    }

    /// Ends it, and waits for the end of the answer.
    pub(crate) async fn finish(self) {
        drop(self.pieces);
        assert!(self.answer.collect().await.unwrap().to_bytes().is_empty());
    }
}
