//! Enrolment: a link that carries nothing but the secret of an invitation.
//!
//! ```text
//! invited peer ── link for the ALPN `{alpn}/enrol`, one bi-stream with the 32 bytes of the secret ──►   inviting peer
//!              ◄─ the link's close: RECONNECT (enrolled, or admitted already), REFUSED, OVERLOADED (try again) ─
//! ```
//! The inviting side reads nothing else from this link, and the close code is the answer, so that a peer that is not admitted
//! reaches no other code than this.

mod server;

use std::{fmt, time::Duration};

use iroh::{EndpointId, endpoint::Connection};
use tokio::{io::AsyncWriteExt, time::timeout};

pub(super) use self::server::{EnrolmentServer, RedeemError};
use crate::{
    address_lookup::{Invitation, Secret},
    protocol::CallError,
    transport::{Code, IrohConnector, Link, LinkLost},
};

/// The suffix of a funnel's ALPN that makes the ALPN of its enrolments.
pub(crate) const ALPN_SUFFIX: &[u8] = b"/enrol";
/// The wait for the secret, for the dial and for the answer, each.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the ALPN of enrolments with a funnel that has this one.
pub(crate) fn alpn_of(alpn: &[u8]) -> Vec<u8> {
    [alpn, ALPN_SUFFIX].concat()
}

/// Reads the secret that a peer presents; `None` if it presents none in time.
pub(crate) async fn read_secret(connection: &Connection) -> Option<Secret> {
    let read = async {
        let (_answer, mut secret) = connection.accept_bi().await.ok()?;
        let mut bytes = [0; Secret::LEN];
        secret.read_exact(&mut bytes).await.ok()?;
        Some(Secret::from(bytes))
    };
    timeout(TIMEOUT, read).await.ok().flatten()
}

/// An invitation that is presented to a peer if it does not admit this funnel.
#[derive(Debug)]
pub(crate) struct Enrolment {
    connector: IrohConnector,
    peer: EndpointId,
    secret: Secret,
}

/// The result of presenting an invitation.
#[derive(Debug)]
pub(crate) enum EnrolmentOutcome {
    /// The peer admits this funnel from now on.
    Enrolled,
    /// The peer does not accept this invitation, now or later.
    Refused(CallError),
    /// The peer was not reached, or could not decide.
    NotNow(CallError),
}

impl Enrolment {
    /// Creates an enrolment. `connector` dials for the ALPN of enrolments.
    pub(crate) fn new(connector: IrohConnector, invitation: &Invitation) -> Self {
        Self { connector, peer: invitation.addr().id, secret: invitation.secret().clone() }
    }

    /// Presents the invitation and waits for the answer.
    pub(crate) async fn present(&self) -> EnrolmentOutcome {
        let lost = match self.answer().await {
            Ok(lost) => lost,
            Err(error) => return EnrolmentOutcome::NotNow(error),
        };
        let reason = lost.peer_reason().map_or_else(|| lost.to_string(), |reason| reason.into_owned());
        match lost.code() {
            Some(Code::RECONNECT) => EnrolmentOutcome::Enrolled,
            Some(Code::REFUSED) => {
                EnrolmentOutcome::Refused(self.error("refuses the invitation", reason).caused_by(lost))
            }
            _ => EnrolmentOutcome::NotNow(self.error("could not take the invitation", reason).caused_by(lost)),
        }
    }

    /// Returns the end of the link, which is the peer's answer.
    async fn answer(&self) -> Result<LinkLost, CallError> {
        const FAILED: &str = "could not be asked about the invitation";
        let dialled = self.connector.dial(self.peer, TIMEOUT).await;
        let link = dialled.map_err(|error| self.error(FAILED, &error).caused_by(error))?;
        // A refusal may close the link before the secret is sent: the close is the answer, whatever failed here.
        let _stream = self.send_secret(&link).await;
        timeout(TIMEOUT, link.closed()).await.map_err(|_| self.error(FAILED, "no answer to the invitation"))
    }

    async fn send_secret(&self, link: &Link) -> Option<impl Sized> {
        let mut stream = link.open().await.ok()?;
        stream.write_all(self.secret.bytes()).await.ok()?;
        stream.flush().await.ok()?;
        Some(stream)
    }

    fn error(&self, what: &str, why: impl fmt::Display) -> CallError {
        CallError::unavailable(format_args!("peer {} {what}: {why}", self.peer.fmt_short()))
    }
}
