//! Pass-through from the tunnel to the target.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Request, Response};
use tokio::{net::TcpStream, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    call_stream::{CallStream, SentBody},
    splice,
};
use crate::{
    call::permit::CallPermit,
    hop::{
        Body,
        tcp::{self, TcpConnection},
    },
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

    /// Connects a peer to `target`.
    ///
    /// # Errors
    /// If the target cannot be reached, or if the session has too many connections.
    pub(crate) async fn connect(
        &self,
        target: &PassthroughTarget,
        request: Request<Body>,
        permit: CallPermit,
    ) -> Result<Response<Body>, CallError> {
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(target.as_str())).await;
        let socket = connected
            .map_err(|_| CallError::unavailable(format_args!("{target} did not answer within {CONNECT_TIMEOUT:?}")))?
            .map_err(|error| {
                CallError::unavailable(format_args!("{target} is not reachable: {error}")).caused_by(error)
            })?;
        let (sender, body) = SentBody::new();
        let stream = CallStream::new(request.into_body(), sender);
        self.spawn(TcpConnection::new(socket, tcp::UPSTREAM), stream, permit)?;
        Ok(Response::new(body))
    }

    fn spawn(&self, socket: TcpConnection, stream: CallStream, permit: CallPermit) -> Result<(), CallError> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        while connections.try_join_next().is_some() {}
        if connections.len() >= MAX_CONNECTIONS {
            return Err(CallError::unavailable(format_args!("this session has {MAX_CONNECTIONS} connections already")));
        }
        let stop = self.stop.clone();
        connections.spawn(async move {
            let _permit = permit;
            if let Err(error) = splice::splice(socket, stream, &stop).await {
                debug!(%error, "a pass-through connection ended");
            }
        });
        Ok(())
    }
}
