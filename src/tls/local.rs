//! TLS on the local ports.

use std::{
    fmt, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use time::OffsetDateTime;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{AlertDescription, ConfigBuilder, Error as RustlsError, ServerConfig, server::WantsServerCert},
    server::TlsStream,
};

use super::{TlsError, cause, provider, store};

/// The wait for the handshake. A client on this machine or near it takes milliseconds; Python that is starting, seconds.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The protocols that clients negotiate: HTTP/2 for gRPC, HTTP/1.1 for Flower's HTTP API.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The certificate of the local ports, and the CA that Flower's clients verify it with.
#[derive(Clone)]
pub struct LocalTls {
    acceptor: TlsAcceptor,
    root_certificates: Arc<PathBuf>,
}

impl LocalTls {
    /// Loads the certificate beside the key file, or makes it for the addresses that are listened on.
    pub(crate) fn load_or_issue(
        key_file: &Path,
        listening: impl IntoIterator<Item = IpAddr>,
    ) -> Result<Self, TlsError> {
        let names = store::names(listening);
        let stored = store::load_or_issue(key_file, &names, OffsetDateTime::now_utc())?;
        let config = server_config().with_single_cert(vec![stored.certificate], stored.key);
        let mut config = config.map_err(|error| TlsError::unusable(&key_file.with_extension("tls.pem"), error))?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { acceptor, root_certificates: Arc::new(stored.root_certificates) })
    }

    /// Returns the absolute path of the CA, for the `--root-certificates` of Flower's clients.
    pub fn root_certificates(&self) -> &Path {
        &self.root_certificates
    }

    /// Does the TLS handshake with a client, for at most 10 s.
    ///
    /// # Errors
    /// With the socket if the client has been sent an alert that says why: the socket's end must not overtake it.
    pub(crate) async fn accept<S>(&self, socket: S) -> Result<TlsStream<S>, (HandshakeError, Option<S>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match timeout(HANDSHAKE_TIMEOUT, self.acceptor.accept(socket).into_fallible()).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err((error, socket))) => Err((self.handshake_error(error), Some(socket))),
            Err(_) => Err((HandshakeError::TimedOut, None)),
        }
    }

    fn handshake_error(&self, error: io::Error) -> HandshakeError {
        use AlertDescription::{BadCertificate, CertificateExpired, CertificateUnknown, DecryptError, UnknownCA};
        let roots = || Arc::clone(&self.root_certificates);
        match cause(&error) {
            None => HandshakeError::Disconnected(error),
            Some(RustlsError::InvalidMessage(_)) => HandshakeError::NotTls { roots: roots() },
            Some(RustlsError::AlertReceived(
                alert @ (BadCertificate | CertificateExpired | CertificateUnknown | DecryptError | UnknownCA),
            )) => HandshakeError::NotTrusted { alert: *alert, roots: roots() },
            Some(error) => HandshakeError::Failed(error.clone()),
        }
    }
}

impl fmt::Debug for LocalTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalTls").field("root_certificates", &self.root_certificates).finish_non_exhaustive()
    }
}

/// Starts the configuration of a server that asks its clients for no certificate.
pub(crate) fn server_config() -> ConfigBuilder<ServerConfig, WantsServerCert> {
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring has cipher suites for TLS 1.2 and 1.3")
        .with_no_client_auth()
}

/// Why the handshake with a local client failed, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("it did not finish the TLS handshake in time")]
    TimedOut,
    #[error("it disconnected during the TLS handshake")]
    Disconnected(#[source] io::Error),
    #[error("it does not use TLS; start it with --root-certificates {} and without --insecure", .roots.display())]
    NotTls { roots: Arc<PathBuf> },
    #[error(
        "it does not trust this port's certificate ({alert:?}); restart it with --root-certificates {}, and let it dial \
         an IP address or localhost",
        .roots.display()
    )]
    NotTrusted { alert: AlertDescription, roots: Arc<PathBuf> },
    /// Its text has the cause: a warning in the log is one line.
    #[error("TLS failed: {0}")]
    Failed(#[source] RustlsError),
}
