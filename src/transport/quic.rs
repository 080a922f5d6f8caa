//! The QUIC settings that the transport is measured with.

use std::{str::FromStr, sync::Arc, time::Duration};

use iroh::endpoint::{IdleTimeout, QuicTransportConfig, QuicTransportConfigBuilder, VarInt};
use noq_proto::congestion::{Bbr3Config, ControllerFactory, CubicConfig};

use super::congestion::ByPath;

/// The time without a packet after which a link is lost: 6 s.
///
/// iroh sends a keep-alive every 5 s, which restarts the timer, so the loss of a silent peer is noticed after 6 to 11 s.
/// iroh's own default is 30 s, longer than most callers wait.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(6);

/// The time without an answer on one path after which a link moves to another, mostly the relay. Short enough for a
/// heartbeat with a deadline of 5 s (iroh: 15 s, by which the link would be lost).
const PATH_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// The time that a path may be idle before it is probed (iroh: 5 s).
const PATH_KEEP_ALIVE: Duration = Duration::from_secs(2);

/// The round-trip time assumed until one is measured: lost handshake packets are sent again after 0.3 and 0.9 s (iroh:
/// 333 ms, so after 1 and 3 s).
const INITIAL_ROUND_TRIP: Duration = Duration::from_millis(100);

/// Bytes that one stream may have in flight: 2 MB, which is 20 MB/s at 100 ms.
///
/// noq 1.4 closes the connection when one stream has more than 2,048 unread chunks, and checks from 1,024 on where data is
/// missing (<https://github.com/quinn-rs/quinn/issues/2809>). 2 MB are 1,830 chunks with packets of 1,200 bytes and writes
/// of 16 KiB: a reader may stall with a full window, and loss spread over one window does not cost the link. A larger window
/// is possible once iroh ships a noq that merges contiguous chunks.
const STREAM_WINDOW: u32 = 2_000_000;

/// Bytes that one link may have in flight and unread, over all its streams: 64 MB, twice what 17 streams with full windows
/// hold. iroh sets no bound; streams that are not accepted yet could then hold 200 MB.
const LINK_WINDOW: u32 = 64_000_000;

/// The same for a peer that is not admitted yet, which may send nothing but the 32 bytes of an invitation.
#[cfg(feature = "funnel")]
const UNTRUSTED_WINDOW: u32 = 64 << 10;

/// The algorithm that decides how fast a link may send. Each end chooses for the data that it sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CongestionControl {
    /// The default: a model of what the path delivers, which random loss does not slow down; Cubic where the round-trip
    /// time is below 1 ms.
    #[default]
    ByPath,
    /// noq's Cubic, iroh's default, which slows down at every lost packet. For links without loss that TCP shares.
    Cubic,
    /// noq's BBR3, which noq calls experimental.
    Bbr3,
}

impl CongestionControl {
    fn factory(self) -> Arc<dyn ControllerFactory + Send + Sync> {
        match self {
            Self::ByPath => Arc::new(ByPath),
            Self::Cubic => Arc::new(CubicConfig::default()),
            Self::Bbr3 => Arc::new(Bbr3Config::default()),
        }
    }
}

impl FromStr for CongestionControl {
    type Err = InvalidCongestionControl;

    fn from_str(name: &str) -> Result<Self, InvalidCongestionControl> {
        match name {
            "by-path" => Ok(Self::ByPath),
            "cubic" => Ok(Self::Cubic),
            "bbr3" => Ok(Self::Bbr3),
            _ => Err(InvalidCongestionControl(name.to_owned())),
        }
    }
}

/// A name that is not a valid [`CongestionControl`].
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0:?} is not a valid congestion control; there are by-path, cubic and bbr3")]
pub struct InvalidCongestionControl(String);

/// Returns the QUIC settings for an endpoint that carries gRPC, for `iroh::endpoint::Builder::transport_config`.
///
/// Idle timeout 6 s (iroh: 30 s), per path 4 s (iroh: 15 s), stream window 2 MB (iroh: 1.25 MB), link window 64 MB (iroh:
/// unlimited), lost handshake packets sent again after 0.3 s (iroh: 1 s), and [`CongestionControl::ByPath`] (iroh: Cubic).
/// An endpoint with iroh's own settings works too, but notices a silent peer later and is much slower on links that are
/// long or lose packets.
pub fn quic_config() -> QuicTransportConfig {
    quic_config_with(CongestionControl::default())
}

/// Returns the same settings as [`quic_config`] with another congestion control.
pub fn quic_config_with(congestion_control: CongestionControl) -> QuicTransportConfig {
    builder(congestion_control).build()
}

/// Returns the settings of an endpoint that carries only sessions, and only those of admitted peers.
///
/// Unidirectional streams and datagrams, which nothing reads there, are not offered to peers. A peer may send 64 KiB until
/// its window is [raised](raise_receive_window).
#[cfg(feature = "funnel")]
pub(crate) fn untrusted_peer_config(congestion_control: CongestionControl) -> QuicTransportConfig {
    builder(congestion_control)
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .receive_window(VarInt::from_u32(UNTRUSTED_WINDOW))
        .build()
}

/// Raises the receive window of a connection to that of an admitted peer.
#[cfg(feature = "funnel")]
pub(crate) fn raise_receive_window(connection: &iroh::endpoint::Connection) {
    connection.set_receive_window(VarInt::from_u32(LINK_WINDOW));
}

fn builder(congestion_control: CongestionControl) -> QuicTransportConfigBuilder {
    let idle = IdleTimeout::try_from(IDLE_TIMEOUT).expect("6 s fit QUIC's 62 bits of milliseconds");
    QuicTransportConfig::builder()
        .max_idle_timeout(Some(idle))
        .default_path_max_idle_timeout(PATH_IDLE_TIMEOUT)
        .default_path_keep_alive_interval(PATH_KEEP_ALIVE)
        .initial_rtt(INITIAL_ROUND_TRIP)
        .congestion_controller_factory(congestion_control.factory())
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(LINK_WINDOW))
}
