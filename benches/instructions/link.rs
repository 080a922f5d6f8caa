//! tonic over `IrohConnector` and `IrohIncoming`, between two endpoints in this process.

use bytes::Bytes;
use flower_iroh_funnel::{
    proto::{PullObjectRequest, PushObjectRequest, SendNodeHeartbeatRequest, fleet_client::FleetClient},
    transport::{IrohConnector, IrohIncoming, quic_config},
};
use iroh::{Endpoint, RelayMode, endpoint::presets};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Server};

use crate::fleet::{self, MAX_CALL_SIZE};

const ALPN: &[u8] = b"flower-iroh-funnel/bench";
const OBJECT: usize = 4 << 20;
const OBJECT_ID: &str = "4 MiB";

/// A small unary call.
pub(crate) async fn call(calls: u32) {
    let pair = Pair::start().await;
    heartbeats(&mut pair.client.clone(), calls).await;
    pair.stop().await;
}

/// An object that the client pushes.
pub(crate) async fn up(objects: u32) {
    let pair = Pair::start().await;
    for _ in 0..objects {
        pair.push().await;
    }
    pair.stop().await;
}

/// An object that the client pulls.
pub(crate) async fn down(objects: u32) {
    let pair = Pair::start().await;
    pair.push().await;
    for _ in 0..objects {
        let request = PullObjectRequest { object_id: OBJECT_ID.to_owned(), ..PullObjectRequest::default() };
        let pulled = pair.client.clone().pull_object(request).await.expect("the Fleet API is up");
        assert_eq!(pulled.get_ref().object_content.len(), OBJECT);
    }
    pair.stop().await;
}

/// Small calls, one after the other.
pub(crate) async fn heartbeats(client: &mut FleetClient<Channel>, calls: u32) {
    for _ in 0..calls {
        let request = SendNodeHeartbeatRequest::default();
        let answer = client.send_node_heartbeat(request).await.expect("the Fleet API is up");
        assert!(answer.get_ref().success);
    }
}

struct Pair {
    dialling: Endpoint,
    accepting: Endpoint,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
    client: FleetClient<Channel>,
    object: Bytes,
}

impl Pair {
    async fn start() -> Self {
        let (dialling, accepting) = (loopback().await, loopback().await);
        let incoming = IrohIncoming::new(accepting.clone(), ALPN);
        let serving = tokio::spawn(Server::builder().add_service(fleet::server()).serve_with_incoming(incoming));
        let connector = IrohConnector::new(dialling.clone(), ALPN);
        connector.add_peer(accepting.addr());
        let channel = Channel::from_shared(format!("iroh://{}", accepting.id())).expect("an id is an authority");
        let channel = channel.connect_with_connector(connector).await.expect("the peer is up");
        let client = FleetClient::new(channel).max_decoding_message_size(MAX_CALL_SIZE);
        Self { dialling, accepting, serving, client, object: vec![7; OBJECT].into() }
    }

    async fn push(&self) {
        let request = PushObjectRequest {
            object_id: OBJECT_ID.to_owned(),
            object_content: self.object.clone(),
            ..PushObjectRequest::default()
        };
        assert!(self.client.clone().push_object(request).await.expect("the Fleet API is up").get_ref().stored);
    }

    async fn stop(self) {
        drop(self.client);
        self.dialling.close().await;
        // The incoming ends with its endpoint, and the server with it.
        self.accepting.close().await;
        self.serving.await.expect("the server does not panic").expect("nothing breaks the server");
    }
}

async fn loopback() -> Endpoint {
    Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .transport_config(quic_config())
        .alpns(vec![ALPN.to_vec()])
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .expect("it is an address")
        .bind()
        .await
        .expect("loopback has free ports")
}
