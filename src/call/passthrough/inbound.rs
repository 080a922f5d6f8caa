//! From the tunnel to the upstream that is named.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::bytes::Bytes;
use http::{Request, Response};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{PassthroughTarget, splice};
use crate::{
    call::permit::Place,
    hop::{self, Body},
    protocol::Failure,
};

/// An upstream stands on this machine or next to it: a second is long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// On one session. A SuperNode needs one over gRPC, and a handful at a time over HTTP.
const MAX_CONNECTIONS: usize = 64;

/// The pass-through connections of one session; they end with its last clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Passing {
    connections: Arc<Mutex<JoinSet<()>>>,
    stop: CancellationToken,
}

impl Passing {
    /// None yet; those that come end soon after `stop`.
    pub(crate) fn until(stop: CancellationToken) -> Self {
        Self { stop, ..Self::default() }
    }

    /// Connects a peer to `target`, whatever authority it asked for.
    ///
    /// # Errors
    /// Nobody answers there, or the session has too many connections.
    pub(crate) async fn connect(
        &self,
        target: &PassthroughTarget,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Failure> {
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(target.0.as_str())).await;
        let socket = connected
            .map_err(|_| Failure::unavailable(format_args!("{target} does not answer within {CONNECT_TIMEOUT:?}")))?
            .map_err(|error| Failure::unavailable(format_args!("{target} is not reachable: {error}")))?;
        // Flower's messages must not wait for acknowledgements. It fails only on a dead socket.
        let _ = socket.set_nodelay(true);
        let place = request.extensions_mut().remove();
        self.keep(socket, hyper::upgrade::on(&mut request), place)?;
        Ok(Response::new(hop::full(Bytes::new())))
    }

    fn keep(&self, socket: TcpStream, upgrade: OnUpgrade, place: Option<Place>) -> Result<(), Failure> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        while connections.try_join_next().is_some() {}
        if connections.len() >= MAX_CONNECTIONS {
            return Err(Failure::unavailable(format_args!("this session has {MAX_CONNECTIONS} connections already")));
        }
        let stop = self.stop.clone();
        connections.spawn(async move {
            let _place = place;
            let carried = match upgrade.await {
                Ok(upgraded) => splice::exchange(TokioIo::new(upgraded), socket, &stop).await,
                Err(error) => return debug!(%error, "a pass-through connection did not begin"),
            };
            if let Err(error) = carried {
                debug!(%error, "a pass-through connection ended");
            }
        });
        Ok(())
    }
}
