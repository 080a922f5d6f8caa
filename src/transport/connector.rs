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
    ConnectError, Connecting, IrohStream, Link,
    pool::{DIAL_TIMEOUT, Pool},
    target,
};

/// A `tower::Service<Uri>` that opens streams to iroh peers, for
/// `tonic::transport::Endpoint::connect_with_connector` and its `_lazy` form.
///
/// `iroh://<endpoint id>` and `http://<endpoint id>` name the peer. Its addresses come from [`add_peer`] or from
/// the endpoint's address lookup.
///
/// All clones share one link per peer. A link is dialled once, however many callers wait for it; when it is dead,
/// the next call dials anew. After a failed dial, calls fail at once with the same error until a jittered backoff
/// (0.2 s doubling to 5 s) has passed. Links stay open as long as a clone of the connector or a stream lives.
///
/// [`add_peer`]: IrohConnector::add_peer
#[derive(Clone, Debug)]
pub struct IrohConnector {
    pool: Arc<Pool>,
}

impl IrohConnector {
    /// A connector that dials from `endpoint` for `alpn`, and gives a dial 10 s.
    pub fn new(endpoint: Endpoint, alpn: impl Into<Vec<u8>>) -> Self {
        Self::with_dial_timeout(endpoint, alpn, DIAL_TIMEOUT)
    }

    /// A connector that gives a dial `dial_timeout`.
    ///
    /// Shorten it where a caller rather tries elsewhere; a dial through a relay takes about four round trips.
    /// The endpoint's idle timeout bounds a dial too.
    pub fn with_dial_timeout(endpoint: Endpoint, alpn: impl Into<Vec<u8>>, dial_timeout: Duration) -> Self {
        Self { pool: Arc::new(Pool::new(endpoint, alpn.into(), dial_timeout)) }
    }

    /// Makes the addresses of a peer known, for instance those of a ticket. Replaces what was given before.
    pub fn add_peer(&self, addr: impl Into<EndpointAddr>) {
        self.pool.add_peer(addr.into());
    }

    /// The link to `peer`, dialled if there is none.
    ///
    /// # Errors
    /// [`ConnectError`], the same one for all who wait for this dial.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the dial to the others who wait for it; with none left, the dial ends.
    pub async fn link(&self, peer: EndpointId) -> Result<Link, ConnectError> {
        self.pool.link(peer).await
    }

    /// Another link to `peer`, beside one that may be open, dialled within `patience`. The others go on using the open one
    /// until the new one is [`adopt`](Self::adopt)ed.
    ///
    /// For whoever doubts that the open link still leads to its peer.
    ///
    /// # Errors
    /// As [`link`](Self::link), without its backoff.
    ///
    /// # Cancel safety
    /// Dropping the future ends the dial.
    pub async fn dial(&self, peer: EndpointId, patience: Duration) -> Result<Link, ConnectError> {
        self.pool.dial(self.pool.addr(peer), patience).await
    }

    /// Makes `link` the one that is handed out for its peer. The one before it stays open for the streams on it.
    pub fn adopt(&self, link: Link) {
        self.pool.adopt(link);
    }

    /// The link to `peer` if one is open. Dials nothing.
    pub fn open_link(&self, peer: EndpointId) -> Option<Link> {
        self.pool.open_link(peer)
    }

    /// Opens a stream to `peer`, over the link that is there or a new one.
    ///
    /// # Errors
    /// As [`link`](Self::link).
    ///
    /// # Cancel safety
    /// As [`link`](Self::link); no stream is opened.
    pub async fn open(&self, peer: EndpointId) -> Result<IrohStream, ConnectError> {
        let link = self.pool.link(peer).await?;
        match link.open().await {
            Ok(stream) => Ok(stream),
            // The link died unnoticed since it was last used: one new dial answers for it.
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
        Connecting::new(async move { Ok(this.open(target::peer_id(&uri)?).await?.for_http()) })
    }
}
