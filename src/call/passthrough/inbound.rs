//! From the tunnel to the upstream that is the target.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::splice;
use crate::{
    call::permit::CallPermit,
    hop::{self, Body},
    protocol::CallError,
    upstream::PassthroughTarget,
};

/// The wait for a connection. An upstream is on this machine or next to it: a second is long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections on one session. A SuperNode needs one over gRPC, and a handful at a time over HTTP.
const MAX_CONNECTIONS: usize = 64;

/// The pass-through connections of one session; they end with its last clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct PassthroughConnections {
    connections: Arc<Mutex<JoinSet<()>>>,
    stop: CancellationToken,
}

impl PassthroughConnections {
    /// Starts without connections; those that come end soon after `stop`.
    pub(crate) fn until(stop: CancellationToken) -> Self {
        Self { stop, ..Self::default() }
    }

    /// Connects a peer to `target`, whatever authority it asked for.
    ///
    /// # Errors
    /// Nothing answers there, or the session has too many connections.
    pub(crate) async fn connect(
        &self,
        target: &PassthroughTarget,
        mut request: Request<Incoming>,
        permit: Option<CallPermit>,
    ) -> Result<Response<Body>, CallError> {
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(target.as_str())).await;
        let socket = connected
            .map_err(|_| CallError::unavailable(format_args!("{target} does not answer within {CONNECT_TIMEOUT:?}")))?
            .map_err(|error| {
                CallError::unavailable(format_args!("{target} is not reachable: {error}")).caused_by(error)
            })?;
        // Flower's messages must not wait for acknowledgements. It fails only on a dead socket.
        let _ = socket.set_nodelay(true);
        self.spawn(socket, hyper::upgrade::on(&mut request), permit)?;
        Ok(Response::new(hop::full(Bytes::new())))
    }

    fn spawn(&self, socket: TcpStream, upgrade: OnUpgrade, permit: Option<CallPermit>) -> Result<(), CallError> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        while connections.try_join_next().is_some() {}
        if connections.len() >= MAX_CONNECTIONS {
            return Err(CallError::unavailable(format_args!("this session has {MAX_CONNECTIONS} connections already")));
        }
        let stop = self.stop.clone();
        connections.spawn(async move {
            let _permit = permit;
            let carried = match upgrade.await {
                Ok(upgraded) => splice::both_ways(TokioIo::new(upgraded), socket, &stop).await,
                Err(error) => return debug!(%error, "a pass-through connection did not begin"),
            };
            if let Err(error) = carried {
                debug!(%error, "a pass-through connection ended");
            }
        });
        Ok(())
    }
}
