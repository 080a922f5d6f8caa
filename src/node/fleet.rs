//! Calls of Flower's Fleet API: signed, and tried again until they get through.

use std::time::Duration;

use bytes::Bytes;
use tonic::{Request, Response, Status, body::Body, client::GrpcService};

use super::{
    error::NodeError,
    key::NodeKey,
    retry::{Backoff, is_unavailable},
};
use crate::proto::fleet_client::FleetClient;

/// A chunk has 5 MiB, up to 20 MiB in old versions.
const MAX_CALL_SIZE: usize = 64 << 20;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a node can make calls with: tonic's `Channel`, a service around it, or a funnel's `PeerChannel`.
///
/// Implemented for everything that fits.
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
    max_backoff: Duration,
}

impl<S: Channel> Fleet<S> {
    pub(super) fn new(channel: S, key: NodeKey, max_backoff: Duration) -> Self {
        let client = FleetClient::new(channel);
        let client = client.max_decoding_message_size(MAX_CALL_SIZE).max_encoding_message_size(MAX_CALL_SIZE);
        Self { client, key, max_backoff }
    }

    pub(super) fn key(&self) -> &NodeKey {
        &self.key
    }

    pub(super) fn backoff(&self) -> Backoff {
        Backoff::new(self.max_backoff)
    }

    /// Makes a call, again and again while it does not get through.
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
        Ok(self.call_and_tell(name, request, method).await?.0)
    }

    /// The same, and whether it was made before: an answer may have got lost.
    pub(super) async fn call_and_tell<Q, R, F>(
        &self,
        name: &'static str,
        request: Q,
        method: impl Fn(FleetClient<S>, Request<Q>) -> F,
    ) -> Result<(R, bool), NodeError>
    where
        Q: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let (mut backoff, mut is_repeated) = (self.backoff(), false);
        loop {
            match self.try_call(request.clone(), &method).await {
                Err(status) if is_unavailable(&status) => {
                    let wait = backoff.next();
                    tracing::warn!(call = name, reason = status.message(), ?wait, "the SuperLink is out of reach");
                    tokio::time::sleep(wait).await;
                    is_repeated = true;
                }
                Err(status) => return Err(NodeError::call(name, status)),
                Ok(response) => return Ok((response, is_repeated)),
            }
        }
    }

    /// Makes a call once. The signature is made anew: it grows old.
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
