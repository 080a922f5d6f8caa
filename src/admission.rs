//! Decides on a peer's link right after its handshake, and can end links when something else is decided.

mod access;
mod access_list;
pub(crate) mod audit;
mod connections;
pub(crate) mod enrolment;
pub(crate) mod peer_status;
mod pending;
pub mod roster;
mod timestamp;

use std::sync::Arc;

use iroh::{
    EndpointId,
    endpoint::{AfterHandshakeOutcome, Connection, EndpointHooks, Side},
};
use tokio::{sync::Semaphore, task::spawn_blocking};
use tracing::{error, info, warn};

pub(crate) use self::{
    access::{Access, Change},
    access_list::{AccessList, Verdict, warn_of_trust},
    connections::LinkReport,
};
use self::{
    audit::{Audit, Event, Outcome},
    connections::Connections,
    pending::PendingEnrolments,
    roster::{Member, NotInvited, Nudge, Roster, RosterError, RosterFile},
};
pub use self::{
    peer_status::{FunnelStatus, PeerStatus, StatusFile},
    timestamp::{InvalidTimestamp, Timestamp},
};
use crate::{
    address_lookup::Secret,
    report::{OncePerPeer, chain},
    transport::{self, Code, RateLimit},
};

/// Invitations looked up at once: each reads the roster. Further ones wait.
const MAX_LOOKUPS: usize = 4;
const STOPPING: &str = "the other side is stopping";
/// All that is told to a bearer who is not let in.
const NOT_INVITED: &str = "it was used or withdrawn, or its time is over; ask for a new one";

/// The endpoint's door. A stranger costs a handshake and learns only that he is one.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    access: Access,
    audit: Audit,
    enrolments: Option<Arc<Enrolments>>,
    links: Connections,
    strangers: OncePerPeer,
}

/// Where invitations are taken.
#[derive(Debug)]
struct Enrolments {
    alpn: Vec<u8>,
    roster: RosterFile,
    /// To the follower of the roster.
    nudge: Nudge,
    presenters: PendingEnrolments,
    lookups: Semaphore,
    refused: OncePerPeer,
    trouble: RateLimit,
}

impl Admission {
    pub(crate) fn new(access: Access, audit: Audit) -> Self {
        Self { access, audit, enrolments: None, links: Connections::default(), strangers: OncePerPeer::default() }
    }

    /// Takes invitations on links for `alpn`, and puts who has one on `roster`.
    pub(crate) fn enrolling(self, alpn: Vec<u8>, roster: RosterFile) -> Self {
        let enrolments = Enrolments {
            alpn,
            roster,
            nudge: Nudge::default(),
            presenters: PendingEnrolments::default(),
            lookups: Semaphore::new(MAX_LOOKUPS),
            refused: OncePerPeer::default(),
            trouble: RateLimit::default(),
        };
        Self { enrolments: Some(Arc::new(enrolments)), ..self }
    }

    /// Follows the roster, if there is one, for ever.
    pub(crate) async fn follow_roster(self) {
        if let Some(enrolments) = &self.enrolments {
            roster::follow(enrolments.roster.clone(), enrolments.nudge.clone(), |roster| self.follow(roster)).await;
        }
    }

    /// Puts another roster in force, and ends the links of those who lose by it.
    fn follow(&self, roster: Roster) {
        let trusting = self.access.list().trusting_apis();
        if self.access.follow(roster) == Change::None {
            return;
        }
        info!("the roster has changed");
        self.access.list().trusting_apis().iter().filter(|api| !trusting.contains(*api)).for_each(warn_of_trust);
        for (peer, lost) in self.links.enforce(&self.access) {
            info!(peer = %peer.fmt_short(), %lost, "link ended: the roster has changed");
            self.audit.record(peer, || self.access.name(peer), Event::Link, Outcome::Ended);
        }
    }

    /// Closes the links of peers that dialled and have fallen silent, for ever.
    pub(crate) async fn give_up_silent_links(self) {
        self.links.give_up_silent().await;
    }

