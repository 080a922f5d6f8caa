//! A pair of funnels, an upstream that records what reaches it, and clients of both wires.

// Several test files include this module by path, and each uses a part of it.
#![allow(dead_code, unused_imports)]

use std::{convert::Infallible, future::Future, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use flower_iroh_funnel::{
    Api, EndpointAddr, Exposed, Funnel, FunnelConfig, FunnelConfigBuilder, PeerConfig, RelayMode, SecretKey,
    protocol::Wire,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;

pub(crate) use crate::raw_peer::RawPeer;

/// Nothing here takes long: what lasts longer hangs.
pub(crate) const GUARD: Duration = Duration::from_secs(180);

/// Bounds a whole test.
pub(crate) async fn guarded<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(GUARD, test).await.expect("the test hangs")
}

pub(crate) type Body = BoxBody<Bytes, Infallible>;
type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
type Handler = Arc<dyn Fn(Request<Incoming>) -> Answer + Send + Sync>;

/// A local HTTP server in a SuperLink's place.
pub(crate) struct Upstream {
    pub(crate) addr: SocketAddr,
    serving: AbortOnDropHandle<()>,
}

impl Upstream {
    /// Serves HTTP/1.1 and HTTP/2 on a free port.
    pub(crate) async fn start<F>(handler: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, handler)
    }

    /// Answers a funnel's looks as a SuperLink does that serves every API in both wires.
    pub(crate) fn on<F>(listener: TcpListener, handler: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |request| Box::pin(handler(request)));
        Self::unprobed(listener, move |request: Request<Incoming>| match request.uri().path() {
            "/flwr.proto.Fleet/FunnelProbe" => probed("application/grpc"),
            path if path.starts_with("/v1/") && request.method() == "GET" => probed("text/plain"),
            _ => handler(request),
        })
    }

    /// Leaves a funnel's looks to the handler, too.
    pub(crate) fn unprobed<F>(
        listener: TcpListener,
        handler: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let addr = listener.local_addr().unwrap();
        let handler = Arc::new(handler);
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let handler = Arc::clone(&handler);
                connections.spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        let answer = handler(request);
                        async move { Ok::<_, Infallible>(answer.await) }
                    });
                    // A client that goes away is the client's business.
                    let _ =
                        auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { addr, serving: AbortOnDropHandle::new(serving) }
    }

    /// Ends it, and with it every connection; its port is free afterwards.
    pub(crate) async fn stop(self) {
        self.serving.abort();
        // Aborted, it has no result.
        let _ = self.serving.await;
    }

    /// Answers every call with its own request: headers, body, trailers.
    pub(crate) async fn echo() -> Self {
        Self::start(echo).await
    }

    /// Itself as a SuperLink that speaks this wire alone.
    pub(crate) fn speaking(&self, wire: Wire) -> Exposed {
        let url = self.url(&wire.to_string());
        Exposed::new().upstream(Api::Fleet, url.clone()).upstream(Api::Control, url)
    }

    /// Itself as a SuperLink that speaks both wires.
    pub(crate) fn both_wires(&self) -> Exposed {
        let grpc = self.url("grpc");
        Exposed::new().superlink(self.url("http")).upstream(Api::Fleet, grpc.clone()).upstream(Api::Control, grpc)
    }

    pub(crate) fn url(&self, scheme: &str) -> flower_iroh_funnel::Upstream {
        format!("{scheme}://{}", self.addr).parse().unwrap()
    }
}

/// What Flower says to a funnel that looks whether it is there.
fn probed(content_type: &'static str) -> Answer {
    Box::pin(async move { full(StatusCode::METHOD_NOT_ALLOWED, content_type, "") })
}

/// The request as a response in its own wire. What came as `x-*` or `*-bin` header goes back, the path in `x-path`.
pub(crate) async fn echo(request: Request<Incoming>) -> Response<Body> {
    let (parts, mut body) = request.into_parts();
    let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
    let is_grpc =
        parts.headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    tokio::spawn(async move {
        while let Some(Ok(frame)) = body.frame().await {
            if sender.send(Ok(frame)).await.is_err() {
                return;
            }
        }
        if is_grpc {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            trailers.insert("x-trailer-bin", HeaderValue::from_static("AAEC/w"));
            let _ = sender.send(Ok(Frame::trailers(trailers))).await;
        }
    });
    let mut response = Response::new(StreamBody::new(ReceiverStream::new(receiver)).boxed());
    for (name, value) in &parts.headers {
        let name_text = name.as_str();
        if name_text.starts_with("x-") || name_text.ends_with("-bin") || name == CONTENT_TYPE {
            response.headers_mut().append(name, value.clone());
        }
    }
    response.headers_mut().insert("x-path", HeaderValue::from_str(parts.uri.path()).unwrap());
    response
}

