//! With TLS or without, and how URLs say so.

use http::uri::Scheme;

use crate::protocol::Wire;

/// Whether an upstream is spoken to over TLS. Nothing is tried in the other way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Security {
    /// As Flower with `--insecure`.
    Plain,
    /// As Flower with certificates, checked by the CA that is named for upstreams.
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

/// How the URL of an upstream begins.
pub(super) fn scheme(wire: Wire, security: Security) -> &'static str {
    match (wire, security) {
        (Wire::Http, Security::Plain) => "http",
        (Wire::Http, Security::Tls) => "https",
        (Wire::Grpc, Security::Plain) => "grpc",
        (Wire::Grpc, Security::Tls) => "grpcs",
    }
}

/// What such a beginning says.
pub(super) fn of_scheme(text: &str) -> Option<(Wire, Security)> {
    let wires = [Wire::Http, Wire::Grpc].into_iter();
    let mut all = wires.flat_map(|wire| [Security::Plain, Security::Tls].map(|security| (wire, security)));
    all.find(|(wire, security)| scheme(*wire, *security) == text)
}
