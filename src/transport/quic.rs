//! QUIC settings that the rest of the transport was measured with.

use std::{sync::Arc, time::Duration};

use iroh::endpoint::{IdleTimeout, QuicTransportConfig, VarInt};

use super::congestion::ByPath;

/// After this long without a packet a link counts as lost.
///
/// iroh sends a keep-alive every 5 s, and the timer starts anew when one is sent, so a silent peer is known lost
/// after 6 to 11 s. iroh's own default is 30 s, longer than most callers wait.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(6);

/// What one stream may have in flight, in bytes: 2 MB, 20 MB/s at 100 ms.
///
/// noq 1.4 ends the link when 2,048 pieces of one stream wait, and looks for 1,024 where some are missing. 2 MB are
/// 1,830 pieces where packets have 1,200 bytes and writes 16 KiB: a reader may stall with the window full, and loss
/// spread over one window costs no link.
const STREAM_WINDOW: u32 = 2_000_000;

/// QUIC settings for an endpoint that carries gRPC: for `iroh::endpoint::Builder::transport_config`.
///
/// Idle timeout 6 s (iroh: 30 s), stream window 2 MB (iroh: 1.25 MB), and congestion control by path: a model of what the
/// path delivers, which random loss does not slow down, or Cubic (iroh's) where round trips are below 1 ms. An endpoint
/// with iroh's own settings works as well, notices a silent peer later and is much slower on links that are long or lose
/// packets.
pub fn quic_config() -> QuicTransportConfig {
    let idle = IdleTimeout::try_from(IDLE_TIMEOUT).expect("6 s fit QUIC's 62 bits of milliseconds");
    QuicTransportConfig::builder()
        .max_idle_timeout(Some(idle))
        .congestion_controller_factory(Arc::new(ByPath))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .build()
}
