//! QUIC settings that the rest of the transport was measured with.

use std::{error::Error, fmt, str::FromStr, sync::Arc, time::Duration};

use iroh::endpoint::{IdleTimeout, QuicTransportConfig, QuicTransportConfigBuilder, VarInt};
use noq_proto::congestion::{Bbr3Config, ControllerFactory, CubicConfig};

use super::congestion::ByPath;

/// After this long without a packet a link counts as lost.
///
/// iroh sends a keep-alive every 5 s, and the timer starts anew when one is sent, so a silent peer is known lost
/// after 6 to 11 s. iroh's own default is 30 s, longer than most callers wait.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(6);

/// After this long without an answer on one path a link goes on over another, the relay mostly. In time for a heartbeat,
/// which has 5 s (iroh: 15 s, in which the link would be lost).
const PATH_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// How long a path rests before it is asked whether it is still there (iroh: 5 s).
const PATH_KEEP_ALIVE: Duration = Duration::from_secs(2);

/// Round trip that is assumed until one was measured: lost packets of a handshake are sent again after 0.3 and 0.9 s
/// (iroh: 333 ms; after 1 and 3 s).
const INITIAL_ROUND_TRIP: Duration = Duration::from_millis(100);

/// What one stream may have in flight, in bytes: 2 MB, 20 MB/s at 100 ms.
///
/// noq 1.4 ends the link when 2,048 pieces of one stream wait, and looks for 1,024 where some are missing. 2 MB are
/// 1,830 pieces where packets have 1,200 bytes and writes 16 KiB: a reader may stall with the window full, and loss
/// spread over one window costs no link.
const STREAM_WINDOW: u32 = 2_000_000;

/// What one link may have in flight and unread, in bytes, however many streams it has: 64 MB, 17 lanes with their windows
/// full and as much again. iroh has no bound; the streams that nobody has accepted yet would then hold 200 MB.
const LINK_WINDOW: u32 = 64_000_000;

/// The same for who is not admitted yet, and reaches nothing but the 32 bytes of an invitation.
#[cfg(feature = "funnel")]
const STRANGERS_WINDOW: u32 = 64 << 10;

/// What decides how fast a link may send. Each end decides for what it sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CongestionControl {
    /// A model of what the path delivers, which random loss does not slow down; Cubic where round trips are below 1 ms.
    #[default]
    ByPath,
    /// noq's Cubic, iroh's default: yields to every lost packet. For links that are shared with TCP and lose nothing.
    Cubic,
    /// noq's BBR3, which its authors call experimental.
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

/// A name that is no [`CongestionControl`].
#[derive(Clone, Debug)]
pub struct InvalidCongestionControl(String);

impl fmt::Display for InvalidCongestionControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no congestion control; there are by-path, cubic and bbr3", self.0)
    }
}

impl Error for InvalidCongestionControl {}

/// QUIC settings for an endpoint that carries gRPC: for `iroh::endpoint::Builder::transport_config`.
///
/// Idle timeout 6 s (iroh: 30 s), of a path 4 s (iroh: 15 s), stream window 2 MB (iroh: 1.25 MB), link window 64 MB (iroh:
/// none), handshakes sent again after 0.3 s (iroh: 1 s), and [`CongestionControl::ByPath`] (iroh: Cubic). An endpoint with
/// iroh's own settings works as well, notices a silent peer later and is much slower on links that are long or lose packets.
pub fn quic_config() -> QuicTransportConfig {
    quic_config_with(CongestionControl::default())
}

/// The same with another congestion control.
pub fn quic_config_with(congestion_control: CongestionControl) -> QuicTransportConfig {
    builder(congestion_control).build()
}

/// The same for an endpoint that carries nothing but sessions, and those of peers that are [admitted](widen):
/// unidirectional streams and datagrams, which nobody reads there, are not offered to peers, and strangers may send little.
#[cfg(feature = "funnel")]
pub(crate) fn sessions_only(congestion_control: CongestionControl) -> QuicTransportConfig {
    builder(congestion_control)
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .receive_window(VarInt::from_u32(STRANGERS_WINDOW))
        .build()
}

/// Gives a link the window of one whose peer is admitted.
#[cfg(feature = "funnel")]
pub(crate) fn widen(connection: &iroh::endpoint::Connection) {
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
