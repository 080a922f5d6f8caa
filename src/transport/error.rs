//! Why a peer could not be reached, and why a link ended.

use std::{borrow::Cow, error::Error, fmt, io, sync::Arc, time::Duration};

use iroh::{
    EndpointId,
    endpoint::{self, ConnectWithOptsError, ConnectingError, ConnectionError, TransportErrorCode},
};

use super::{Code, InvalidTarget};

/// TLS alert `no_application_protocol` (RFC 7301) as a QUIC error code.
const NO_APPLICATION_PROTOCOL: u8 = 120;
/// TLS alert `unknown_ca` (RFC 8446): what rustls sends when the certificate is another key's.
const UNKNOWN_CA: u8 = 48;

/// A link that is closed or lost, with the reason.
#[derive(Clone, Debug)]
pub struct LinkLost {
    peer: EndpointId,
    reason: ConnectionError,
}

impl LinkLost {
    pub(super) fn new(peer: EndpointId, reason: ConnectionError) -> Self {
        Self { peer, reason }
    }

    /// The peer at the other end.
    pub fn peer(&self) -> EndpointId {
        self.peer
    }

    /// The code with which the peer closed the link, `None` when nobody closed it.
    pub fn code(&self) -> Option<Code> {
        match &self.reason {
            ConnectionError::ApplicationClosed(close) => Code::from_wire(close.error_code),
            _ => None,
        }
    }

    /// What the peer said when it closed the link: one line, without control characters.
    pub fn peer_reason(&self) -> Option<Cow<'_, str>> {
        match &self.reason {
            ConnectionError::ApplicationClosed(close) if !close.reason.is_empty() => {
                Some(in_one_line(String::from_utf8_lossy(&close.reason)))
            }
            _ => None,
        }
    }

    pub(super) fn into_io(self) -> io::Error {
        let kind = match self.reason {
            ConnectionError::TimedOut => io::ErrorKind::TimedOut,
            ConnectionError::LocallyClosed => io::ErrorKind::NotConnected,
            _ => io::ErrorKind::ConnectionReset,
        };
        io::Error::new(kind, self)
    }
}

/// A peer's words end in logs and on terminals.
fn in_one_line(said: Cow<'_, str>) -> Cow<'_, str> {
    if said.contains(char::is_control) { said.replace(char::is_control, " ").into() } else { said }
}

impl fmt::Display for LinkLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link to {} lost: ", self.peer.fmt_short())?;
        match &self.reason {
            ConnectionError::ApplicationClosed(_) => {
                match self.code() {
                    Some(code) => write!(f, "closed by the peer: {code}")?,
                    None => f.write_str("closed by the peer")?,
                }
                match self.peer_reason() {
                    Some(reason) => write!(f, ": {reason}"),
                    None => Ok(()),
                }
            }
            ConnectionError::LocallyClosed => f.write_str("closed by this side"),
            ConnectionError::TimedOut => f.write_str("the peer fell silent"),
            ConnectionError::Reset => f.write_str("the peer restarted"),
            other => f.write_str(&in_one_line(other.to_string().into())),
        }
    }
}

impl Error for LinkLost {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.reason)
    }
}

/// A peer that could not be reached.
///
/// Its `Display` is one line that names peer and cause, since tonic shows only that of a connector's error.
#[derive(Clone, Debug)]
pub struct ConnectError(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    peer: Option<EndpointId>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Target(InvalidTarget),
    TimedOut { after: Option<Duration> },
    WrongAlpn { alpn: String },
    WrongId,
    Busy,
    NoAddress(endpoint::ConnectError),
    SelfDial,
    EndpointClosed,
    Lost(LinkLost),
    Other(endpoint::ConnectError),
}

impl ConnectError {
    fn new(peer: EndpointId, kind: Kind) -> Self {
        Self(Arc::new(Inner { peer: Some(peer), kind }))
    }

    pub(super) fn timed_out(peer: EndpointId, after: Duration) -> Self {
        Self::new(peer, Kind::TimedOut { after: Some(after) })
    }

    pub(super) fn dial(peer: EndpointId, alpn: &[u8], error: endpoint::ConnectError) -> Self {
        Self::new(peer, Kind::of_dial(peer, alpn, error))
    }

    /// The peer, unless the URI named none.
    pub fn peer(&self) -> Option<EndpointId> {
        self.0.peer
    }

    /// Whether the peer did not answer in time: it is off, unreachable, or its address is out of date.
    pub fn is_timeout(&self) -> bool {
        matches!(self.0.kind, Kind::TimedOut { .. })
    }

    /// Whether the peer answered but does not serve this ALPN.
    pub fn is_wrong_alpn(&self) -> bool {
        matches!(self.0.kind, Kind::WrongAlpn { .. })
    }

    /// Whether another endpoint answered at the address that is known of the peer.
    pub fn is_wrong_id(&self) -> bool {
        matches!(self.0.kind, Kind::WrongId)
    }

    /// Whether no address of the peer is known.
    pub fn is_no_address(&self) -> bool {
        matches!(self.0.kind, Kind::NoAddress(_))
    }

    /// The link's end, when the peer was reached and closed the link before a stream could be opened.
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
            ConnectionError::TimedOut => return Some(Self::TimedOut { after: None }),
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

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(peer) = self.0.peer {
            write!(f, "cannot reach peer {}: ", peer.fmt_short())?;
        }
        match &self.0.kind {
            Kind::Target(target) => write!(f, "{target}"),
            Kind::TimedOut { after: Some(after) } => {
                write!(f, "no answer within {} s; is it running, and is its address current?", after.as_secs_f32())
            }
            Kind::TimedOut { after: None } => f.write_str("it stopped answering during the handshake"),
            Kind::WrongAlpn { alpn } => write!(f, "it does not speak {alpn:?} (another program, or another version)"),
            Kind::WrongId => f.write_str("another endpoint answers at its address"),
            Kind::Busy => f.write_str("it refuses new links for now (too many handshakes)"),
            Kind::NoAddress(_) => {
                f.write_str("no address of it is known; give a ticket or configure an address lookup")
            }
            Kind::SelfDial => f.write_str("that is this endpoint itself"),
            Kind::EndpointClosed => f.write_str("this endpoint is closed"),
            Kind::Lost(lost) => write!(f, "{lost}"),
            Kind::Other(error) => write!(f, "{error:#}"),
        }
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0.kind {
            Kind::Target(target) => Some(target),
            Kind::Lost(lost) => Some(lost),
            Kind::NoAddress(error) | Kind::Other(error) => Some(error),
            _ => None,
        }
    }
}
