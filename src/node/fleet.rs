//! Calls of Flower's Fleet API: signed, and retried while the SuperLink is unreachable.

use std::time::Duration;

use bytes::Bytes;
use tonic::{Request, Response, Status, body::Body, client::GrpcService};

use super::{error::NodeError, key::NodeKey, retry::is_unavailable};
use crate::{proto::fleet_client::FleetClient, transport::Backoff};

/// The longest wait before the first retry.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The largest request and response. A chunk has 5 MiB, in old versions up to 20 MiB.
const MAX_CALL_SIZE: usize = 64 << 20;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A service that a node makes its calls with: tonic's `Channel`, a service around it, or a funnel's `PeerChannel`.
///
/// Implemented for every such type.
pub trait Channel:
    GrpcService<
        Body,
        ResponseBody: http_body::Body<Data = Bytes, Error: Into<BoxError> + Send> + Send + 'static,
        Error: Into<BoxError>,
        Future: Send,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Channel for S where
    S: GrpcService<
            Body,
            ResponseBody: http_body::Body<Data = Bytes, Error: Into<BoxError> + Send> + Send + 'static,
            Error: Into<BoxError>,
            Future: Send,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

#[derive(Clone, Debug)]
pub(super) struct Fleet<S> {
    client: FleetClient<S>,
    key: NodeKey,
    backoff: Backoff,
}

impl<S: Channel> Fleet<S> {
    pub(super) fn new(channel: S, key: NodeKey, max_backoff: Duration) -> Self {
        let client = FleetClient::new(channel);
        let client = client.max_decoding_message_size(MAX_CALL_SIZE).max_encoding_message_size(MAX_CALL_SIZE);
        // Flower's waits have full jitter: anything between zero and a limit that grows.
        Self { client, key, backoff: Backoff::new(RETRY_FIRST, max_backoff, 0.0..1.0) }
    }

    pub(super) fn key(&self) -> &NodeKey {
        &self.key
    }

    pub(super) fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    /// Makes a call, and retries it while the SuperLink is unreachable.
    pub(super) async fn call<Q, R, F>(
        &self,
        name: &'static str,
        request: Q,
        method: impl Fn(FleetClient<S>, Request<Q>) -> F,
    ) -> Result<R, NodeError>
    where
        Q: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        Ok(self.call_retried(name, request, method).await?.0)
    }

    /// Makes a call as [`call`](Self::call) does, and reports whether it was retried: an earlier answer may be lost then.
    pub(super) async fn call_retried<Q, R, F>(
        &self,
        name: &'static str,
        request: Q,
        method: impl Fn(FleetClient<S>, Request<Q>) -> F,
    ) -> Result<(R, bool), NodeError>
    where
        Q: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let mut retries = 0;
        loop {
            match self.try_call(request.clone(), &method).await {
                Err(status) if is_unavailable(&status) => {
                    let wait = self.backoff.wait(retries);
                    tracing::warn!(call = name, reason = status.message(), ?wait, "the SuperLink is unreachable");
                    tokio::time::sleep(wait).await;
                    retries = retries.saturating_add(1);
                }
                Err(status) => return Err(NodeError::call(name, status)),
                Ok(response) => return Ok((response, retries > 0)),
            }
        }
    }

    /// Makes a call once, with a new signature: signatures expire.
    pub(super) async fn try_call<Q, R, F>(
        &self,
        request: Q,
        method: impl Fn(FleetClient<S>, Request<Q>) -> F,
    ) -> Result<R, Status>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let mut request = Request::new(request);
        self.key.sign(request.metadata_mut());
        Ok(method(self.client.clone(), request).await?.into_inner())
    }
}
