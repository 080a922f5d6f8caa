//! The relay's certificate.

use std::path::{Path, PathBuf};

use iroh_relay::server::{DEFAULT_CERT_RELOAD_INTERVAL, reloading_resolver};
use time::OffsetDateTime;
use tokio_rustls::rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::config::RelayTls;
use crate::{
    protocol::BoxError,
    tls::{self, Stored, server_config},
};

/// A certificate, ready to serve.
pub(super) struct Certificate {
    pub(super) server_config: ServerConfig,
    /// Who vouches for it, where that is no authority that everybody knows.
    pub(super) ca_file: Option<PathBuf>,
}

impl Certificate {
    /// `None` without TLS.
    pub(super) async fn of(tls: &RelayTls) -> Result<Option<Self>, BoxError> {
        match tls {
            RelayTls::Files { cert, key } => {
                let provider = ring::default_provider();
                let interval = DEFAULT_CERT_RELOAD_INTERVAL;
                let resolver = reloading_resolver(&provider, cert.clone(), key.clone(), interval).await?;
                Ok(Some(Self { server_config: server_config().with_cert_resolver(resolver), ca_file: None }))
            }
            RelayTls::Local { beside, names } => {
                let Stored { certificate, key, root_certificates } =
                    tls::load_or_issue(beside, names, OffsetDateTime::now_utc())?;
                let server_config = server_config().with_single_cert(vec![certificate], key)?;
                Ok(Some(Self { server_config, ca_file: Some(root_certificates) }))
            }
            RelayTls::Plain => Ok(None),
        }
    }
}

/// What is wrong with the files of a certificate.
pub(super) fn mistakes(tls: &RelayTls) -> Vec<String> {
    let RelayTls::Files { cert, key } = tls else { return Vec::new() };
    match (read_chain(cert), read_key(key)) {
        (Ok(chain), Ok(read)) => match server_config().with_single_cert(chain, read) {
            Ok(_) => Vec::new(),
            Err(error) => vec![format!("{} and {} cannot be used together: {error}", cert.display(), key.display())],
        },
        (chain, key) => chain.err().into_iter().chain(key.err()).collect(),
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match chain {
        Ok(chain) if chain.is_empty() => Err(format!("the certificate file {} holds no certificate", path.display())),
        Ok(chain) => Ok(chain),
        Err(error) => Err(format!("the certificate file {} cannot be read: {error}", path.display())),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| format!("the key file {} cannot be read: {error}", path.display()))
}
