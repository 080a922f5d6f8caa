//! TLS on the local ports.

use std::{
    fmt,
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

use super::{Problem, TlsError, cause, provider, store};

/// A client of this machine, or next to it, is done in milliseconds; Python that has just started, in seconds.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// gRPC speaks HTTP/2, Flower's HTTP API HTTP/1.1, and each asks for its own.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The certificate of the local ports, and the CA that Flower's clients check it by.
#[derive(Clone)]
pub struct LocalTls {
    acceptor: TlsAcceptor,
    root_certificates: Arc<PathBuf>,
}

impl LocalTls {
    /// Reads the certificate beside the key file, or makes it for the addresses that are listened on.
    pub(crate) fn load_or_issue(
        key_file: &Path,
        listening: impl IntoIterator<Item = IpAddr>,
    ) -> Result<Self, TlsError> {
        let names = store::names(listening);
        let stored = store::load_or_issue(key_file, &names, OffsetDateTime::now_utc())?;
        let config = server_config().with_single_cert(vec![stored.certificate], stored.key);
        let mut config = config.map_err(|error| {
            let path = key_file.with_extension("tls.pem");
            TlsError { path, problem: Problem::Unusable(error.into()) }
        })?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { acceptor, root_certificates: Arc::new(stored.root_certificates) })
    }

    /// The file that Flower's clients are given as `--root-certificates`; absolute.
    pub fn root_certificates(&self) -> &Path {
        &self.root_certificates
    }

    /// Shakes hands with a client, for 10 s at most.
    pub(crate) async fn accept<S>(&self, socket: S) -> Result<TlsStream<S>, Complaint>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match timeout(HANDSHAKE_TIMEOUT, self.acceptor.accept(socket)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(self.complaint(cause(&error))),
            Err(_) => Err(Complaint("it did not finish TLS's handshake in time".to_owned())),
        }
    }

    fn complaint(&self, error: Option<&RustlsError>) -> Complaint {
        use AlertDescription::{BadCertificate, CertificateExpired, CertificateUnknown, DecryptError, UnknownCA};
        let roots = self.root_certificates.display();
        Complaint(match error {
            None => "it went away during TLS's handshake".to_owned(),
            Some(RustlsError::InvalidMessage(_)) => {
                format!("it speaks without TLS; start it with --root-certificates {roots} and without --insecure")
            }
            Some(RustlsError::AlertReceived(
                alert @ (BadCertificate | CertificateExpired | CertificateUnknown | DecryptError | UnknownCA),
            )) => format!(
                "it does not trust this port's certificate ({alert:?}); start it anew with --root-certificates {roots}, \
                 and let it dial by address or as localhost"
            ),
            Some(error) => format!("TLS failed: {error}"),
        })
    }
}

impl fmt::Debug for LocalTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalTls").field("root_certificates", &self.root_certificates).finish_non_exhaustive()
    }
}

/// Of a server that asks its clients for no certificate.
pub(crate) fn server_config() -> ConfigBuilder<ServerConfig, WantsServerCert> {
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring has cipher suites for TLS 1.2 and 1.3")
        .with_no_client_auth()
}

/// Why a local client got no TLS, and what to do about it.
#[derive(Debug)]
pub(crate) struct Complaint(String);

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
