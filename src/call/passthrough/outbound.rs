//! Pass-through from a local connection into the tunnel.

use std::time::Duration;

use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    call_stream::{CallStream, SentBody},
    splice,
};
use crate::{
    hop::{self, Relayed, tcp::TcpConnection},
    protocol::{Api, CallError, FlowerError, MAX_ERROR_BODY, PASSTHROUGH_PATH},
    tunnel::{Size, Tunnel},
};

/// The wait for the other side to connect. It allows 4 s for a lost link and 2 s for the target; beyond that, a socket that
/// is open and silent does harm.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Forwards one local connection until it ends.
///
/// # Errors
/// If the peer refuses it or cannot be reached. The connection is then reset, and Flower's clients retry.
pub(crate) async fn forward(socket: TcpConnection, tunnel: &Tunnel, stop: &CancellationToken) -> Result<(), CallError> {
    socket.reset_on_drop(true);
    // Held until the answer is read: the call is reset when it is dropped.
    let (sender, body) = SentBody::new();
    let request = Request::post(Uri::from_static(PASSTHROUGH_PATH)).body(body).expect("a constant is a path");
    let late = || CallError::unavailable(format_args!("the other side did not connect within {CONNECT_TIMEOUT:?}"));
    let (response, _lane) = timeout(CONNECT_TIMEOUT, tunnel.call(Size::Bulk, request)).await.map_err(|_| late())??;
    if !response.status().is_success() {
        return Err(refusal(response).await);
    }
    let received = hop::boxed(Relayed::received(response)?.into_response().into_body());
    if let Err(error) = splice::splice(socket, CallStream::new(received, sender), stop).await {
        debug!(%error, "a pass-through connection ended");
    }
    Ok(())
}

/// Reads the other funnel's reason.
async fn refusal(response: Response<Incoming>) -> CallError {
    let (parts, body) = response.into_parts();
    match Limited::new(body, MAX_ERROR_BODY).collect().await {
        Ok(body) => CallError::refused(FlowerError::of_http(parts.status, &body.to_bytes(), Api::Fleet).0),
        Err(_) => CallError::unavailable(format_args!("the other side answered {} without a reason", parts.status)),
    }
}
