//! HTTP/2 settings of each hop.

/// The HTTP/2 stream window in the tunnel: the most bytes that one call may have in flight. QUIC's stream window (2 MB)
/// limits it further.
pub(crate) const STREAM_WINDOW: u32 = 4 << 20;
/// The HTTP/2 connection window in the tunnel: the most bytes that one lane may have in flight, one and a half calls at full
/// speed.
pub(crate) const CONNECTION_WINDOW: u32 = 6 << 20;
/// The stream window on this machine, where a round trip takes microseconds.
pub(crate) const LOCAL_STREAM_WINDOW: u32 = 512 << 10;
/// The connection window on this machine: a call that stalls must not delay the others.
pub(crate) const LOCAL_CONNECTION_WINDOW: u32 = 16 << 20;
/// The largest frame, in bytes: larger frames cost fewer wake-ups, smaller ones interleave calls better.
pub(crate) const FRAME_SIZE: u32 = 64 << 10;
/// The most bytes of headers: Flower's tokens and signatures take less than 10 KiB.
pub(crate) const MAX_HEADER_LIST: u32 = 64 << 10;
/// The most bytes of a request's headers that enter the tunnel: the peer's limit, less what HTTP/2's client adds.
pub(crate) const MAX_REQUEST_HEADERS: usize = MAX_HEADER_LIST as usize - 1024;
/// The most bytes that these headers take in a session that has just begun: HTTP/2's server accepts six frames, which have
/// 16 KiB until the client has received the server's settings.
pub(crate) const MAX_ENCODED_HEADERS: usize = 6 * (16 << 10) - 1024;
/// The most bytes of headers of a request that shares an HTTP/2 session with others. Some servers end the whole session for a
/// larger list: nginx from 8 KiB of one header on, and every server for a list in too many frames.
pub(crate) const MAX_SHARED_HEADERS: usize = 8 << 10;
/// The most bytes of headers that are read on this machine. It is far more than enters the tunnel, so that a request with too
/// many is refused in its own wire and does not end its connection.
pub(crate) const LOCAL_MAX_HEADER_LIST: u32 = 1 << 20;
/// The most bytes of a response's headers or trailers: what the tunnel carries, less what HTTP adds.
pub(crate) const MAX_RESPONSE_METADATA: usize = MAX_HEADER_LIST as usize - 1024;
/// The most bytes of headers or trailers that are read from an upstream, so that it is an error with a reason if the tunnel
/// does not carry them.
pub(crate) const MAX_UPSTREAM_HEADER_LIST: u32 = 512 << 10;
/// The most calls at once on one local connection, as in Flower's own server.
pub(crate) const MAX_CALLS: u32 = 1000;
/// The most calls at once on one session through the tunnel. Further calls wait at the peer's end; they are refused only when
/// the peer reaches the limit over all its sessions.
pub(crate) const MAX_CALLS_OF_SESSION: u32 = 256;
/// The most calls that may be reset before they were handled, which only a flood of resets exceeds: the session then ends
/// with ENHANCE_YOUR_CALM. h2's own default.
pub(crate) const MAX_EARLY_RESETS: usize = 20;
/// The most calls that may violate HTTP/2 before the session ends with ENHANCE_YOUR_CALM. An honest peer has none. h2's
/// default is 1,024.
pub(crate) const MAX_BROKEN_CALLS: usize = 64;
