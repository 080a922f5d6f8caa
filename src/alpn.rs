//! What funnels, and nodes that dial a funnel themselves, agree on.

/// The protocol between funnels. Both ends must agree on it.
pub const ALPN: &[u8] = b"flower-iroh-funnel/1";
