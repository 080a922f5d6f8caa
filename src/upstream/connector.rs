//! Opens connections to upstreams: TCP, and TLS if the URI says so.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{Uri, uri::Scheme};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use tokio::{net::TcpStream, time::timeout};
use tower_service::Service;

use super::tcp::{AnswerFirst, TcpConnector};
use crate::{
    protocol::{BoxError, Wire},
    tls::Trust,
};

/// The timeout of TCP's handshake: an upstream is on this machine or near it, so a second is long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The timeout of the whole connection, with the look-up of the name and TLS's handshake, in which a busy Python may be slow.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// The idle time after which TCP probes an upstream; two more probes follow at half of it. HTTP/2 pings would do as well, but
/// a SuperLink closes connections that ping ("too many pings").
const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// How long data may stay unacknowledged before TCP gives up the connection.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(10);

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
    type Response = MaybeHttpsStream<TokioIo<AnswerFirst<TcpStream>>>;
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

fn tcp() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_keepalive(Some(KEEP_ALIVE));
    connector.set_keepalive_interval(Some(KEEP_ALIVE / 2));
    connector.set_keepalive_retries(Some(2));
    #[cfg(target_os = "linux")]
    connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT));
    connector
}
