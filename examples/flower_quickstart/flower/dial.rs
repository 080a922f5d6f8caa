//! What Flower's clients dial, and how they know who answers.

use std::net::SocketAddr;
use std::path::PathBuf;

/// An address, without TLS or with it.
#[derive(Clone, Debug)]
pub struct Dial {
    /// Where to connect to.
    pub addr: SocketAddr,
    /// The CA's certificate, if TLS is spoken there.
    pub root_certificates: Option<PathBuf>,
}

impl From<SocketAddr> for Dial {
    fn from(addr: SocketAddr) -> Self {
        Self { addr, root_certificates: None }
    }
}

impl Dial {
    /// The options of a SuperNode.
    pub(super) fn options(&self) -> Vec<String> {
        let security = match &self.root_certificates {
            Some(path) => vec!["--root-certificates".to_owned(), path.to_string_lossy().into_owned()],
            None => vec!["--insecure".to_owned()],
        };
        security.into_iter().chain(["--superlink".to_owned(), self.addr.to_string()]).collect()
    }

    /// The keys of a connection in the configuration of `flwr`.
    pub(super) fn settings(&self) -> String {
        let security = match &self.root_certificates {
            Some(path) => format!("root-certificates = {path:?}"),
            None => "insecure = true".to_owned(),
        };
        format!("address = \"{}\"\n{security}\n", self.addr)
    }
}
