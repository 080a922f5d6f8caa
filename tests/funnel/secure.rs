//! Servers and clients that speak TLS.

use std::{net::SocketAddr, sync::Arc};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};
use tokio_util::task::AbortOnDropHandle;

use super::{certificates::Certificate, support::Body};

/// Accepts TLS as a server with this certificate, for both versions of HTTP.
pub(crate) fn acceptor(certificate: &Certificate) -> TlsAcceptor {
    let chain = vec![CertificateDer::from_pem_slice(certificate.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// TLS in front of an upstream that has none.
pub(crate) struct Front {
    pub(crate) addr: SocketAddr,
    _serving: AbortOnDropHandle<()>,
}

impl Front {
    pub(crate) async fn start(certificate: &Certificate, upstream: SocketAddr) -> Self {
        Self::with_acceptor(acceptor(certificate), upstream).await
    }

    pub(crate) async fn with_config(mut config: ServerConfig, upstream: SocketAddr) -> Self {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self::with_acceptor(TlsAcceptor::from(Arc::new(config)), upstream).await
    }

    async fn with_acceptor(acceptor: TlsAcceptor, upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    // Who gets no TLS gets nothing.
                    let Ok(mut stream) = acceptor.accept(socket).await else { return };
                    let mut onward = TcpStream::connect(upstream).await.unwrap();
                    let _ = copy_bidirectional(&mut stream, &mut onward).await;
                });
            }
        });
        Self { addr, _serving: AbortOnDropHandle::new(serving) }
    }
}

/// Who is trusted by this CA's certificate in PEM.
pub(crate) fn roots(pem: &[u8]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
    roots
}

/// A connection over TLS, on which one protocol is spoken.
pub(crate) async fn connect(
    dial: SocketAddr,
    roots: RootCertStore,
    name: &'static str,
    protocol: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let socket = TcpStream::connect(dial).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name).unwrap(), socket).await
}

/// Makes one call on it, in gRPC or in HTTP.
pub(crate) async fn send(stream: TlsStream<TcpStream>, mut request: Request<Body>) -> Response<Incoming> {
    let io = TokioIo::new(stream);
    let path = request.uri().path().to_owned();
    if request.headers().contains_key("te") {
        let (mut requests, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        *request.uri_mut() = format!("https://localhost{path}").parse().unwrap();
        return requests.send_request(request).await.unwrap();
    }
    let (mut requests, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    request.headers_mut().insert("host", "localhost".parse().unwrap());
    requests.send_request(request).await.unwrap()
}
