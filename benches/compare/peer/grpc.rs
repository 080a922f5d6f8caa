//! The client of a SuperLink as far as a bench needs one, and the settings of both tonic ends.

use std::net::SocketAddr;

use bytes::{Buf, Bytes};
use flower_iroh_funnel::{proto, transport::IrohConnector};
use http::{Uri, uri::PathAndQuery};
use hyper_util::rt::TokioIo;
use iroh::{Endpoint, EndpointAddr};
use prost::Message;
use tonic::{
    Request,
    transport::{self, Channel, Server, server::Router},
};
use tower::service_fn;

use super::{Caller, Limit, NOISE, Peer, codec::BytesCodec, seconds::Seconds, service::Service, tcp};
use crate::failure::Failure;

/// For the connector, which has no name of its own.
pub(crate) const ALPN: &[u8] = b"flower-iroh-funnel/bench-grpc";
/// HTTP/2 windows of client and server, for every competitor: larger than any link here holds, so that it is the
/// transport that is measured.
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Bytes in an HTTP/2 frame, for every competitor.
const FRAME_SIZE: u32 = 64 << 10;
/// An object and what is around it.
const MAX_MESSAGE: usize = 8 << 20;

/// Small call.
pub(super) const HEARTBEAT: &str = "/flwr.proto.Fleet/SendNodeHeartbeat";
/// One object there.
pub(super) const PUSH_OBJECT: &str = "/flwr.proto.Fleet/PushObject";
/// One object back.
pub(super) const PULL_OBJECT: &str = "/flwr.proto.Fleet/PullObject";
/// Any number of messages there, and what came in each second back. Not Flower's, but the funnel lets methods of
/// tomorrow pass.
pub(super) const UPLOAD: &str = "/flwr.proto.Fleet/BenchUpload";
/// Any number of messages back.
pub(super) const DOWNLOAD: &str = "/flwr.proto.Fleet/BenchDownload";

/// A tonic server with the service of the bench.
pub(crate) fn server() -> Router {
    let service = Service::new();
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_SIZE)
        .add_service(service)
}

/// A tonic client.
#[derive(Clone, Debug)]
pub(crate) struct Grpc {
    channel: Channel,
    heartbeat: Bytes,
    object: Bytes,
    object_id: Bytes,
}

impl Grpc {
    /// Dials `server`, or the near end of a tunnel. `congestion_control` none: the host's own.
    pub(crate) async fn over_tcp(server: SocketAddr, congestion_control: Option<String>) -> Result<Self, Failure> {
        let connector = service_fn(move |_: Uri| {
            let congestion_control = congestion_control.clone();
            async move { tcp::dial(server, congestion_control.as_deref()).await.map(TokioIo::new) }
        });
        Ok(Self::new(endpoint(format!("http://{server}"))?.connect_with_connector(connector).await?))
    }

    /// Dials `server` from `endpoint` through this project's connector.
    pub(crate) async fn over_iroh(from: Endpoint, server: EndpointAddr) -> Result<Self, Failure> {
        let endpoint = endpoint(format!("iroh://{}", server.id))?;
        let connector = IrohConnector::new(from, ALPN);
        connector.add_peer(server);
        Ok(Self::new(endpoint.connect_with_connector(connector).await?))
    }

    fn new(channel: Channel) -> Self {
        let heartbeat = proto::SendNodeHeartbeatRequest { heartbeat_interval: 30.0, ..Default::default() };
        let object_id = "0123456789abcdef".repeat(4);
        let object = proto::PushObjectRequest {
            object_id: object_id.clone(),
            object_content: NOISE.clone(),
            ..Default::default()
        };
        let object_id = proto::PullObjectRequest { object_id, ..Default::default() };
        Self {
            channel,
            heartbeat: heartbeat.encode_to_vec().into(),
            object: object.encode_to_vec().into(),
            object_id: object_id.encode_to_vec().into(),
        }
    }

    async fn ready(&self) -> Result<tonic::client::Grpc<Channel>, Failure> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc = grpc.max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE);
        grpc.ready().await?;
        Ok(grpc)
    }

    async fn unary(&self, path: &'static str, request: Bytes) -> Result<Bytes, Failure> {
        let path = PathAndQuery::from_static(path);
        Ok(self.ready().await?.unary(Request::new(request), path, BytesCodec).await?.into_inner())
    }
}

impl Peer for Grpc {
    type Caller = Self;

    async fn caller(&self) -> Result<Self, Failure> {
        Ok(self.clone())
    }

    async fn upload(&self, limit: Limit) -> Result<Seconds, Failure> {
        let blocks = Request::new(tokio_stream::iter(limit.blocks()));
        let path = PathAndQuery::from_static(UPLOAD);
        let counted = self.ready().await?.client_streaming(blocks, path, BytesCodec).await?.into_inner();
        Ok(Seconds::from_bytes(&counted))
    }

    async fn download(&self, limit: Limit) -> Result<u64, Failure> {
        let path = PathAndQuery::from_static(DOWNLOAD);
        let request = Request::new(limit.to_bytes());
        let mut blocks = self.ready().await?.server_streaming(request, path, BytesCodec).await?.into_inner();
        let mut counted = 0;
        while let Some(block) = blocks.message().await? {
            counted += block.len() as u64;
        }
        Ok(counted)
    }

    async fn push_object(&self) -> Result<(), Failure> {
        let answer = self.unary(PUSH_OBJECT, self.object.clone()).await?;
        let stored = proto::PushObjectResponse::decode(answer)?.stored;
        if stored { Ok(()) } else { Err("the object was not stored".into()) }
    }

    async fn pull_object(&self) -> Result<(), Failure> {
        let answer = self.unary(PULL_OBJECT, self.object_id.clone()).await?;
        let object = proto::PullObjectResponse::decode(answer)?.object_content;
        if object.len() == NOISE.len() { Ok(()) } else { Err("the object has another size".into()) }
    }
}

impl Caller for Grpc {
    async fn call(&mut self) -> Result<(), Failure> {
        let answer = self.unary(HEARTBEAT, self.heartbeat.clone()).await?;
        let success = proto::SendNodeHeartbeatResponse::decode(answer)?.success;
        if success { Ok(()) } else { Err("the heartbeat was refused".into()) }
    }
}

impl Limit {
    /// As the server of either protocol reads it.
    pub(super) fn to_bytes(self) -> Bytes {
        let time = u64::try_from(self.time.as_micros()).unwrap_or(u64::MAX);
        [time.to_be_bytes(), self.bytes.to_be_bytes()].concat().into()
    }

    /// What [`to_bytes`](Self::to_bytes) wrote.
    pub(super) fn from_bytes(mut bytes: Bytes) -> Result<Self, Failure> {
        let time = std::time::Duration::from_micros(bytes.try_get_u64()?);
        Ok(Self { time, bytes: bytes.try_get_u64()? })
    }
}

fn endpoint(uri: String) -> Result<transport::Endpoint, Failure> {
    let endpoint = transport::Endpoint::from_shared(uri)?;
    Ok(endpoint
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_SIZE))
}
