//! Why a peer could not be reached, and why a session or a link ended.

use std::{borrow::Cow, error::Error, fmt, io, sync::Arc, time::Duration};

use iroh::{
    EndpointId,
    endpoint::{self, ConnectWithOptsError, ConnectingError, ConnectionError, TransportErrorCode, VarInt},
};

use super::{Code, InvalidTarget};

/// TLS alert `no_application_protocol` (RFC 7301) as a QUIC error code.
const NO_APPLICATION_PROTOCOL: u8 = 120;
/// TLS alert `unknown_ca` (RFC 8446): what rustls sends when the certificate belongs to another key.
const UNKNOWN_CA: u8 = 48;

/// A link that is closed or lost, with the reason.
///
/// Its `source` is QUIC's [`ConnectionError`].
#[derive(Clone, Debug, thiserror::Error)]
#[error("link to {} lost: {}", .peer.fmt_short(), Reason(.reason))]
pub struct LinkLost {
    peer: EndpointId,
    #[source]
    reason: ConnectionError,
}

impl LinkLost {
    pub(super) fn new(peer: EndpointId, reason: ConnectionError) -> Self {
        Self { peer, reason }
    }

    /// Returns the peer at the other end.
    pub fn peer(&self) -> EndpointId {
        self.peer
    }

    /// Returns the code with which the peer closed the link; `None` if it did not close it, or with an unknown kind of code.
    pub fn code(&self) -> Option<Code> {
        Reason(&self.reason).code()
    }

    /// Returns the reason that the peer gave when it closed the link: one line, without control characters.
    pub fn peer_reason(&self) -> Option<Cow<'_, str>> {
        Reason(&self.reason).text()
    }

    /// Returns whether the link was lost because the peer fell silent.
    pub fn is_timeout(&self) -> bool {
        matches!(self.reason, ConnectionError::TimedOut)
    }

    fn io_kind(&self) -> io::ErrorKind {
        match self.reason {
            ConnectionError::TimedOut => io::ErrorKind::TimedOut,
            ConnectionError::LocallyClosed => io::ErrorKind::NotConnected,
            _ => io::ErrorKind::ConnectionReset,
        }
    }
}

/// Shows why a link ended, as a part of a sentence.
struct Reason<'a>(&'a ConnectionError);

impl<'a> Reason<'a> {
    fn code(&self) -> Option<Code> {
        match self.0 {
            ConnectionError::ApplicationClosed(close) => Code::from_wire(close.error_code),
            _ => None,
        }
    }

    fn text(&self) -> Option<Cow<'a, str>> {
        match self.0 {
            ConnectionError::ApplicationClosed(close) if !close.reason.is_empty() => {
                Some(in_one_line(String::from_utf8_lossy(&close.reason)))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ConnectionError::ApplicationClosed(_) => {
                f.write_str("closed by the peer")?;
                self.code().map_or(Ok(()), |code| write!(f, ": {code}"))?;
                self.text().map_or(Ok(()), |text| write!(f, ": {text}"))
            }
            ConnectionError::LocallyClosed => f.write_str("closed by this side"),
            ConnectionError::TimedOut => f.write_str("the peer fell silent"),
            ConnectionError::Reset => f.write_str("the peer restarted"),
            other => f.write_str(&in_one_line(other.to_string().into())),
        }
    }
}

/// Makes a peer's text safe for logs and terminals.
fn in_one_line(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains(char::is_control) { text.replace(char::is_control, " ").into() } else { text }
}

/// A session that ended before its clean end, with the reason.
///
/// An [`IrohStream`](super::IrohStream) returns it inside of an [`io::Error`], where `io::Error::get_ref` finds it.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub struct SessionError(SessionErrorKind);

#[derive(Clone, Debug, thiserror::Error)]
enum SessionErrorKind {
    #[error("session with {} ended by the peer: {}", .peer.fmt_short(), WireCode(*.code))]
    EndedByPeer { peer: EndpointId, code: VarInt },
    #[error("session with {} ended by this side: too much of it was left unread", .peer.fmt_short())]
    Unread { peer: EndpointId },
    #[error(transparent)]
    Lost(LinkLost),
}

