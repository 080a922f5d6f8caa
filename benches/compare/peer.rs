//! A server as its client sees it, whatever lies between them.

pub(crate) mod codec;
pub(crate) mod grpc;
pub(crate) mod raw;
pub(crate) mod seconds;
pub(crate) mod service;
pub(crate) mod tcp;

use std::{net::IpAddr, sync::LazyLock, time::Duration};

use bytes::Bytes;
use iroh::{
    Endpoint, RelayMode,
    endpoint::{QuicTransportConfig, presets},
};

use self::seconds::Seconds;
use crate::failure::Failure;

/// The size of an object of a model, as Flower cuts it.
pub(crate) const OBJECT: usize = 5 * 1024 * 1024;
/// The size of a message of a bulk transfer.
pub(crate) const BLOCK: usize = 1024 * 1024;
/// What bulk transfers send again and again: nothing that compresses.
pub(crate) static NOISE: LazyLock<Bytes> = LazyLock::new(|| {
    let mut random = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| random.u8(..)).take(OBJECT).collect()
});

/// Bounds a bulk transfer: whichever comes first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// No new message after this time.
    pub(crate) time: Duration,
    /// No new message after this many bytes.
    pub(crate) bytes: u64,
}

impl Limit {
    /// Messages of a bulk transfer from now on.
    pub(crate) fn blocks(self) -> impl Iterator<Item = Bytes> + Send + use<> {
        let started = std::time::Instant::now();
        let mut sent = 0;
        std::iter::from_fn(move || {
            if sent >= self.bytes || started.elapsed() >= self.time {
                return None;
            }
            sent += BLOCK as u64;
            Some(NOISE.slice(..BLOCK))
        })
    }
}

/// What every competitor can do. Each future ends when the other side has confirmed the work, or sent all of it.
pub(crate) trait Peer: Clone + Send + Sync + 'static {
    /// One who makes small calls one after the other.
    type Caller: Caller;

    /// A new caller.
    fn caller(&self) -> impl Future<Output = Result<Self::Caller, Failure>> + Send;

    /// Sends up to `limit`; returns what the server has counted.
    fn upload(&self, limit: Limit) -> impl Future<Output = Result<Seconds, Failure>> + Send;

    /// Receives up to `limit`; returns how many bytes have come.
    fn download(&self, limit: Limit) -> impl Future<Output = Result<u64, Failure>> + Send;

    /// Brings one object.
    fn push_object(&self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Fetches one object.
    fn pull_object(&self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Makes small calls.
pub(crate) trait Caller: Send + 'static {
    /// One small call and its answer.
    fn call(&mut self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// An endpoint at `addr` alone, without relay or lookup. `transport` none: iroh's own settings.
pub(crate) async fn iroh_endpoint(
    addr: IpAddr,
    alpn: &[u8],
    transport: Option<QuicTransportConfig>,
) -> Result<Endpoint, Failure> {
    let mut builder = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled).alpns(vec![alpn.to_vec()]);
    if let Some(transport) = transport {
        builder = builder.transport_config(transport);
    }
    Ok(builder.clear_ip_transports().bind_addr((addr, 0))?.bind().await?)
}
