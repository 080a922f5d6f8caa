//! The client side: from a URI to a stream.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use iroh::{Endpoint, EndpointAddr, EndpointId};
use tower_service::Service;

use super::{
    ConnectError, Connecting, IrohStream, Link, LostLinkLayer,
    pool::{DIAL_TIMEOUT, Pool},
    session_end::LatestSession,
    target,
};

/// A `tower::Service<Uri>` that opens streams to iroh peers, for `tonic::transport::Endpoint::connect_with_connector` and
/// `connect_with_connector_lazy`.
///
/// The URI names the peer, as `iroh://<endpoint id>` or `http://<endpoint id>`. Its addresses come from [`add_peer`] or
/// from the endpoint's address lookup.
///
/// All clones share one link per peer. A link is dialled once, however many callers wait for it; when it is dead, the next
/// call dials again. After a failed dial, calls fail at once with the same error until a backoff has passed: 0.2 s, doubled
/// with each failure up to 5 s, with jitter. A link stays open as long as a clone of the connector or a stream on it lives.
///
/// [`add_peer`]: IrohConnector::add_peer
#[derive(Clone, Debug)]
pub struct IrohConnector {
    pool: Arc<Pool>,
    latest: LatestSession,
}

impl IrohConnector {
    /// Creates a connector that dials from `endpoint` for `alpn`, with 10 s per dial.
    pub fn new(endpoint: Endpoint, alpn: impl Into<Vec<u8>>) -> Self {
        Self::with_dial_timeout(endpoint, alpn, DIAL_TIMEOUT)
    }

    /// Creates a connector with `dial_timeout` per dial.
    ///
    /// Choose a shorter timeout if the caller has other peers to try; a dial through a relay takes about four round trips.
    /// The endpoint's idle timeout limits a dial too.
    pub fn with_dial_timeout(endpoint: Endpoint, alpn: impl Into<Vec<u8>>, dial_timeout: Duration) -> Self {
        Self { pool: Arc::new(Pool::new(endpoint, alpn.into(), dial_timeout)), latest: LatestSession::default() }
    }

    /// Returns a clone for one channel, whose sessions report to `layer` why they ended.
    #[must_use]
    pub fn reporting_to(&self, layer: &LostLinkLayer) -> Self {
        Self { pool: Arc::clone(&self.pool), latest: layer.latest().clone() }
    }

    /// Sets the addresses of a peer, for instance those of a ticket. They replace those set before, and end a backoff.
    pub fn add_peer(&self, addr: impl Into<EndpointAddr>) {
        self.pool.add_peer(addr.into());
    }

    /// Returns the link to `peer`, dialling it if there is none.
    ///
    /// # Errors
    /// [`ConnectError`] if the dial fails, the same one for all callers that wait for it.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the dial to the other callers that wait for it. If there are none, the dial ends.
    pub async fn link(&self, peer: EndpointId) -> Result<Link, ConnectError> {
        self.pool.link(peer).await
    }

    /// Dials another link to `peer` within `timeout`, beside one that may be open. Callers go on using the open one until the
    /// new one is [`adopt`](Self::adopt)ed.
    ///
    /// It serves a caller that doubts whether the open link still reaches its peer.
    ///
    /// # Errors
    /// [`ConnectError`] if the dial fails. There is no backoff.
    ///
    /// # Cancel safety
    /// Dropping the future ends the dial.
    pub async fn dial(&self, peer: EndpointId, timeout: Duration) -> Result<Link, ConnectError> {
        self.pool.dial(self.pool.addr(peer), timeout).await
    }

    /// Makes `link` the one that callers get for its peer. The previous one stays open for the streams on it.
    pub fn adopt(&self, link: Link) {
        self.pool.adopt(link);
    }

    /// Returns the link to `peer` if one is open. Does not dial.
    pub fn open_link(&self, peer: EndpointId) -> Option<Link> {
        self.pool.open_link(peer)
    }

    /// Opens a stream to `peer`, over the open link or a new one.
    ///
    /// # Errors
    /// [`ConnectError`] if there is no link and the dial fails, or if the peer closes the new link at once.
    ///
    /// # Cancel safety
    /// As [`link`](Self::link). No stream is opened.
    pub async fn open(&self, peer: EndpointId) -> Result<IrohStream, ConnectError> {
        let link = self.pool.link(peer).await?;
        match link.open().await {
            Ok(stream) => Ok(stream),
            // The link was lost since it was last used: dial once more.
            Err(_) => Ok(self.pool.link(peer).await?.open().await?),
        }
    }
}

impl Service<Uri> for IrohConnector {
    type Response = TokioIo<IrohStream>;
    type Error = ConnectError;
    type Future = Connecting;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        let this = self.clone();
        Connecting::new(async move {
            let stream = this.open(target::peer_id(&uri)?).await?;
            Ok(stream.for_http().recorded_in(&this.latest))
        })
    }
}