impl SessionError {
    pub(super) fn ended_by_peer(peer: EndpointId, code: VarInt) -> Self {
        Self(SessionErrorKind::EndedByPeer { peer, code })
    }

    pub(super) fn unread(peer: EndpointId) -> Self {
        Self(SessionErrorKind::Unread { peer })
    }

    /// Returns the peer at the other end.
    pub fn peer(&self) -> EndpointId {
        match &self.0 {
            SessionErrorKind::EndedByPeer { peer, .. } | SessionErrorKind::Unread { peer } => *peer,
            SessionErrorKind::Lost(lost) => lost.peer(),
        }
    }

    /// Returns the code with which the peer ended the session, or closed its link.
    pub fn code(&self) -> Option<Code> {
        match &self.0 {
            SessionErrorKind::EndedByPeer { code, .. } => Code::from_wire(*code),
            SessionErrorKind::Unread { .. } => None,
            SessionErrorKind::Lost(lost) => lost.code(),
        }
    }

    /// Returns the end of the link, if the session ended with it.
    pub fn link_lost(&self) -> Option<&LinkLost> {
        match &self.0 {
            SessionErrorKind::Lost(lost) => Some(lost),
            _ => None,
        }
    }
}

impl From<LinkLost> for SessionError {
    fn from(lost: LinkLost) -> Self {
        Self(SessionErrorKind::Lost(lost))
    }
}

impl From<SessionError> for io::Error {
    fn from(error: SessionError) -> Self {
        let kind = match &error.0 {
            SessionErrorKind::EndedByPeer { .. } => io::ErrorKind::ConnectionReset,
            SessionErrorKind::Unread { .. } => io::ErrorKind::ConnectionAborted,
            SessionErrorKind::Lost(lost) => lost.io_kind(),
        };
        Self::new(kind, error)
    }
}

/// Shows a code that may be another program's.
struct WireCode(VarInt);

impl fmt::Display for WireCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Code::from_wire(self.0) {
            Some(code) => write!(f, "{code}"),
            None => write!(f, "code {}", self.0),
        }
    }
}

/// A peer that could not be reached.
///
/// Its `Display` is one line that names peer and cause, since tonic shows only that of a connector's error.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub struct ConnectError(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    peer: Option<EndpointId>,
    kind: Kind,
}

#[derive(Debug, thiserror::Error)]
enum Kind {
    #[error("{0}")]
    Target(#[source] InvalidTarget),
    #[error("no answer within {} s; is it running, and is its address current?", .after.as_secs_f32())]
    NoAnswer { after: Duration },
    #[error("it stopped answering during the handshake")]
    HandshakeTimedOut,
    #[error("it does not speak {alpn:?} (another program, or another version)")]
    WrongAlpn { alpn: String },
    #[error("another endpoint answers at its address")]
    WrongId,
    #[error("it refuses new links for now (too many handshakes)")]
    Busy,
    #[error("no address of it is known; give a ticket or configure an address lookup")]
    NoAddress(#[source] endpoint::ConnectError),
    #[error("that is this endpoint itself")]
    SelfDial,
    #[error("this endpoint is closed")]
    EndpointClosed,
    #[error("{0}")]
    Lost(#[source] LinkLost),
    #[error("{0:#}")]
    Other(#[source] endpoint::ConnectError),
}

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(peer) = self.peer {
            write!(f, "cannot reach peer {}: ", peer.fmt_short())?;
        }
        write!(f, "{}", self.kind)
    }
}

impl Error for Inner {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.kind.source()
    }
}

impl ConnectError {
    fn new(peer: EndpointId, kind: Kind) -> Self {
        Self(Arc::new(Inner { peer: Some(peer), kind }))
    }

