//! Pass-through from the tunnel to the target.

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

/// The wait for a connection to the target, which is on this machine or near it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The most connections on one session. A SuperNode needs one over gRPC, and a few at a time over HTTP.
const MAX_CONNECTIONS: usize = 64;

/// The pass-through connections of one session. They end when the last clone is dropped.
#[derive(Clone, Debug, Default)]
pub(crate) struct PassthroughConnections {
    connections: Arc<Mutex<JoinSet<()>>>,
    stop: CancellationToken,
}

impl PassthroughConnections {
    /// Creates an empty set, whose connections end soon after `stop`.
    pub(crate) fn until(stop: CancellationToken) -> Self {
        Self { stop, ..Self::default() }
    }

    /// Connects a peer to `target`, whatever authority the request names.
    ///
    /// # Errors
    /// If the target cannot be reached, or if the session has too many connections.
    pub(crate) async fn connect(
        &self,
        target: &PassthroughTarget,
        mut request: Request<Incoming>,
        permit: CallPermit,
    ) -> Result<Response<Body>, CallError> {
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(target.as_str())).await;
        let socket = connected
            .map_err(|_| CallError::unavailable(format_args!("{target} did not answer within {CONNECT_TIMEOUT:?}")))?
            .map_err(|error| {
                CallError::unavailable(format_args!("{target} is not reachable: {error}")).caused_by(error)
            })?;
        // Flower's messages must not wait for acknowledgements. Fails only on a dead socket.
        let _ = socket.set_nodelay(true);
        self.spawn(socket, hyper::upgrade::on(&mut request), permit)?;
        Ok(Response::new(hop::full(Bytes::new())))
    }

    fn spawn(&self, socket: TcpStream, upgrade: OnUpgrade, permit: CallPermit) -> Result<(), CallError> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        while connections.try_join_next().is_some() {}
        if connections.len() >= MAX_CONNECTIONS {
            return Err(CallError::unavailable(format_args!("this session has {MAX_CONNECTIONS} connections already")));
        }
        let stop = self.stop.clone();
        connections.spawn(async move {
            let _permit = permit;
            let ended = match upgrade.await {
                Ok(upgraded) => splice::copy_bidirectional(TokioIo::new(upgraded), socket, &stop).await,
                Err(error) => return debug!(%error, "a pass-through connection could not be established"),
            };
            if let Err(error) = ended {
                debug!(%error, "a pass-through connection ended");
            }
        });
        Ok(())
    }
}
