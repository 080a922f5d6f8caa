//! The CAs that are trusted for relays and pkarr servers.

use std::{path::Path, sync::Arc};

use iroh::tls::CaTlsConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::tls::{self, Server, TlsError, Verifier};

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

    /// Returns these CAs and the public ones as iroh's TLS configuration. A server may use one of these certificates itself.
    pub(crate) fn tls_config(&self) -> CaTlsConfig {
        let given = self.0.clone();
        let config = CaTlsConfig::embedded().with_extra_roots(given.clone());
        if given.is_empty() {
            return config;
        }
        CaTlsConfig::custom_server_cert_verifier(Arc::new(move |provider| {
            let inner = config.server_cert_verifier(provider)?;
            Ok(Arc::new(Verifier::new(inner, given.clone(), Server::Relay)))
        }))
    }
}