    pub(super) fn timed_out(peer: EndpointId, after: Duration) -> Self {
        Self::new(peer, Kind::NoAnswer { after })
    }

    pub(super) fn dial(peer: EndpointId, alpn: &[u8], error: endpoint::ConnectError) -> Self {
        Self::new(peer, Kind::of_dial(peer, alpn, error))
    }

    /// Returns the peer; `None` if the URI did not name one.
    pub fn peer(&self) -> Option<EndpointId> {
        self.0.peer
    }

    /// Returns whether the peer did not answer in time: it is off, unreachable, or its address is out of date.
    pub fn is_timeout(&self) -> bool {
        matches!(self.0.kind, Kind::NoAnswer { .. } | Kind::HandshakeTimedOut)
    }

    /// Returns whether the peer answered but does not serve this ALPN.
    pub fn is_wrong_alpn(&self) -> bool {
        matches!(self.0.kind, Kind::WrongAlpn { .. })
    }

    /// Returns whether another endpoint answered at the address that is known of the peer.
    pub fn is_wrong_id(&self) -> bool {
        matches!(self.0.kind, Kind::WrongId)
    }

    /// Returns whether no address of the peer is known.
    pub fn is_no_address(&self) -> bool {
        matches!(self.0.kind, Kind::NoAddress(_))
    }

    /// Returns whether the peer has too many handshakes in progress; a later attempt may succeed.
    pub fn is_busy(&self) -> bool {
        matches!(self.0.kind, Kind::Busy)
    }

    /// Returns the code with which the peer closed the link, if it was reached.
    pub fn code(&self) -> Option<Code> {
        self.link_lost()?.code()
    }

    /// Returns the end of the link, if the peer was reached and closed it before a stream could be opened.
    pub fn link_lost(&self) -> Option<&LinkLost> {
        match &self.0.kind {
            Kind::Lost(lost) => Some(lost),
            _ => None,
        }
    }
}

impl Kind {
    fn of_dial(peer: EndpointId, alpn: &[u8], error: endpoint::ConnectError) -> Self {
        match &error {
            endpoint::ConnectError::Connect { source, .. } => match source {
                ConnectWithOptsError::SelfConnect { .. } => Self::SelfDial,
                ConnectWithOptsError::NoAddress { .. } => Self::NoAddress(error),
                ConnectWithOptsError::EndpointClosed { .. } => Self::EndpointClosed,
                _ => Self::Other(error),
            },
            endpoint::ConnectError::Connection { source, .. }
            | endpoint::ConnectError::Connecting { source: ConnectingError::ConnectionError { source, .. }, .. } => {
                Self::of_lost(peer, alpn, source).unwrap_or(Self::Other(error))
            }
            _ => Self::Other(error),
        }
    }

    fn of_lost(peer: EndpointId, alpn: &[u8], reason: &ConnectionError) -> Option<Self> {
        let code = match reason {
            ConnectionError::TimedOut => return Some(Self::HandshakeTimedOut),
            ConnectionError::ApplicationClosed(_) => {
                return Some(Self::Lost(LinkLost::new(peer, reason.clone())));
            }
            ConnectionError::ConnectionClosed(close) => close.error_code,
            ConnectionError::TransportError(error) => error.code,
            _ => return None,
        };
        if code == TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL) {
            return Some(Self::WrongAlpn { alpn: String::from_utf8_lossy(alpn).into_owned() });
        }
        if code == TransportErrorCode::CONNECTION_REFUSED {
            return Some(Self::Busy);
        }
        (code == TransportErrorCode::crypto(UNKNOWN_CA)).then_some(Self::WrongId)
    }
}

impl From<InvalidTarget> for ConnectError {
    fn from(target: InvalidTarget) -> Self {
        Self(Arc::new(Inner { peer: None, kind: Kind::Target(target) }))
    }
}

impl From<LinkLost> for ConnectError {
    fn from(lost: LinkLost) -> Self {
        Self::new(lost.peer, Kind::Lost(lost))
    }
}