/// A response with all of its body.
pub(crate) fn full(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A funnel that serves in the background until it is stopped.
pub(crate) struct Running {
    pub(crate) funnel: Funnel,
    serving: JoinHandle<Result<(), flower_iroh_funnel::Error>>,
}

impl Running {
    pub(crate) async fn start(config: FunnelConfig) -> Self {
        Self::serve(Funnel::new(config).await.unwrap())
    }

    /// Starts on a port that an earlier funnel may not have left yet: the system tells nobody when it has.
    pub(crate) async fn start_on_used_port(config: FunnelConfig) -> Self {
        loop {
            match Funnel::new(config.clone()).await {
                Ok(funnel) => return Self::serve(funnel),
                Err(error) => assert!(error.is_listen(), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn serve(funnel: Funnel) -> Self {
        let serving = tokio::spawn({
            let funnel = funnel.clone();
            async move { funnel.serve().await }
        });
        Self { funnel, serving }
    }

    /// Drains it and waits for its end.
    pub(crate) async fn stop(self) {
        self.funnel.shutdown();
        self.serving.await.unwrap().unwrap();
    }
}

/// A configuration that stays on loopback.
pub(crate) fn loopback() -> FunnelConfigBuilder {
    FunnelConfig::builder()
        .relay_mode(RelayMode::Disabled)
        .bind_addr("127.0.0.1:0".parse().unwrap())
        .flower_grpc_addr("127.0.0.1:0".parse().unwrap())
}

/// An inbound and an outbound funnel, the latter allowed to call `apis`.
pub(crate) struct Pair {
    pub(crate) inbound: Running,
    pub(crate) outbound: Running,
    pub(crate) peer: EndpointAddr,
    pub(crate) dial: SocketAddr,
}

impl Pair {
    pub(crate) async fn start(exposed: Exposed, apis: &[Api]) -> Self {
        Self::with(loopback(), exposed, apis).await
    }

    /// A pair whose inbound funnel cuts the calls under way when it stops.
    pub(crate) async fn hasty(exposed: Exposed, apis: &[Api]) -> Self {
        Self::with(loopback().drain_timeout(Duration::ZERO), exposed, apis).await
    }

    async fn with(inbound: FunnelConfigBuilder, exposed: Exposed, apis: &[Api]) -> Self {
        let key = SecretKey::generate();
        Self::between(inbound, loopback().secret_key(key.clone()), key, exposed, apis).await
    }

    /// A pair of these two, of which the outbound one has `key`.
    pub(crate) async fn between(
        inbound: FunnelConfigBuilder,
        outbound: FunnelConfigBuilder,
        key: SecretKey,
        exposed: Exposed,
        apis: &[Api],
    ) -> Self {
        let exposed = exposed.allow(key.public(), apis.iter().copied());
        let inbound = Running::start(inbound.expose(exposed).build().unwrap()).await;
        let peer = inbound.funnel.endpoint_addr().await;
        let outbound = Running::start(outbound.peer(PeerConfig::new(peer.clone())).build().unwrap()).await;
        outbound.funnel.connect_to_peer(peer.clone()).await.unwrap();
        let dial = outbound.funnel.local_addrs()[0];
        Self { inbound, outbound, peer, dial }
    }

    pub(crate) async fn stop(self) {
        self.outbound.stop().await;
        self.inbound.stop().await;
    }
}

/// An outbound funnel towards `peer`.
pub(crate) async fn join(peer: EndpointAddr, key: SecretKey) -> Running {
    Running::start(loopback().secret_key(key).peer(PeerConfig::new(peer)).build().unwrap()).await
}

/// A client of a local port.
#[derive(Clone)]
pub(crate) struct LocalClient {
    http: Client<hyper_util::client::legacy::connect::HttpConnector, Body>,
    version: Version,
    addr: SocketAddr,
}

impl LocalClient {
    pub(crate) fn http(addr: SocketAddr) -> Self {
        Self { http: Client::builder(TokioExecutor::new()).build_http(), version: Version::HTTP_11, addr }
    }

    pub(crate) fn grpc(addr: SocketAddr) -> Self {
        // hyper's own limit for headers is below that of a funnel.
        let mut builder = Client::builder(TokioExecutor::new());
        let http = builder.http2_only(true).http2_max_header_list_size(1 << 20).build_http();
        Self { http, version: Version::HTTP_2, addr }
    }

    pub(crate) async fn send(
        &self,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
        let uri = format!("http://{}{}", self.addr, request.uri().path_and_query().unwrap());
        *request.uri_mut() = uri.parse().unwrap();
        *request.version_mut() = self.version;
        self.http.request(request).await
    }
}

/// A call of Flower's HTTP API.
pub(crate) fn http_call(path: &str, body: impl Into<Bytes>) -> Request<Body> {
    call(path, "application/protobuf", body)
}

/// A gRPC call.
pub(crate) fn grpc_call(path: &str, body: impl Into<Bytes>) -> Request<Body> {
    let mut request = call(path, "application/grpc", body);
    request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    request
}

fn call(path: &str, content_type: &'static str, body: impl Into<Bytes>) -> Request<Body> {
    Request::post(path).header(CONTENT_TYPE, content_type).body(Full::new(body.into()).boxed()).unwrap()
}

/// A body that is written piece by piece.
pub(crate) fn piecewise() -> (mpsc::Sender<Result<Frame<Bytes>, Infallible>>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, StreamBody::new(ReceiverStream::new(receiver)).boxed())
}

/// The JSON `detail` of a failure in the HTTP wire.
pub(crate) async fn detail(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    json["detail"].as_str().unwrap().to_owned()
}
