//! Opens connections to upstreams: TCP, and TLS if the URI says so.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{Uri, uri::Scheme};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use tokio::time::timeout;
use tower_service::Service;

use super::tcp::{AnswerFirst, TcpConnector};
use crate::{
    hop::tcp::TcpConnection,
    protocol::{BoxError, Wire},
    tls::Trust,
};

/// The timeout of TCP's handshake: an upstream is on this machine or near it, so a second is long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The timeout of the whole connection, with the look-up of the name and TLS's handshake, in which a busy Python may be slow.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects within a bounded time, to an `https` URI over TLS or not at all.
#[derive(Clone, Debug)]
pub(super) struct Connector(HttpsConnector<TcpConnector>);

impl Connector {
    pub(super) fn new(wire: Wire, trust: &Trust) -> Self {
        let builder = HttpsConnectorBuilder::new().with_tls_config(trust.client_config()).https_or_http();
        Self(match wire {
            Wire::Http => builder.enable_http1().wrap_connector(TcpConnector::new(tcp())),
            Wire::Grpc => builder.enable_http2().wrap_connector(TcpConnector::new(tcp())),
        })
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<AnswerFirst<TcpConnection>>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let steps = if uri.scheme() == Some(&Scheme::HTTPS) { "its name, TCP and TLS" } else { "its name and TCP" };
        let connecting = self.0.call(uri);
        Box::pin(async move {
            timeout(HANDSHAKE_TIMEOUT, connecting)
                .await
                .unwrap_or_else(|_| Err(format!("no connection within {HANDSHAKE_TIMEOUT:?}, for {steps}").into()))
        })
    }
}

/// Connects to host names and addresses.
fn tcp() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector
}