    /// Closes every link of the endpoint.
    pub(crate) fn close_links(&self, code: Code, reason: &str) {
        self.links.close_all(code, reason);
    }

    /// The links of peers that dialled.
    pub(crate) fn reports(&self) -> Vec<LinkReport> {
        self.links.reports()
    }

    pub(crate) fn is_on_roster(&self, peer: EndpointId) -> bool {
        self.access.is_on_roster(peer)
    }

    fn admit(&self, connection: &Connection) -> AfterHandshakeOutcome {
        let peer = connection.remote_id();
        let name = || self.access.name(peer);
        // Remembered before it is decided on: a change of the roster meets one or the other.
        self.links.remember_incoming(connection, self.access.apis(peer));
        if self.access.list().admits(peer) == Verdict::Allowed {
            self.audit.record(peer, name, Event::Link, Outcome::Allowed);
            transport::raise_receive_window(connection);
            return AfterHandshakeOutcome::Accept;
        }
        self.strangers.run(peer, || {
            warn!(%peer, "not admitted; to admit it: flower-iroh-funnel peers allow {peer}");
        });
        self.audit.record(peer, name, Event::Link, Outcome::Denied);
        reject(Code::REFUSED, &not_admitted(peer))
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
                enrolments.refused.run(peer, || info!(%peer, ?reason, "an invitation was refused"));
                (Outcome::Denied, reject(Code::REFUSED, NOT_INVITED))
            }
            Err(Refused::NotNow(reason)) => return reject(Code::OVERLOADED, reason),
        };
        self.audit.record(peer, || self.access.name(peer), Event::Enrol, outcome);
        answer
    }

    /// Asks the file, not what is in force: an invitation is good from the moment at which it was made. In force it is put
    /// by who follows the file, so that no older state of it comes after a newer one.
    async fn redeem(&self, enrolments: &Enrolments, connection: &Connection) -> Result<(), Refused> {
        let presented = enrolments.presenters.wait_for(enrolment::read_secret(connection)).await;
        let secret = presented.flatten().ok_or(Refused::NotNow("no invitation was presented"))?;
        let (peer, file) = (connection.remote_id(), enrolments.roster.clone());
        let Ok(_permit) = enrolments.lookups.acquire().await else { return Err(Refused::NotNow(STOPPING)) };
        match spawn_blocking(move || redeem(&file, peer, &secret)).await {
            Ok(Ok(Ok(member))) => {
                info!(%peer, name = member.name.map(tracing::field::display), apis = %member.apis, "a peer has enrolled");
                enrolments.nudge.caught_up().await;
                Ok(())
            }
            Ok(Ok(Err(reason))) => Err(Refused::NotInvited(reason)),
            Ok(Err(error)) => {
                enrolments.trouble.run(|| error!("an invitation could not be taken: {}", chain(&error)));
                Err(Refused::NotNow("the other side cannot use its roster; the invitation was not used"))
            }
            Err(_) => Err(Refused::NotNow(STOPPING)),
        }
    }
}

/// Blocks. A stranger never gets as far as the lock: it is not to hold up whoever changes the roster.
fn redeem(file: &RosterFile, peer: EndpointId, secret: &Secret) -> Result<Result<Member, NotInvited>, RosterError> {
    let redeem = |roster: &mut Roster| roster.redeem(peer, secret, Timestamp::now());
    match redeem(&mut file.load()?) {
        Ok(_) => file.update(redeem),
        Err(reason) => Ok(Err(reason)),
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
                transport::raise_receive_window(connection);
                AfterHandshakeOutcome::Accept
            }
            Some(enrolments) if connection.alpn() == enrolments.alpn => self.enrol(enrolments, connection).await,
            _ => self.admit(connection),
        }
    }
}

/// The reason that a peer which is not admitted reads, and that its operator passes on to the other side's.
pub(crate) fn not_admitted(peer: EndpointId) -> String {
    format!(
        "it is not on the list there; to admit it, the other side runs: flower-iroh-funnel peers allow {peer}, or starts \
         with: --allow {peer}"
    )
}
