//! Handshakes in progress: their slots, and the rate at which those of an address may fail.

use std::{fmt, time::Duration};

use iroh::{
    EndpointId,
    endpoint::{Connection, Incoming, IncomingAddr},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    super::{
        Code,
        arrivals::{ArrivalRate, ArrivalSlot, ArrivalSlots, Source},
    },
    IncomingLimits,
};

/// Performs the handshakes of an endpoint, within the limits.
pub(super) struct Handshakes {
    alpn: Vec<u8>,
    max: usize,
    timeout: Duration,
    slots: ArrivalSlots,
    /// Of known peers, who come through a relay: an address of the internet says nothing about who comes from there.
    known: ArrivalSlots,
    rate: ArrivalRate,
    is_known: Box<dyn Fn(EndpointId) -> bool + Send + Sync>,
}

/// A connection with a slot, before its handshake.
pub(super) struct Arrival {
    incoming: Incoming,
    source: Source,
    standing: Standing,
    _slot: ArrivalSlot,
    displaced: CancellationToken,
}

/// Where a connection comes from.
pub(super) struct Origin {
    source: Source,
    standing: Standing,
}

/// What is known of a peer before its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Known,
    Stranger,
}

impl Handshakes {
    pub(super) fn new(
        limits: &IncomingLimits,
        alpn: Vec<u8>,
        is_known: impl Fn(EndpointId) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            alpn,
            max: limits.max_handshakes,
            timeout: limits.handshake_timeout,
            slots: ArrivalSlots::new(limits.max_handshakes),
            known: ArrivalSlots::new(limits.max_handshakes),
            rate: ArrivalRate::default(),
            is_known: Box::new(is_known),
        }
    }

    /// Gives a connection a slot, or makes it prove its address first.
    pub(super) fn admit(&self, incoming: Incoming) -> Option<Arrival> {
        let addr = incoming.remote_addr();
        let standing = match addr {
            IncomingAddr::Relay { endpoint_id, .. } if (self.is_known)(endpoint_id) => Standing::Known,
            _ => Standing::Stranger,
        };
        let source = Source::from(addr);
        let slots = match standing {
            Standing::Known => &self.known,
            Standing::Stranger => &self.slots,
        };
        let is_crowded = slots.taken() >= self.max.div_ceil(2) || self.rate.is_low(&source);
        if is_crowded && standing == Standing::Stranger && !incoming.remote_addr_validated() {
            // Fails only for an address that has been validated.
            let _ = incoming.retry();
            return None;
        }
        let displaced = CancellationToken::new();
        let Some(slot) = slots.take(source.clone(), displaced.clone()) else {
            incoming.refuse();
            return None;
        };
        Some(Arrival { incoming, source, standing, _slot: slot, displaced })
    }

    /// Performs a handshake, and returns the connection and where it comes from. `None` if it fails, takes too long, or its slot
    /// goes to another.
    pub(super) async fn complete(&self, arrival: Arrival) -> Option<(Connection, Origin)> {
        let Arrival { incoming, source, standing, _slot, displaced } = arrival;
        let from = incoming.remote_addr();
        let handshake = async {
            if standing == Standing::Stranger {
                timeout(self.timeout, self.rate.attempt(&source)).await?;
            }
            timeout(self.timeout, incoming).await
        };
        let connection = match displaced.run_until_cancelled(handshake).await {
            Some(Ok(Ok(connection))) => connection,
            Some(Ok(Err(error))) => {
                debug!(?from, error = format!("{error:#}"), "handshake failed");
                return None;
            }
            Some(Err(_)) => {
                debug!(?from, "handshake timed out");
                return None;
            }
            None => {
                debug!(?from, "handshake abandoned: its slot went to another connection");
                return None;
            }
        };
        if connection.alpn() != self.alpn {
            connection.close(Code::WRONG_ALPN.into(), b"this ALPN is not served here");
            return None;
        }
        Some((connection, Origin { source, standing }))
    }

    /// Returns the attempt of a connection that has become a link. One that is refused for a limit keeps it: an admitted peer
    /// may dial without end, too.
    pub(super) fn admitted(&self, origin: &Origin) {
        if origin.standing == Standing::Stranger {
            self.rate.succeeded(&origin.source);
        }
    }
}

impl fmt::Debug for Handshakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshakes").field("max", &self.max).finish_non_exhaustive()
    }
}
