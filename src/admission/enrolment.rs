//! The first contact of who was invited: a link for nothing but the secret of an invitation.
//!
//! ```text
//! joiner   ── link for the ALPN `{alpn}/enrol`, one bi-stream with the 32 bytes of the secret ──►   inviter
//!          ◄─ the link's close: RECONNECT (enrolled, or known before), REFUSED, OVERLOADED (try again) ─
//! ```
//! Nothing is ever read from a peer on that link but the secret, and the answer is in the close itself, so that a
//! stranger reaches no other code than this.

use std::time::Duration;

use iroh::{EndpointId, endpoint::Connection};
use tokio::{io::AsyncWriteExt, time::timeout};

use crate::{
    address_lookup::{Invitation, Secret},
    protocol::CallError,
    report::chain,
    transport::{Code, IrohConnector},
};

/// What follows a funnel's ALPN in that of its enrolments.
pub(crate) const ALPN_SUFFIX: &[u8] = b"/enrol";
/// For the secret to come, and for the answer.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn alpn_of(alpn: &[u8]) -> Vec<u8> {
    [alpn, ALPN_SUFFIX].concat()
}

/// The secret that a peer presents, `None` if it presents none in time.
pub(crate) async fn read_secret(connection: &Connection) -> Option<Secret> {
    let read = async {
        let (_answer, mut secret) = connection.accept_bi().await.ok()?;
        let mut bytes = [0; Secret::LEN];
        secret.read_exact(&mut bytes).await.ok()?;
        Some(Secret::from(bytes))
    };
    timeout(TIMEOUT, read).await.ok().flatten()
}

/// An invitation to be presented to one peer, if it does not admit us.
#[derive(Debug)]
pub(crate) struct Enrolment {
    connector: IrohConnector,
    peer: EndpointId,
    secret: Secret,
}

/// What became of an invitation that was presented.
#[derive(Debug)]
pub(crate) enum EnrolmentOutcome {
    /// The peer admits us from now on.
    Enrolled,
    /// It does not, and will not for this invitation.
    Refused(CallError),
    /// It could not be asked, or could not decide.
    NotNow(CallError),
}

impl Enrolment {
    /// `connector` dials for the ALPN of enrolments.
    pub(crate) fn new(connector: IrohConnector, invitation: &Invitation) -> Self {
        Self { connector, peer: invitation.addr().id, secret: invitation.secret().clone() }
    }

    pub(crate) async fn present(&self) -> EnrolmentOutcome {
        let answer = async {
            let link = self.connector.dial(self.peer, TIMEOUT).await.map_err(|error| error.to_string())?;
            // A refusal may close the link before the secret is sent: the answer is in the close, whatever failed here.
            let sent = async {
                let mut stream = link.open().await.map_err(|error| chain(&error))?;
                stream.write_all(self.secret.bytes()).await.map_err(|error| chain(&error))?;
                stream.flush().await.map_err(|error| chain(&error))?;
                Ok::<_, String>(stream)
            };
            let _stream = sent.await;
            timeout(TIMEOUT, link.closed()).await.map_err(|_| "no answer to the invitation".to_owned())
        };
        let lost = match answer.await {
            Ok(lost) => lost,
            Err(problem) => {
                return EnrolmentOutcome::NotNow(self.failure("could not be asked about the invitation", &problem));
            }
        };
        let reason = lost.peer_reason().map_or_else(|| lost.to_string(), |reason| reason.into_owned());
        match lost.code() {
            Some(Code::RECONNECT) => EnrolmentOutcome::Enrolled,
            Some(Code::REFUSED) => EnrolmentOutcome::Refused(self.failure("refuses the invitation", &reason)),
            _ => EnrolmentOutcome::NotNow(self.failure("could not take the invitation", &reason)),
        }
    }

    fn failure(&self, what: &str, why: &str) -> CallError {
        CallError::unavailable(format_args!("peer {} {what}: {why}", self.peer.fmt_short()))
    }
}
