//! Decides on each connection right after its handshake, as a hook of the iroh endpoint.

use iroh::endpoint::{AfterHandshakeOutcome, Connection, EndpointHooks, Side};
use tracing::warn;

use super::{
    Admission,
    audit::{Event, Outcome},
    enrolment::{EnrolmentServer, RedeemError},
    not_admitted,
};
use crate::transport::{self, Code, Source};

/// The only reason that the bearer of an invalid invitation receives.
const NOT_INVITED: &str = "it is expired, revoked or already used; ask for a new one";

impl EndpointHooks for Admission {
    async fn after_handshake<'a>(&'a self, connection: &'a Connection) -> AfterHandshakeOutcome {
        match &self.enrolments {
            _ if connection.side() == Side::Client => {
                self.connections.add_outgoing(connection);
                transport::raise_receive_window(connection);
                AfterHandshakeOutcome::Accept
            }
            Some(server) if server.handles(connection) => self.enrol(server, connection).await,
            _ => self.admit(connection),
        }
    }
}

impl Admission {
    /// Accepts the link of an admitted peer, and rejects that of a denied one.
    fn admit(&self, connection: &Connection) -> AfterHandshakeOutcome {
        let peer = connection.remote_id();
        let name = || self.access.name(peer);
        // It is added before the decision, so that a change of the roster applies either to the decision or to the link.
        self.connections.add_incoming(connection, self.access.apis(peer));
        if self.admits(peer) {
            self.audit.record(peer, name, Event::Link, Outcome::Allowed);
            transport::raise_receive_window(connection);
            return AfterHandshakeOutcome::Accept;
        }
        let source = Source::of(connection).shared();
        self.denied.run(peer, source.clone(), || {
            warn!(%peer, "not admitted; to admit it: flower-iroh-funnel peers allow {peer}");
        });
        self.audit.record_denied_peer(peer, name, source, Event::Link);
        reject(Code::REFUSED, &not_admitted(peer))
    }

    /// Redeems an invitation. It rejects the link in any case: the close code is the answer.
    async fn enrol(&self, server: &EnrolmentServer, connection: &Connection) -> AfterHandshakeOutcome {
        let peer = connection.remote_id();
        if self.admits(peer) {
            return reject(Code::RECONNECT, "it is already admitted");
        }
        if self.access.list().denies(peer) {
            // What is denied here may not be denied in the file, where it would use the invitation.
            return self.refuse_enrolment(connection);
        }
        match server.redeem(connection, || self.access.roster()).await {
            Ok(()) => {
                self.audit.record(peer, || self.access.name(peer), Event::Enrol, Outcome::Allowed);
                reject(Code::RECONNECT, "enrolled")
            }
            Err(RedeemError::NotInvited) => self.refuse_enrolment(connection),
            Err(RedeemError::NotNow(reason)) => reject(Code::OVERLOADED, reason),
        }
    }

    fn refuse_enrolment(&self, connection: &Connection) -> AfterHandshakeOutcome {
        let peer = connection.remote_id();
        let source = Source::of(connection).shared();
        self.audit.record_denied_peer(peer, || self.access.name(peer), source, Event::Enrol);
        reject(Code::REFUSED, NOT_INVITED)
    }
}

fn reject(code: Code, reason: &str) -> AfterHandshakeOutcome {
    AfterHandshakeOutcome::Reject { error_code: code.into(), reason: reason.as_bytes().to_vec() }
}
