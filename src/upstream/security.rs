//! Whether an upstream uses TLS, and the schemes of URLs that say so.

use http::uri::Scheme;

use crate::protocol::Wire;

/// Whether the connection to an upstream uses TLS. The other way is never tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Security {
    /// Without TLS, as Flower with `--insecure`.
    Plain,
    /// With TLS, as Flower with certificates, which are checked with the CA that is configured for upstreams.
    Tls,
}

impl Security {
    pub(crate) fn scheme(self) -> Scheme {
        match self {
            Self::Plain => Scheme::HTTP,
            Self::Tls => Scheme::HTTPS,
        }
    }
}

/// Returns the scheme of an upstream's URL.
pub(super) fn scheme(wire: Wire, security: Security) -> &'static str {
    match (wire, security) {
        (Wire::Http, Security::Plain) => "http",
        (Wire::Http, Security::Tls) => "https",
        (Wire::Grpc, Security::Plain) => "grpc",
        (Wire::Grpc, Security::Tls) => "grpcs",
    }
}

/// Returns what the scheme of an upstream's URL means.
pub(super) fn of_scheme(text: &str) -> Option<(Wire, Security)> {
    let wires = [Wire::Http, Wire::Grpc].into_iter();
    let mut all = wires.flat_map(|wire| [Security::Plain, Security::Tls].map(|security| (wire, security)));
    all.find(|(wire, security)| scheme(*wire, *security) == text)
}
