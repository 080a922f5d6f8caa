//! The CAs that are trusted for relays and pkarr servers.

use std::path::Path;

use iroh::tls::CaTlsConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::tls::{self, TlsError};

/// CAs that are trusted in addition to the public ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct RelayAuthorities(Vec<CertificateDer<'static>>);

impl RelayAuthorities {
    /// Reads the certificates of a PEM file.
    pub(crate) fn read(path: &Path) -> Result<Self, TlsError> {
        tls::authorities(path).map(Self)
    }

    pub(crate) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Returns these CAs and the public ones as iroh's TLS configuration.
    pub(crate) fn tls_config(&self) -> CaTlsConfig {
        CaTlsConfig::embedded().with_extra_roots(self.0.clone())
    }
}
