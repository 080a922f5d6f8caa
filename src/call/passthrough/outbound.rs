//! From a local connection into the tunnel.

use std::time::Duration;

use ::bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::splice;
use crate::{
    hop::{self, chain},
    protocol::{Api, Failure, FlowerError, MAX_ERROR_BODY},
    tunnel::{Size, Tunnel},
};

/// A lost link is awaited for 4 s, and an upstream for 2 s. Later, a socket that is open and silent does harm.
const PATIENCE: Duration = Duration::from_secs(10);

/// Carries one local connection to its end.
///
/// # Errors
/// The peer does not take it. The connection is closed then, at which Flower's clients try again.
pub(crate) async fn carry(socket: TcpStream, tunnel: &Tunnel, stop: &CancellationToken) -> Result<(), Failure> {
    let mut request = Request::new(hop::full(Bytes::new()));
    *request.method_mut() = Method::CONNECT;
    let late = || Failure::unavailable(format_args!("the other side does not connect within {PATIENCE:?}"));
    let (response, _lane) = timeout(PATIENCE, tunnel.call(Size::Bulk, request)).await.map_err(|_| late())??;
    if !response.status().is_success() {
        return Err(refusal(response).await);
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(|error| Failure::unavailable(chain(&error)))?;
    if let Err(error) = splice::exchange(socket, TokioIo::new(upgraded), stop).await {
        debug!(%error, "a pass-through connection ended");
    }
    Ok(())
}

/// The other funnel's own words.
async fn refusal(response: Response<Incoming>) -> Failure {
    let (parts, body) = response.into_parts();
    match Limited::new(body, MAX_ERROR_BODY).collect().await {
        Ok(body) => Failure::refused(FlowerError::of_http(parts.status, &body.to_bytes(), Api::Fleet).0),
        Err(_) => Failure::unavailable(format_args!("the other side answers {} and no more", parts.status)),
    }
}
