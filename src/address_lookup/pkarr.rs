//! A client of pkarr servers, which have signed records of peers, over HTTP.
//!
//! iroh's own client (`PkarrRelayClient` of 1.4.1) has no timeout and reads an answer of any length; this is not reported
//! upstream as of 2026-11. This client bounds both, and can be removed once iroh's does. iroh still parses the records and
//! checks their signatures.

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

/// The timeout of one exchange: a later answer would not help a dial, which has 10 s.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A pkarr server.
pub(super) struct PkarrServer {
    url: Url,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// Why a record could not be fetched or published. Its text is complete, with that of its source.
#[derive(Debug, thiserror::Error)]
pub(super) enum PkarrError {
    #[error("has no record")]
    NoRecord,
    #[error("did not answer with a record signed by that peer")]
    NotSigned(#[source] BoxError),
    #[error("answered {0}")]
    Status(StatusCode),
    #[error("did not answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
    #[error("cannot be asked: {}", chain(&**.0))]
    Unreachable(#[source] BoxError),
    #[error("cannot be given a record: {}", chain(&**.0))]
    Unsigned(#[source] BoxError),
}

impl PkarrServer {
    /// Creates a client of the server at `url`. It trusts the certificate authorities that the endpoint trusts for relays.
    pub(super) fn new(url: Url, endpoint: &Endpoint) -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(endpoint.tls_config().clone())
            .https_or_http()
            .enable_http1()
            .build();
        Self { url, client: Client::builder(TokioExecutor::new()).build(connector) }
    }

    /// Fetches the record of `peer`.
    pub(super) async fn record(&self, peer: EndpointId) -> Result<EndpointInfo, PkarrError> {
        let payload = self.exchange(Method::GET, peer, Bytes::new()).await?;
        let packet = SignedPacket::from_relay_payload(&peer, &payload).map_err(not_signed)?;
        EndpointInfo::from_pkarr_signed_packet(&packet).map_err(not_signed)
    }

    /// Publishes `info`, signed with `key`. If there are more addresses than a record holds, the last are left out.
    pub(super) async fn publish(&self, info: &EndpointInfo, key: &SecretKey) -> Result<(), PkarrError> {
        let packet = sign(info, key).map_err(PkarrError::Unsigned)?;
        self.exchange(Method::PUT, key.public(), packet.to_relay_payload().into()).await.map(drop)
    }

    async fn exchange(&self, method: Method, peer: EndpointId, body: Bytes) -> Result<Bytes, PkarrError> {
        let exchange = async {
            let mut request = Request::new(Full::new(body));
            *request.method_mut() = method;
            let path = format!("{}/{}", self.url.as_str().trim_end_matches('/'), peer.to_z32());
            *request.uri_mut() = path.parse().map_err(unreachable)?;
            let response = self.client.request(request).await.map_err(unreachable)?;
            match response.status() {
                StatusCode::NOT_FOUND => return Err(PkarrError::NoRecord),
                status if !status.is_success() => return Err(PkarrError::Status(status)),
                _ => {}
            }
            let body = Limited::new(response.into_body(), SignedPacket::MAX_BYTES).collect().await;
            body.map(|body| body.to_bytes()).map_err(PkarrError::NotSigned)
        };
        timeout(TIMEOUT, exchange).await.unwrap_or(Err(PkarrError::TimedOut))
    }
}

fn unreachable(error: impl Into<BoxError>) -> PkarrError {
    PkarrError::Unreachable(error.into())
}

fn not_signed(error: impl Into<BoxError>) -> PkarrError {
    PkarrError::NotSigned(error.into())
}

fn sign(info: &EndpointInfo, key: &SecretKey) -> Result<SignedPacket, BoxError> {
    let mut addrs: Vec<_> = info.addrs().cloned().collect();
    // The relay is kept, whatever else is left out.
    addrs.sort_by_key(|addr| !addr.is_relay());
    loop {
        let info = EndpointInfo::from_parts(info.endpoint_id, addrs.iter().cloned().collect());
        match info.to_pkarr_signed_packet(key, DEFAULT_PKARR_TTL) {
            Err(_) if addrs.len() > 1 => addrs.truncate(addrs.len() - 1),
            packet => return Ok(packet?),
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
    fn if_there_are_too_many_addresses_the_relay_is_kept() {
        let key = SecretKey::generate();
        let relay = TransportAddr::Relay("https://relay.example.org".parse().unwrap());
        let many = (1..200).map(|port| TransportAddr::Ip(([10, 0, 0, 1], port).into()));
        let info = EndpointInfo::from_parts(key.public(), many.chain([relay.clone()]).collect());
        let published = EndpointInfo::from_pkarr_signed_packet(&sign(&info, &key).unwrap()).unwrap();
        assert!(published.addrs().any(|addr| *addr == relay));
        assert!(published.ip_addrs().count() > 5, "{published:?}");
    }
}
