//! The public handle of a tunnel to one peer.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use iroh::EndpointId;
use tower_service::Service;

use super::{Hello, PeerDown, Size, Tunnel};
use crate::{
    hop::{self, Body, Relayed},
    protocol::{BoxError, CallError, Route, Wire},
    transport::Path,
};

/// A tunnel to one peer funnel. Clones share it.
#[derive(Clone, Debug)]
pub struct PeerConn {
    tunnel: Tunnel,
}

impl PeerConn {
    pub(crate) fn new(tunnel: Tunnel) -> Self {
        Self { tunnel }
    }

    /// Returns the peer's endpoint id.
    pub fn peer(&self) -> EndpointId {
        self.tunnel.peer()
    }

    /// Returns what the peer reported about itself; `None` while there is no link.
    pub fn hello(&self) -> Option<Hello> {
        self.tunnel.hello()
    }

    /// Returns the network path in use, with its round trip; `None` while there is no link.
    pub fn path(&self) -> Option<Path> {
        self.tunnel.path()
    }

    /// Waits without a time limit for a path for which `wanted` returns true. A link often begins over a relay and becomes
    /// direct soon after, if both networks allow it.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn path_where(&self, wanted: impl FnMut(&Path) -> bool) -> Path {
        self.tunnel.path_where(wanted).await
    }

    /// Returns why there is no link; `None` while there is one.
    pub fn down(&self) -> Option<PeerDown> {
        self.tunnel.down()
    }

    /// Waits for a link without a time limit, and calls `on_down` with each new reason why there is none.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn ready(&self, on_down: impl FnMut(&PeerDown)) -> Hello {
        self.tunnel.ready(on_down).await
    }

    /// Returns a channel for a tonic client, for instance `FleetClient::new(peer.channel())`.
    pub fn channel(&self) -> PeerChannel {
        PeerChannel { tunnel: self.tunnel.clone() }
    }
}

/// A gRPC channel over a tunnel: a `tower::Service` for tonic's clients.
///
/// When a link is lost, its calls end with `UNAVAILABLE` and the reason; later calls use the next link.
#[derive(Clone, Debug)]
pub struct PeerChannel {
    tunnel: Tunnel,
}

impl<B> Service<Request<B>> for PeerChannel
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = tonic::Status;
    type Future = PeerCall;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), tonic::Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> PeerCall {
        let tunnel = self.tunnel.clone();
        let size = Route::of(&request).map_or(Size::Bulk, |route| Size::of(&route));
        let request = request.map(hop::boxed);
        PeerCall(Box::pin(async move {
            let (response, lane) = tunnel.call(size, request).await.map_err(status)?;
            Ok(Relayed::received(response).map_err(status)?.for_caller(Wire::Grpc, "the tunnel", lane))
        }))
    }
}

/// Makes the status of a call that was not carried, with the error as its source.
fn status(error: CallError) -> tonic::Status {
    let code = tonic::Code::from(i32::from(error.status().grpc()));
    let mut status = tonic::Status::new(code, error.to_string());
    status.set_source(Arc::new(error));
    status
}

/// A call of a [`PeerChannel`].
#[must_use = "futures do nothing unless awaited"]
pub struct PeerCall(Pin<Box<dyn Future<Output = Result<Response<Body>, tonic::Status>> + Send>>);

impl Future for PeerCall {
    type Output = Result<Response<Body>, tonic::Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for PeerCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerCall").finish_non_exhaustive()
    }
}
