//! A SuperLink's funnel and SuperNodes' funnels, each on a host of its own.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use bytes::Bytes;
use flower_iroh_funnel::{
    Api, EndpointAddr, EndpointId, FunnelConfig, FunnelConfigBuilder, PeerConfig, PeerConn, RelayMode, StatusFile,
    roster::RosterFile, transport::Path,
};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use iroh::{RelayUrl, TransportAddr};
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{
    internet::{Internet, on},
    relay::Relay,
    site::Site,
};
use crate::support::{LocalClient, Running, Upstream, http_call, piecewise};

const PULL: &str = "/v1/fleet/pull-object";
/// The one method whose request is a stream without a limit.
const STREAM: &str = "/v1/fleet/join";
/// Of a call under way.
const PIECE: usize = 16 << 10;
/// Larger than what fits into a packet, and than what a stream sends at first.
const PAYLOAD: usize = 256 << 10;
/// Between two looks at the status file, which the funnel writes every 5 s.
const POLL: Duration = Duration::from_millis(100);

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
    folder: TempDir,
    _upstream: Upstream,
    _funnel: Running,
}

impl SuperLink {
    pub(crate) async fn start(site: Site, settings: &Settings) -> Self {
        let (config, folder) = (settings.config.clone(), tempfile::tempdir().unwrap());
        let roster = RosterFile::new(roster(&folder));
        let (upstream, funnel, addr) = on(&site.host, async move {
            let upstream = Upstream::echo().await;
            let exposed = upstream.both_wires().allow_any([Api::Fleet]).roster(roster);
            let funnel = Running::start(config.expose(exposed).build().unwrap()).await;
            let addr = funnel.funnel.endpoint_addr().await;
            (upstream, funnel, addr)
        })
        .await;
        Self { site, addr, folder, _upstream: upstream, _funnel: funnel }
    }

    /// Waits until the SuperNode's link comes directly from this address.
    pub(crate) async fn direct_from(&self, node: &SuperNode, addr: Ipv4Addr) {
        let (file, path) = (StatusFile::of_roster(&roster(&self.folder)), format!("direct {addr}:"));
        while !file.load().peers.get(&node.id).is_some_and(|seen| seen.path.iter().any(|seen| seen.starts_with(&path)))
        {
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Beside which a funnel notes what it sees of its peers.
fn roster(folder: &TempDir) -> PathBuf {
    folder.path().join("peers.toml")
}

/// A funnel that leads to the SuperLink's.
pub(crate) struct SuperNode {
    pub(crate) site: Site,
    id: EndpointId,
    pub(crate) tunnel: PeerConn,
    pub(crate) dial: SocketAddr,
    _funnel: Running,
}

impl SuperNode {
    pub(crate) async fn start(site: Site, settings: &Settings, superlink: &EndpointAddr) -> Self {
        let (config, superlink) = (settings.config.clone(), superlink.clone());
        let (funnel, id, tunnel, dial) = on(&site.host, async move {
            let peer = superlink.id;
            let funnel = Running::start(config.peer(PeerConfig::new(superlink)).build().unwrap()).await;
            let (id, tunnel) = (funnel.funnel.endpoint_id(), funnel.funnel.peer(peer));
            let dial = funnel.funnel.local_addrs()[0];
            (funnel, id, tunnel, dial)
        })
        .await;
        tunnel.ready(|trouble| eprintln!("{trouble}")).await;
        Self { site, id, tunnel, dial, _funnel: funnel }
    }

    /// One call of a SuperNode, and its whole answer.
    pub(crate) async fn exchange(&self) {
        let dial = self.dial;
        let payload = Bytes::from(vec![7; PAYLOAD]);
        let answer = on(&self.site.host, {
            let payload = payload.clone();
            async move {
                let response = LocalClient::http(dial).send(http_call(PULL, payload)).await.unwrap();
                assert_eq!(response.status(), 200);
                response.into_body().collect().await.unwrap().to_bytes()
            }
        })
        .await;
        assert!(answer == payload, "the answer has {} bytes", answer.len());
    }

    /// A call under way.
    pub(crate) async fn stream(&self) -> Stream {
        let dial = self.dial;
        on(&self.site.host, async move {
            let (pieces, body) = piecewise();
            let mut call = http_call(STREAM, "");
            *call.body_mut() = body;
            let answer = LocalClient::http(dial).send(call).await.unwrap().into_body();
            let (sent, (back, came_back)) = (watch::Sender::new(0), watch::channel(0));
            let (stop, sender) = (CancellationToken::new(), sent.clone());
            tokio::spawn(stop.clone().run_until_cancelled_owned(send(pieces, sender)));
            Stream { sent, back: came_back, stop, ended: tokio::spawn(receive(answer, back)) }
        })
        .await
    }

    pub(crate) async fn direct(&self) {
        self.tunnel.path_where(|path| !path.is_relay()).await;
    }

    /// Waits until the link leads directly to this address.
    pub(crate) async fn direct_to(&self, addr: Ipv4Addr) {
        let there = |path: &Path| matches!(path.remote, TransportAddr::Ip(remote) if remote.ip() == addr);
        self.tunnel.path_where(there).await;
    }

    pub(crate) async fn relayed(&self) {
        self.tunnel.path_where(|path| path.is_relay()).await;
    }
}

/// A call that sends without a pause, and is sent back what it has sent.
pub(crate) struct Stream {
    sent: watch::Sender<usize>,
    back: watch::Receiver<usize>,
    stop: CancellationToken,
    ended: JoinHandle<hyper::Result<()>>,
}

impl Stream {
    /// Waits until something is back that was sent after this.
    pub(crate) async fn pass(&mut self) {
        let sent = *self.sent.borrow();
        self.back.wait_for(|back| *back > sent).await.expect("the call goes on");
    }

    /// Sends no more, and waits until all is back.
    pub(crate) async fn finish(self) {
        self.stop.cancel();
        self.ended.await.unwrap().unwrap();
        assert_eq!(*self.back.borrow(), *self.sent.borrow());
    }

    /// Waits until the call has ended by itself, which is before its time.
    pub(crate) async fn cut(self) -> hyper::Error {
        self.ended.await.unwrap().expect_err("it is cut")
    }
}

/// Sends what tells its place.
async fn send(pieces: mpsc::Sender<Result<Frame<Bytes>, Infallible>>, sent: watch::Sender<usize>) {
    loop {
        let begin = *sent.borrow();
        let piece: Bytes = (begin..begin + PIECE).map(byte_at).collect();
        let Ok(place) = pieces.reserve().await else { return };
        place.send(Ok(Frame::data(piece)));
        sent.send_replace(begin + PIECE);
    }
}

async fn receive(mut answer: Incoming, back: watch::Sender<usize>) -> hyper::Result<()> {
    while let Some(frame) = answer.frame().await.transpose()? {
        let data = frame.into_data().unwrap();
        let begin = *back.borrow();
        assert!(data.iter().copied().eq((begin..begin + data.len()).map(byte_at)), "other bytes came back");
        back.send_replace(begin + data.len());
    }
    Ok(())
}

/// No piece has the length of the pattern, or a multiple of it.
fn byte_at(place: usize) -> u8 {
    (place % 251) as u8
}
