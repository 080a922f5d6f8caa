//! Decides on a peer's link right after its handshake, and can end links when something else is decided.

mod links;

use std::sync::Arc;

use iroh::endpoint::{AfterHandshakeOutcome, Connection, EndpointHooks, Side};
use tokio::{sync::Semaphore, task::spawn_blocking};
use tracing::{error, info, warn};

pub(crate) use self::links::LinkReport;
use self::links::Links;
use crate::{
    access::{Access, Change, Verdict},
    audit::{Audit, Event, Outcome},
    enrolment,
    forward::chain,
    inbound,
    roster::{NotInvited, Roster, RosterFile},
    strangers::Strangers,
    timestamp::Timestamp,
    transport::Code,
};

/// Enrolments under way at once; a stranger may hold one for 5 s.
const MAX_ENROLMENTS: usize = 16;
/// All that is told to a bearer who is not let in.
const NOT_INVITED: &str = "it was used or withdrawn, or its time is over; ask for a new one";

/// The endpoint's door. A stranger costs a handshake and learns only that he is one.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    access: Access,
    audit: Audit,
    enrolments: Option<Arc<Enrolments>>,
    links: Links,
    strangers: Strangers,
}

/// Where invitations are taken.
#[derive(Debug)]
struct Enrolments {
    alpn: Vec<u8>,
    roster: RosterFile,
    free: Semaphore,
}

impl Admission {
    pub(crate) fn new(access: Access, audit: Audit) -> Self {
        Self { access, audit, enrolments: None, links: Links::default(), strangers: Strangers::default() }
    }

    /// Takes invitations on links for `alpn`, and puts who has one on `roster`.
    pub(crate) fn enrolling(self, alpn: Vec<u8>, roster: RosterFile) -> Self {
        let free = Semaphore::new(MAX_ENROLMENTS);
        Self { enrolments: Some(Arc::new(Enrolments { alpn, roster, free })), ..self }
    }

    /// Puts another roster in force, and ends the links of those who lose by it.
    pub(crate) fn follow(&self, roster: Roster) {
        if self.access.follow(roster) == Change::None {
            return;
        }
        info!("the roster has changed");
        for (peer, lost) in self.links.enforce(&self.access) {
            info!(peer = %peer.fmt_short(), %lost, "link ended: the roster has changed");
            self.audit.tell(peer, || self.access.name(peer), Event::Link, Outcome::Ended);
        }
    }

    /// Closes every link of the endpoint.
    pub(crate) fn close_links(&self, code: Code, reason: &str) {
        self.links.close_all(code, reason);
    }

    /// The links of peers that dialled.
    pub(crate) fn reports(&self) -> Vec<LinkReport> {
        self.links.reports()
    }

    fn admit(&self, connection: &Connection) -> AfterHandshakeOutcome {
        let peer = connection.remote_id();
        let name = || self.access.name(peer);
        // Remembered before it is decided on: a change of the roster meets one or the other.
        self.links.remember_incoming(connection, self.access.apis(peer));
        if self.access.list().admits(peer) == Verdict::Allowed {
            self.audit.tell(peer, name, Event::Link, Outcome::Allowed);
            return AfterHandshakeOutcome::Accept;
        }
        self.strangers.notice(peer, || {
            warn!(%peer, "not admitted; to admit it: flower-iroh-funnel peers allow {peer}");
        });
        self.audit.tell(peer, name, Event::Link, Outcome::Denied);
        reject(Code::REFUSED, &inbound::not_admitted(peer))
    }

    /// Ends the link in any case: its end is the answer.
    async fn enrol(&self, enrolments: &Enrolments, connection: &Connection) -> AfterHandshakeOutcome {
        let peer = connection.remote_id();
        if self.access.list().admits(peer) == Verdict::Allowed {
            return reject(Code::RECONNECT, "it is admitted already");
        }
        let (outcome, answer) = match self.redeem(enrolments, connection).await {
            Ok(()) => (Outcome::Allowed, reject(Code::RECONNECT, "enrolled")),
            Err(Refused::NotInvited(reason)) => {
                info!(peer = %peer.fmt_short(), ?reason, "an invitation was refused");
                (Outcome::Denied, reject(Code::REFUSED, NOT_INVITED))
            }
            Err(Refused::NotNow(reason)) => return reject(Code::OVERLOADED, reason),
        };
        self.audit.tell(peer, || self.access.name(peer), Event::Enrol, outcome);
        answer
    }

    /// Asks the file, not what is in force: an invitation is good from the moment at which it was made.
    async fn redeem(&self, enrolments: &Enrolments, connection: &Connection) -> Result<(), Refused> {
        let _permit =
            enrolments.free.try_acquire().map_err(|_| Refused::NotNow("too many enrol at once; try again"))?;
        let secret = enrolment::presented(connection).await.ok_or(Refused::NotNow("no invitation was presented"))?;
        let (peer, file) = (connection.remote_id(), enrolments.roster.clone());
        let redeem = move || {
            file.update(|roster| {
                let member = roster.redeem(peer, &secret, Timestamp::now())?;
                Ok((member, roster.clone()))
            })
        };
        match spawn_blocking(redeem).await {
            Ok(Ok(Ok((member, roster)))) => {
                info!(%peer, name = member.name.map(tracing::field::display), apis = %member.apis, "a peer has enrolled");
                self.follow(roster);
                Ok(())
            }
            Ok(Ok(Err(reason))) => Err(Refused::NotInvited(reason)),
            Ok(Err(error)) => {
                error!("an invitation could not be taken: {}", chain(&error));
                Err(Refused::NotNow("the other side cannot write its roster; the invitation is still good"))
            }
            Err(_) => Err(Refused::NotNow("the other side is stopping")),
        }
    }
}

/// Why an enrolment came to nothing.
enum Refused {
    NotInvited(NotInvited),
    NotNow(&'static str),
}

fn reject(code: Code, reason: &str) -> AfterHandshakeOutcome {
    AfterHandshakeOutcome::Reject { error_code: code.into(), reason: reason.as_bytes().to_vec() }
}

impl EndpointHooks for Admission {
    async fn after_handshake<'a>(&'a self, connection: &'a Connection) -> AfterHandshakeOutcome {
        match &self.enrolments {
            _ if connection.side() == Side::Client => {
                self.links.remember_outgoing(connection);
                AfterHandshakeOutcome::Accept
            }
            Some(enrolments) if connection.alpn() == enrolments.alpn => self.enrol(enrolments, connection).await,
            _ => self.admit(connection),
        }
    }
}
