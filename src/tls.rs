//! TLS with Flower: on the local ports, and towards upstreams.

mod authority;
mod local;
mod pem;
mod refusal;
mod store;
mod trust;
mod verifier;

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_rustls::rustls::{
    self,
    crypto::{CryptoProvider, ring},
};

pub use self::local::LocalTls;
#[cfg(feature = "relay")]
pub(crate) use self::{
    local::server_config,
    pem::advice,
    store::{Stored, load_or_issue, names},
};
pub(crate) use self::{pem::authorities, refusal::Server, trust::Trust, verifier::Verifier};
use crate::{atomic_file::FileError, protocol::BoxError};

/// The longest PEM file. A longer one is something else, or a system's whole certificate store.
const MAX_PEM: u64 = 1024 * 1024;

/// The crypto provider. It is passed explicitly: a process may have another default, or libraries that disagree on one.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Finds the TLS error among the causes of another error.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    // The error that an I/O error wraps is not its source; only the source of that is.
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    match (error.downcast_ref(), wrapped) {
        (Some(found), _) => Some(found),
        (None, Some(wrapped)) => cause(wrapped),
        (None, None) => cause(error.source()?),
    }
}

/// A file with certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{path} does not contain a certificate that a funnel made; move it away, and a new one is made")]
    NotOurs { path: PathBuf },
    #[error("{path} does not contain a certificate in PEM: {advice}")]
    NoCertificates { path: PathBuf, advice: String },
    #[error("the certificate in {path} cannot be used")]
    Unusable { path: PathBuf, source: BoxError },
}

impl TlsError {
    /// Returns whether the content of the file is wrong; otherwise it cannot be used now.
    pub(crate) fn is_mistake(&self) -> bool {
        match self {
            Self::File(error) => error.is_mistake(),
            Self::NotOurs { .. } | Self::NoCertificates { .. } | Self::Unusable { .. } => true,
        }
    }

    fn not_ours(path: &Path) -> Self {
        Self::NotOurs { path: path.to_owned() }
    }

    fn unusable(path: &Path, source: impl Into<BoxError>) -> Self {
        Self::Unusable { path: path.to_owned(), source: source.into() }
    }
}
