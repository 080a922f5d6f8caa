//! HTTP/2 settings of each hop.

/// What one call may have in flight through the tunnel, in bytes. QUIC's stream window (2 MB) stands behind it.
pub(crate) const STREAM_WINDOW: u32 = 4 << 20;
/// What one lane may have in flight, in bytes: a call at full speed, and half of one beside it.
pub(crate) const CONNECTION_WINDOW: u32 = 6 << 20;
/// The same for a call on this machine, where a round trip takes microseconds.
pub(crate) const LOCAL_STREAM_WINDOW: u32 = 512 << 10;
/// And for a connection on this machine: a call that stalls must not hold back the others.
pub(crate) const LOCAL_CONNECTION_WINDOW: u32 = 16 << 20;
/// Bytes in a frame: larger frames cost fewer wake-ups, smaller ones let other calls in between.
pub(crate) const FRAME_SIZE: u32 = 64 << 10;
/// Bytes of headers: Flower's tokens and signatures take under 10 KiB.
pub(crate) const MAX_HEADER_LIST: u32 = 64 << 10;
/// Calls at once on one local connection. Flower's own server allows as many.
pub(crate) const MAX_CALLS: u32 = 1000;
/// Calls at once of one peer, over all its sessions: 50 SuperNodes behind one funnel that all push and pull, two objects
/// each way. Each call takes a connection to a SuperLink over HTTP, and some 100 KiB.
pub(crate) const MAX_CALLS_OF_PEER: usize = 256;
/// Calls at once on one session through the tunnel: who opens more waits at his own end, and is refused only past all his
/// sessions.
pub(crate) const MAX_CALLS_OF_SESSION: u32 = 256;
/// Calls that may be reset before they were looked at, which only a flood of resets does; past it the session ends with
/// ENHANCE_YOUR_CALM. h2's own default.
pub(crate) const MAX_EARLY_RESETS: usize = 20;
/// Calls that may break HTTP/2's rules before the session ends with ENHANCE_YOUR_CALM: none of an honest peer's do (h2:
/// 1,024).
pub(crate) const MAX_BROKEN_CALLS: usize = 64;
