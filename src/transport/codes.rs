//! The codes that links are closed with and streams are reset with.

use std::fmt;

use iroh::endpoint::VarInt;

/// Why one side closed a link or reset a stream, as the other side receives it.
///
/// The number is carried in QUIC's `CONNECTION_CLOSE`, `RESET_STREAM` and `STOP_SENDING` frames. Numbers are part of the
/// protocol and are never reused. Unknown codes, of other programs, are kept as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(u32);

impl Code {
    /// The last user of a link dropped it; nothing was in flight.
    pub const DONE: Self = Self(0);
    /// The process is stopping, and its calls had time to finish.
    pub const SHUTDOWN: Self = Self(1);
    /// A limit is reached; the same attempt may succeed later.
    pub const OVERLOADED: Self = Self(2);
    /// The peer is known and not admitted.
    pub const REFUSED: Self = Self(3);
    /// A stream was dropped before its clean end.
    pub const CANCELLED: Self = Self(4);
    /// The link was opened for an ALPN that is not served here.
    pub const WRONG_ALPN: Self = Self(5);
    /// No fault: the peer's permissions have changed, and apply to a new link.
    pub const RECONNECT: Self = Self(6);

    /// Converts the code of a close or reset frame; `None` above 32 bits, which no version of this crate sends.
    pub fn from_wire(code: VarInt) -> Option<Self> {
        u32::try_from(code.into_inner()).ok().map(Self)
    }

    /// Returns the code's name, as logs and errors show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::DONE => "done",
            Self::SHUTDOWN => "shutdown",
            Self::OVERLOADED => "overloaded",
            Self::REFUSED => "refused",
            Self::CANCELLED => "cancelled",
            Self::WRONG_ALPN => "wrong-alpn",
            Self::RECONNECT => "reconnect",
            _ => "unknown",
        }
    }
}

impl From<Code> for VarInt {
    fn from(code: Code) -> Self {
        Self::from_u32(code.0)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.name(), self.0)
    }
}
