//! A pkarr server: signed records of peers, over HTTP.
//!
//! iroh's own client (1.4) waits for an answer without end and takes one of any size; this one is bounded in both. What is
//! in a record, and whether its signature is right, iroh decides.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use iroh::{
    Endpoint, EndpointId, SecretKey,
    address_lookup::{DEFAULT_PKARR_TTL, EndpointInfo},
};
use iroh_dns::pkarr::SignedPacket;
use tokio::time::timeout;
use url::Url;

use crate::{protocol::BoxError, report::chain};

/// For one exchange. A server that takes longer is as good as none: a dial has 10 s.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where peers publish records and ask for those of others.
pub(super) struct PkarrServer {
    url: Url,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// Why there is no record, or why it was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PkarrError {
    /// The server has none.
    NoRecord,
    /// What it answered is no record that the peer has signed.
    NotSigned,
    /// It answered with this status.
    Status(StatusCode),
    /// It did not answer in time.
    Silent,
    /// It was not reached.
    Unreachable(String),
}

impl PkarrServer {
    /// The server at `url`, known by the authorities that vouch for relays as well.
    pub(super) fn new(url: Url, endpoint: &Endpoint) -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(endpoint.tls_config().clone())
            .https_or_http()
            .enable_http1()
            .build();
        Self { url, client: Client::builder(TokioExecutor::new()).build(connector) }
    }

    /// What `peer` has published.
    pub(super) async fn record(&self, peer: EndpointId) -> Result<EndpointInfo, PkarrError> {
        let payload = self.exchange(Method::GET, peer, Bytes::new()).await?;
        let packet = SignedPacket::from_relay_payload(&peer, &payload).map_err(|_| PkarrError::NotSigned)?;
        EndpointInfo::from_pkarr_signed_packet(&packet).map_err(|_| PkarrError::NotSigned)
    }

    /// Publishes `info`, signed with `key`. Of more addresses than a record holds, the last are left out.
    pub(super) async fn publish(&self, info: &EndpointInfo, key: &SecretKey) -> Result<(), PkarrError> {
        let packet = sign(info, key).map_err(PkarrError::Unreachable)?;
        self.exchange(Method::PUT, key.public(), packet.to_relay_payload().into()).await.map(drop)
    }

    async fn exchange(&self, method: Method, peer: EndpointId, body: Bytes) -> Result<Bytes, PkarrError> {
        let exchange = async {
            let mut request = Request::new(Full::new(body));
            *request.method_mut() = method;
            let path = format!("{}/{}", self.url.as_str().trim_end_matches('/'), peer.to_z32());
            *request.uri_mut() = path.parse().map_err(|error| unreachable(&error))?;
            let response = self.client.request(request).await.map_err(|error| unreachable(&error))?;
            match response.status() {
                StatusCode::NOT_FOUND => return Err(PkarrError::NoRecord),
                status if !status.is_success() => return Err(PkarrError::Status(status)),
                _ => {}
            }
            let body = Limited::new(response.into_body(), SignedPacket::MAX_BYTES).collect().await;
            body.map(|body| body.to_bytes()).map_err(|_: BoxError| PkarrError::NotSigned)
        };
        timeout(TIMEOUT, exchange).await.unwrap_or(Err(PkarrError::Silent))
    }
}

fn unreachable(error: &(dyn std::error::Error + 'static)) -> PkarrError {
    PkarrError::Unreachable(chain(error))
}

fn sign(info: &EndpointInfo, key: &SecretKey) -> Result<SignedPacket, String> {
    let mut addrs: Vec<_> = info.addrs().cloned().collect();
    // The relay stays, whatever is left out.
    addrs.sort_by_key(|addr| !addr.is_relay());
    loop {
        let info = EndpointInfo::from_parts(info.endpoint_id, addrs.iter().cloned().collect());
        match info.to_pkarr_signed_packet(key, DEFAULT_PKARR_TTL) {
            Err(_) if addrs.len() > 1 => addrs.truncate(addrs.len() - 1),
            packet => return packet.map_err(|error| format!("{error:#}")),
        }
    }
}

impl fmt::Display for PkarrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRecord => f.write_str("has no record"),
            Self::NotSigned => f.write_str("answered what is no record signed by that peer"),
            Self::Status(status) => write!(f, "answered {status}"),
            Self::Silent => write!(f, "did not answer within {} s", TIMEOUT.as_secs()),
            Self::Unreachable(reason) => write!(f, "cannot be asked: {reason}"),
        }
    }
}

impl fmt::Debug for PkarrServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PkarrServer").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use iroh::TransportAddr;

    use super::*;

    #[test]
    fn of_too_many_addresses_the_relay_is_kept() {
        let key = SecretKey::generate();
        let relay = TransportAddr::Relay("https://relay.example.org".parse().unwrap());
        let many = (1..200).map(|port| TransportAddr::Ip(([10, 0, 0, 1], port).into()));
        let info = EndpointInfo::from_parts(key.public(), many.chain([relay.clone()]).collect());
        let published = EndpointInfo::from_pkarr_signed_packet(&sign(&info, &key).unwrap()).unwrap();
        assert!(published.addrs().any(|addr| *addr == relay));
        assert!(published.ip_addrs().count() > 5, "{published:?}");
    }
}
