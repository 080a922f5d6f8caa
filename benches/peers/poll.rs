//! One poll, as a SuperNode with a key of its own sends it over HTTP.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use flower_iroh_funnel::{
    PeerConn,
    proto::{Node, PullMessagesRequest, PullMessagesResponse},
};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use prost::Message;
use tokio::time::timeout;
use tower::Service;

use crate::failure::{Context, Failure};

/// A heartbeat's patience; a poll that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a public key in PEM and of a signature: P-384.
const PUBLIC_KEY: usize = 215;
const SIGNATURE: usize = 103;

/// Asks the SuperLink for messages; there are none.
pub(crate) async fn poll(peer: &PeerConn, node_id: u64) -> Result<(), Failure> {
    timeout(TIMEOUT, ask(peer, node_id)).await.context(format_args!("a poll of node {node_id}"))?
}

async fn ask(peer: &PeerConn, node_id: u64) -> Result<(), Failure> {
    let response = peer.channel().call(request(node_id)?).await?;
    let status = response.status();
    let body = response.into_body().collect().await?;
    // The funnel tells of a break in trailers.
    if status != StatusCode::OK || body.trailers().is_some() {
        let trailers = body.trailers().cloned();
        return Err(format!("status {status}, trailers {trailers:?}: {:?}", body.to_bytes()).into());
    }
    PullMessagesResponse::decode(body.to_bytes())?;
    Ok(())
}

fn request(node_id: u64) -> Result<Request<Full<Bytes>>, Failure> {
    let ask = PullMessagesRequest { node: Some(Node { node_id }), message_ids: Vec::new() };
    // The key stays, time and signature are new each time: HTTP/2's tables of headers fill up as they do in use.
    let mut key = fastrand::Rng::with_seed(node_id);
    let mut now = fastrand::Rng::new();
    let request = Request::post("/v1/fleet/pull-messages")
        .header("content-type", "application/protobuf")
        .header("user-agent", "python-requests/2.32.5")
        .header("flwr-public-key-bin", text(&mut key, PUBLIC_KEY))
        .header("flwr-timestamp", format!("2026-01-01T00:00:00.{:06}+00:00", now.u32(..1_000_000)))
        .header("flwr-signature-bin", text(&mut now, SIGNATURE));
    Ok(request.body(Full::from(ask.encode_to_vec()))?)
}

fn text(random: &mut fastrand::Rng, len: usize) -> String {
    STANDARD.encode(std::iter::repeat_with(|| random.u8(..)).take(len).collect::<Vec<_>>())
}
