//! The server of a SuperLink as far as a bench needs one.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use flower_iroh_funnel::proto;
use http::{Request as HttpRequest, Response as HttpResponse};
use prost::Message;
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    server::{Grpc, NamedService},
};
use tower::service_fn;

use super::{
    Limit, NOISE,
    codec::BytesCodec,
    grpc::{DOWNLOAD, HEARTBEAT, PULL_OBJECT, PUSH_OBJECT, UPLOAD},
    seconds::Seconds,
};

/// An object and what is around it.
const MAX_MESSAGE: usize = 8 << 20;

/// Answers Flower's calls for heartbeats and objects, and two for bulk transfers.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    heartbeat: Bytes,
    stored: Bytes,
    object: Bytes,
}

impl Service {
    /// A service that answers with the same objects for ever.
    pub(crate) fn new() -> Self {
        let object =
            proto::PullObjectResponse { object_found: true, object_available: true, object_content: NOISE.clone() };
        Self {
            heartbeat: proto::SendNodeHeartbeatResponse { success: true }.encode_to_vec().into(),
            stored: proto::PushObjectResponse { stored: true }.encode_to_vec().into(),
            object: object.encode_to_vec().into(),
        }
    }

    async fn answer(self, request: HttpRequest<Body>) -> HttpResponse<Body> {
        match request.uri().path() {
            HEARTBEAT => unary(self.heartbeat, request).await,
            PUSH_OBJECT => unary(self.stored, request).await,
            PULL_OBJECT => unary(self.object, request).await,
            UPLOAD => grpc().client_streaming(service_fn(count), request).await,
            DOWNLOAD => grpc().server_streaming(service_fn(send), request).await,
            path => Status::unimplemented(path).into_http(),
        }
    }
}

impl tower::Service<HttpRequest<Body>> for Service {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}

impl NamedService for Service {
    const NAME: &'static str = "flwr.proto.Fleet";
}

fn grpc() -> Grpc<BytesCodec> {
    Grpc::new(BytesCodec).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE)
}

async fn unary(answer: Bytes, request: HttpRequest<Body>) -> HttpResponse<Body> {
    let service = service_fn(move |_: Request<Bytes>| std::future::ready(Ok(Response::new(answer.clone()))));
    grpc().unary(service, request).await
}

async fn count(request: Request<Streaming<Bytes>>) -> Result<Response<Bytes>, Status> {
    let mut blocks = request.into_inner();
    let mut counted = Seconds::begin();
    while let Some(block) = blocks.message().await? {
        counted.add(block.len());
    }
    Ok(Response::new(counted.to_bytes()))
}

type Blocks = Pin<Box<dyn tokio_stream::Stream<Item = Result<Bytes, Status>> + Send>>;

async fn send(request: Request<Bytes>) -> Result<Response<Blocks>, Status> {
    let limit = Limit::from_bytes(request.into_inner()).map_err(|error| Status::invalid_argument(error.to_string()))?;
    Ok(Response::new(Box::pin(tokio_stream::iter(limit.blocks().map(Ok)))))
}
