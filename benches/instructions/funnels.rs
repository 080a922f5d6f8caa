//! A pair of funnels in this process, between a tonic client and a tonic server.

use flower_iroh_funnel::{
    Api, Error, Exposed, Funnel, FunnelConfig, FunnelConfigBuilder, PeerConfig, RelayMode, SecretKey,
    proto::fleet_client::FleetClient,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Channel, Server, server::TcpIncoming};

use crate::{fleet, link};

/// A small unary call.
pub(crate) async fn call(calls: u32) {
    let pair = Pair::start().await;
    let channel = Channel::from_shared(format!("http://{}", pair.outbound.funnel.local_addrs()[0]));
    let channel = channel.expect("an address is an authority").connect().await.expect("the funnel is up");
    link::heartbeats(&mut FleetClient::new(channel), calls).await;
    pair.stop().await;
}

struct Pair {
    inbound: Running,
    outbound: Running,
    /// Ends with the pair.
    _upstream: AbortOnDropHandle<Result<(), tonic::transport::Error>>,
}

impl Pair {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let upstream = format!("grpc://{}", listener.local_addr().expect("it is bound"));
        let serving = Server::builder().add_service(fleet::server()).serve_with_incoming(TcpIncoming::from(listener));
        let serving = AbortOnDropHandle::new(tokio::spawn(serving));

        let key = SecretKey::generate();
        let exposed = Exposed::new().upstream(Api::Fleet, upstream.parse().expect("it is an upstream"));
        let inbound = Running::start(loopback().expose(exposed.allow(key.public(), [Api::Fleet]))).await;
        let peer = inbound.funnel.endpoint_addr().await;
        let outbound = Running::start(loopback().secret_key(key).peer(PeerConfig::new(peer.clone()))).await;
        outbound.funnel.connect_to_peer(peer).await.expect("the peer is up");
        Self { inbound, outbound, _upstream: serving }
    }

    async fn stop(self) {
        self.outbound.stop().await;
        self.inbound.stop().await;
    }
}

struct Running {
    funnel: Funnel,
    serving: JoinHandle<Result<(), Error>>,
}

impl Running {
    async fn start(config: FunnelConfigBuilder) -> Self {
        let funnel = Funnel::new(config.build().expect("the config is right")).await.expect("loopback has free ports");
        let serving = tokio::spawn({
            let funnel = funnel.clone();
            async move { funnel.serve().await }
        });
        Self { funnel, serving }
    }

    async fn stop(self) {
        self.funnel.shutdown();
        self.serving.await.expect("the funnel does not panic").expect("nothing breaks the funnel");
    }
}

fn loopback() -> FunnelConfigBuilder {
    let port = "127.0.0.1:0".parse().expect("it is an address");
    FunnelConfig::builder().relay_mode(RelayMode::Disabled).bind_addr(port).flower_grpc_addr(port)
}
