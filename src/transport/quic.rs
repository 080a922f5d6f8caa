//! QUIC settings that the rest of the transport was measured with.

use std::time::Duration;

use iroh::endpoint::{IdleTimeout, QuicTransportConfig, VarInt};

/// After this long without a packet a link counts as lost.
///
/// iroh sends a keep-alive every 5 s, and the timer starts anew when one is sent, so a silent peer is known lost
/// after 6 to 11 s; iroh's own default of 30 s would outlast Flower's 12 s of grace.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(6);

/// What one stream may have in flight, in bytes: 2.3 MB, 23 MB/s at 100 ms.
///
/// noq 1.4 keeps at most 1,024 separate pieces of a stream: with larger windows, loss spread over one window
/// ends the whole link.
const STREAM_WINDOW: u32 = 2_300_000;

/// QUIC settings for an endpoint that carries gRPC: for `iroh::endpoint::Builder::transport_config`.
///
/// Idle timeout 6 s (iroh: 30 s), stream window 2.3 MB (iroh: 1.25 MB). An endpoint with iroh's own settings works
/// as well, notices a silent peer later and is slower on long links.
pub fn quic_config() -> QuicTransportConfig {
    let idle = IdleTimeout::try_from(IDLE_TIMEOUT).expect("6 s fit QUIC's 62 bits of milliseconds");
    QuicTransportConfig::builder()
        .max_idle_timeout(Some(idle))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .build()
}
