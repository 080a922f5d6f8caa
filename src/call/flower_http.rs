//! A Flower server in Rust that accepts calls in either wire.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use tower_layer::Layer;
use tower_service::Service;
use tracing::debug;

use super::translated;
use crate::{
    hop::{self, Body},
    protocol::{Api, ApiSet, BoxError, CallError, Route, Translation, Wire},
    tunnel::{ApiReport, Hello, WireReport},
};

/// A layer that makes a tonic server of Flower's services reachable through outbound funnels, for Flower clients of either
/// wire: it forwards gRPC, translates Flower's HTTP calls, and answers the funnels' hello.
///
/// ```no_run
/// use flower_iroh_funnel::{ALPN, Api, FlowerHttpLayer, transport::IrohIncoming};
/// # use flower_iroh_funnel::Body;
/// # use std::{convert::Infallible, task::{Context, Poll}};
/// # #[derive(Clone)] struct FleetServer;
/// # impl tonic::server::NamedService for FleetServer { const NAME: &'static str = "flwr.proto.Fleet"; }
/// # impl tower::Service<http::Request<tonic::body::Body>> for FleetServer {
/// #     type Response = http::Response<tonic::body::Body>;
/// #     type Error = Infallible;
/// #     type Future = std::future::Ready<Result<Self::Response, Infallible>>;
/// #     fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> { Poll::Ready(Ok(())) }
/// #     fn call(&mut self, _: http::Request<tonic::body::Body>) -> Self::Future { unimplemented!() }
/// # }
///
/// # async fn example(endpoint: iroh::Endpoint, fleet: FleetServer) -> Result<(), Box<dyn std::error::Error>> {
/// tonic::transport::Server::builder()
///     .layer(FlowerHttpLayer::new([Api::Fleet]))
///     .add_service(fleet) // a `proto::fleet_server::FleetServer`
///     .serve_with_incoming(IrohIncoming::new(endpoint, ALPN))
///     .await?;
/// # Ok(()) }
/// ```
///
/// The server decides which peers may call: with an endpoint hook, or with an interceptor that reads
/// [`PeerInfo`](crate::transport::PeerInfo).
#[derive(Clone, Debug)]
pub struct FlowerHttpLayer {
    apis: ApiSet,
}

impl FlowerHttpLayer {
    /// Creates a layer for a server of these APIs.
    pub fn new(apis: impl IntoIterator<Item = Api>) -> Self {
        Self { apis: apis.into_iter().collect() }
    }
}

impl<S> Layer<S> for FlowerHttpLayer {
    type Service = FlowerHttp<S>;

    fn layer(&self, inner: S) -> FlowerHttp<S> {
        let apis = self.apis.iter().map(|api| {
            let grpc = WireReport::new(Wire::Grpc.to_string(), "up".to_owned());
            ApiReport::new(api.to_string(), vec![grpc])
        });
        FlowerHttp { inner, apis: self.apis, hello: Arc::new(Hello::new(apis.collect())) }
    }
}

/// The service that a [`FlowerHttpLayer`] wraps around another one.
#[derive(Clone, Debug)]
pub struct FlowerHttp<S> {
    inner: S,
    apis: ApiSet,
    hello: Arc<Hello>,
}

impl<S, Req, Res> Service<Request<Req>> for FlowerHttp<S>
where
    S: Service<Request<tonic::body::Body>, Response = Response<Res>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    Req: HttpBody<Data = Bytes> + Send + 'static,
    Req::Error: Into<BoxError>,
    Res: HttpBody<Data = Bytes> + Send + 'static,
    Res::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = FlowerHttpCall<S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Req>) -> Self::Future {
        // The clone may not be ready; the service that was polled is.
        let next = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, next);
        let this = Self { inner, apis: self.apis, hello: Arc::clone(&self.hello) };
        FlowerHttpCall(Box::pin(this.handle(request.map(hop::boxed))))
    }
}

