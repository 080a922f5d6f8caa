//! The handler that serves gRPC beside other protocols on an iroh `Router`.

use iroh::{
    endpoint::Connection,
    protocol::{AcceptError, ProtocolHandler},
};

use super::Acceptor;

/// Passes the links that a `Router` accepts to an [`IrohIncoming`](super::IrohIncoming).
///
/// Created by [`IrohIncoming::handler`](super::IrohIncoming::handler). The router performs the handshakes, so the limits
/// `max_handshakes` and `handshake_timeout` do not apply.
#[derive(Clone, Debug)]
pub struct IrohHandler {
    acceptor: Acceptor,
}

impl IrohHandler {
    pub(super) fn new(acceptor: Acceptor) -> Self {
        Self { acceptor }
    }
}

impl ProtocolHandler for IrohHandler {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        self.acceptor.serve(connection, || {}).await;
        Ok(())
    }
}
