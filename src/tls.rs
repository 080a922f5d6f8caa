//! TLS where Flower wants it: on the local port of a peer, and towards upstreams.

mod authority;
mod local;
mod store;
mod trust;

use std::{error::Error, fmt, io, path::PathBuf, sync::Arc};

use tokio_rustls::rustls::{
    self,
    crypto::{CryptoProvider, ring},
};

pub use self::local::LocalTls;
pub(crate) use self::trust::{Trust, authorities};
#[cfg(feature = "relay")]
pub(crate) use self::{
    local::server_config,
    store::{Stored, load_or_issue, names},
};
use crate::protocol::BoxError;

/// Certificates and keys in PEM; what is longer is something else, or a system's whole store.
const MAX_PEM: u64 = 1024 * 1024;

/// Named each time: a process may have another default, or two libraries that disagree on one.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The error of TLS itself among the causes of another one.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    // What an I/O error wraps is not among its causes, only the causes of that.
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    match (error.downcast_ref(), wrapped) {
        (Some(found), _) => Some(found),
        (None, Some(wrapped)) => cause(wrapped),
        (None, None) => cause(error.source()?),
    }
}

/// A file with certificates that cannot be used.
#[derive(Debug)]
pub(crate) struct TlsError {
    path: PathBuf,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    Io(io::Error),
    Exposed { mode: u32 },
    NotOurs,
    NoCertificates,
    Unusable(BoxError),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.problem {
            Problem::Io(_) => write!(f, "cannot use {path}"),
            Problem::Exposed { mode } => {
                write!(
                    f,
                    "others can read the private key in {path} (mode {mode:03o}); remove it, and a new one is made"
                )
            }
            Problem::NotOurs => {
                write!(f, "{path} holds no certificate that a funnel made; move it away, and one is made")
            }
            Problem::NoCertificates => {
                write!(f, "{path} holds no certificate; name the CA's file, in PEM")
            }
            Problem::Unusable(_) => write!(f, "the certificate in {path} cannot be used"),
        }
    }
}

impl Error for TlsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.problem {
            Problem::Io(error) => Some(error),
            Problem::Unusable(error) => Some(&**error),
            Problem::Exposed { .. } | Problem::NotOurs | Problem::NoCertificates => None,
        }
    }
}