impl<S, Res> FlowerHttp<S>
where
    S: Service<Request<tonic::body::Body>, Response = Response<Res>> + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    Res: HttpBody<Data = Bytes> + Send + 'static,
    Res::Error: Into<BoxError>,
{
    async fn handle(mut self, request: Request<Body>) -> Result<Response<Body>, S::Error> {
        if Wire::of_request(&request) == Wire::Grpc {
            return self.pass(request).await;
        }
        match Route::of(&request) {
            Ok(Route::Hello) => Ok(self.hello.response().map(hop::full)),
            Ok(Route::Call { api, wire: Wire::Http, method, path }) if self.apis.contains(api) => {
                let answered = match Translation::of(api, method, path.path(), Wire::Http) {
                    Ok(translation) => {
                        translated::forward(translation, "the service", request, move |request| self.send(request))
                            .await
                    }
                    Err(error) => Err(error),
                };
                Ok(answered.map_or_else(|error| refused(&error), |(response, _)| response))
            }
            // tonic would answer with a gRPC error, which has HTTP status 200: HTTP callers would see a success.
            Ok(Route::Call { api, wire: Wire::Http, .. }) => {
                Ok(refused(&CallError::unavailable(format_args!("this server does not serve the {api} API"))))
            }
            Ok(Route::Health) => Ok(refused(&CallError::unavailable("this server speaks gRPC, which has no /health"))),
            Ok(Route::Call { wire: Wire::Grpc, .. } | Route::Passthrough) | Err(_) => self.pass(request).await,
        }
    }

    async fn pass(&mut self, request: Request<Body>) -> Result<Response<Body>, S::Error> {
        Ok(self.inner.call(request.map(tonic::body::Body::new)).await?.map(hop::boxed))
    }

    async fn send(mut self, request: Request<Body>) -> Result<Response<Body>, CallError> {
        let answered = self.inner.call(request.map(tonic::body::Body::new)).await;
        answered.map(|response| response.map(hop::boxed)).map_err(|error| CallError::unavailable(error.into()))
    }
}

fn refused(error: &CallError) -> Response<Body> {
    debug!(%error, "answered instead of the service");
    error.response(Wire::Http).map(hop::full)
}

/// A call of a [`FlowerHttp`] service.
#[must_use = "futures do nothing unless awaited"]
pub struct FlowerHttpCall<E>(Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>);

impl<E> Future for FlowerHttpCall<E> {
    type Output = Result<Response<Body>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<E> fmt::Debug for FlowerHttpCall<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowerHttpCall").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::header::CONTENT_TYPE;
    use tower::{ServiceExt, service_fn};

    use super::*;

    /// Sends a request to a server of the Fleet API whose service answers everything with a gRPC error.
    async fn send(request: http::request::Builder) -> Response<Body> {
        let unimplemented = service_fn(async |_: Request<tonic::body::Body>| {
            Ok::<_, Infallible>(tonic::Status::unimplemented("not implemented").into_http::<tonic::body::Body>())
        });
        let server = FlowerHttpLayer::new([Api::Fleet]).layer(unimplemented);
        server.oneshot(request.body(hop::full(Bytes::new())).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn an_http_call_is_never_answered_in_grpc() {
        let protobuf = |path| Request::post(path).header(CONTENT_TYPE, "application/protobuf");
        let control = protobuf("/v1/control/list-runs");
        let unknown = protobuf("/v1/fleet/no-such-method");
        let unimplemented = protobuf("/v1/fleet/pull-messages");
        for request in [control, unknown, unimplemented, Request::get("/health")] {
            let answer = send(request).await;
            assert_eq!(answer.status(), 503);
            assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
        }
    }

    #[tokio::test]
    async fn grpc_calls_are_answered_by_the_service() {
        for path in ["/flwr.proto.Control/ListRuns", "/flwr.proto.Fleet/PullMessages", "/grpc.health.v1.Health/Check"] {
            let answer = send(Request::post(path).header(CONTENT_TYPE, "application/grpc")).await;
            assert_eq!(answer.headers()["grpc-status"], "12", "{path}");
        }
    }
}
