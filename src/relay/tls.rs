//! The relay's certificate.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use iroh_relay::server::{DEFAULT_CERT_RELOAD_INTERVAL, reloading_resolver};
use time::OffsetDateTime;
use tokio_rustls::rustls::{
    Error as RustlsError, ServerConfig,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::config::RelayTls;
use crate::{
    config::{ConfigError, Problems},
    error::Error,
    protocol::BoxError,
    report::chain,
    tls::{self, Stored, server_config},
};

/// A certificate, ready to use.
pub(super) struct Certificate {
    pub(super) server_config: ServerConfig,
    /// The CA that signed it, if it is a local one.
    pub(super) ca_file: Option<PathBuf>,
    /// Its files, if they are read again while the relay runs.
    pub(super) files: Option<Arc<CertificateFiles>>,
}

impl Certificate {
    /// Loads or makes the certificate; `None` without TLS.
    pub(super) async fn load(tls: &RelayTls) -> Result<Option<Self>, Error> {
        match tls {
            RelayTls::Files { cert, key } => {
                let files = CertificateFiles::load(cert, key).await.map_err(|error| unusable(&*error, false))?;
                let files = Arc::new(files);
                let server_config = server_config().with_cert_resolver(Arc::<CertificateFiles>::clone(&files));
                Ok(Some(Self { server_config, ca_file: None, files: Some(files) }))
            }
            RelayTls::Local { beside, names } => {
                let Stored { certificate, key, root_certificates } =
                    tls::load_or_issue(beside, names, OffsetDateTime::now_utc())
                        .map_err(|error| unusable(&error, error.is_mistake()))?;
                let server_config =
                    server_config().with_single_cert(vec![certificate], key).map_err(|error| unusable(&error, true))?;
                Ok(Some(Self { server_config, ca_file: Some(root_certificates), files: None }))
            }
            RelayTls::Plain => Ok(None),
        }
    }
}

/// Returns the error for a certificate that cannot be used.
fn unusable(error: &(dyn std::error::Error + 'static), is_mistake: bool) -> Error {
    Error::config(ConfigError::of(format!("the relay's certificate: {}", chain(error)), is_mistake))
}

/// The files of a certificate, which are read again once a day, and on demand.
#[derive(Debug)]
pub(super) struct CertificateFiles {
    cert: PathBuf,
    key: PathBuf,
    resolver: RwLock<Arc<dyn ResolvesServerCert>>,
}

impl CertificateFiles {
    async fn load(cert: &Path, key: &Path) -> Result<Self, BoxError> {
        let resolver = RwLock::new(Self::resolver(cert, key).await?);
        Ok(Self { cert: cert.to_owned(), key: key.to_owned(), resolver })
    }

    /// Reads the files again. The certificate stays as it is if they cannot be used.
    pub(super) async fn reload(&self) -> Result<(), BoxError> {
        if let Some(problem) = file_problems(&self.cert, &self.key).into_iter().next() {
            return Err(problem.into());
        }
        let resolver = Self::resolver(&self.cert, &self.key).await?;
        *self.resolver.write().unwrap_or_else(PoisonError::into_inner) = resolver;
        Ok(())
    }

    async fn resolver(cert: &Path, key: &Path) -> Result<Arc<dyn ResolvesServerCert>, BoxError> {
        let provider = ring::default_provider();
        let (cert, key, interval) = (cert.to_owned(), key.to_owned(), DEFAULT_CERT_RELOAD_INTERVAL);
        Ok(reloading_resolver(&provider, cert, key, interval).await?)
    }
}

impl ResolvesServerCert for CertificateFiles {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.resolver.read().unwrap_or_else(PoisonError::into_inner).resolve(hello)
    }
}

/// Checks the files of a certificate, and returns every problem.
pub(super) fn problems(tls: &RelayTls) -> Problems {
    let mut problems = Problems::default();
    let RelayTls::Files { cert, key } = tls else { return problems };
    for error in &file_problems(cert, key) {
        problems.add(chain(error), error.is_mistake());
    }
    problems
}

fn file_problems(cert: &Path, key: &Path) -> Vec<FilesError> {
    match (read_chain(cert), read_key(key)) {
        (Ok(chain), Ok(read)) => match server_config().with_single_cert(chain, read) {
            Ok(_) => Vec::new(),
            Err(source) => {
                vec![FilesError::Mismatch { cert: cert.to_owned(), key: key.to_owned(), source: Box::new(source) }]
            }
        },
        (chain, key) => chain.err().into_iter().chain(key.err()).collect(),
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, FilesError> {
    let chain = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match chain {
        Ok(chain) if chain.is_empty() => {
            let content = std::fs::read(path).unwrap_or_default();
            Err(FilesError::NoCertificate { path: path.to_owned(), advice: tls::advice(&content, path) })
        }
        Ok(chain) => Ok(chain),
        Err(source) => Err(FilesError::Certificate { path: path.to_owned(), source }),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, FilesError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| FilesError::Key { path: path.to_owned(), source })
}

impl FilesError {
    /// Returns whether the content of a file is wrong; otherwise it cannot be read now.
    fn is_mistake(&self) -> bool {
        match self {
            Self::Certificate { source, .. } | Self::Key { source, .. } => !matches!(source, pem::Error::Io(_)),
            Self::NoCertificate { .. } | Self::Mismatch { .. } => true,
        }
    }
}

/// A problem with the files of a certificate.
#[derive(Debug, thiserror::Error)]
enum FilesError {
    #[error("the certificate file {path} does not contain a certificate in PEM: {advice}")]
    NoCertificate { path: PathBuf, advice: String },
    #[error("cannot read the certificate file {path}")]
    Certificate { path: PathBuf, source: pem::Error },
    #[error("cannot read the key file {path}")]
    Key { path: PathBuf, source: pem::Error },
    #[error("{cert} and {key} cannot be used together")]
    Mismatch { cert: PathBuf, key: PathBuf, source: Box<RustlsError> },
}
