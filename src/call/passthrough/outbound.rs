//! Pass-through from a local connection into the tunnel.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::splice;
use crate::{
    hop,
    protocol::{Api, CallError, FlowerError, MAX_ERROR_BODY},
    report::chain,
    tunnel::{Size, Tunnel},
};

/// The wait for the other side to connect. It allows 4 s for a lost link and 2 s for the target; beyond that, a socket that
/// is open and silent does harm.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Forwards one local connection until it ends.
///
/// # Errors
/// If the peer refuses it or cannot be reached. The connection is then closed, and Flower's clients retry.
pub(crate) async fn forward(socket: TcpStream, tunnel: &Tunnel, stop: &CancellationToken) -> Result<(), CallError> {
    let mut request = Request::new(hop::full(Bytes::new()));
    *request.method_mut() = Method::CONNECT;
    let late = || CallError::unavailable(format_args!("the other side did not connect within {CONNECT_TIMEOUT:?}"));
    let (response, _lane) = timeout(CONNECT_TIMEOUT, tunnel.call(Size::Bulk, request)).await.map_err(|_| late())??;
    if !response.status().is_success() {
        return Err(refusal(response).await);
    }
    let upgraded =
        hyper::upgrade::on(response).await.map_err(|error| CallError::unavailable(chain(&error)).caused_by(error))?;
    if let Err(error) = splice::copy_bidirectional(socket, TokioIo::new(upgraded), stop).await {
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
