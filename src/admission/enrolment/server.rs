//! The inviting side: redeems the invitations that peers present.

use iroh::{EndpointId, endpoint::Connection};
use tokio::{sync::Semaphore, task::spawn_blocking};
use tracing::{error, info};

use super::{
    super::{
        Timestamp,
        pending::PendingEnrolments,
        roster::{self, Member, NotInvited, ReloadHandle, Roster, RosterError, RosterFile},
    },
    read_secret,
};
use crate::{
    address_lookup::Secret,
    report::{OncePerPeer, chain},
    transport::RateLimit,
};

/// Invitations that are looked up at once, since each look-up reads the roster. Further ones wait.
const MAX_LOOKUPS: usize = 4;
const STOPPING: &str = "the other side is stopping";
const NO_ROSTER: &str = "the other side cannot use its roster; the invitation was not used";

/// Redeems invitations on links for the enrolment ALPN.
#[derive(Debug)]
pub(in crate::admission) struct EnrolmentServer {
    alpn: Vec<u8>,
    roster: RosterFile,
    /// Makes the watcher of the roster read it.
    reload: ReloadHandle,
    pending: PendingEnrolments,
    lookups: Semaphore,
    refused: OncePerPeer,
    roster_failed: RateLimit,
}

/// Why an invitation was not redeemed.
#[derive(Debug)]
pub(in crate::admission) enum RedeemError {
    /// It is not valid for this peer.
    NotInvited,
    /// It was not decided on; the peer may present it again.
    NotNow(&'static str),
}

impl EnrolmentServer {
    /// Creates a server for links with this ALPN, which is that of enrolments.
    pub(in crate::admission) fn new(alpn: Vec<u8>, roster: RosterFile) -> Self {
        Self {
            alpn,
            roster,
            reload: ReloadHandle::default(),
            pending: PendingEnrolments::default(),
            lookups: Semaphore::new(MAX_LOOKUPS),
            refused: OncePerPeer::default(),
            roster_failed: RateLimit::default(),
        }
    }

    /// Returns whether the link is for an enrolment.
    pub(in crate::admission) fn handles(&self, connection: &Connection) -> bool {
        connection.alpn() == self.alpn
    }

    /// Passes every new roster to `apply`, indefinitely.
    pub(in crate::admission) async fn watch_roster(&self, apply: impl FnMut(Roster)) {
        roster::watch(self.roster.clone(), self.reload.clone(), apply).await;
    }

    /// Redeems the invitation that the peer presents on this link, and waits until the new roster is in force.
    ///
    /// It is checked against the file, not against the roster in force: an invitation is valid from the moment at which it
    /// was written. Only the watcher puts a roster in force, so that no older one replaces a newer one.
    pub(in crate::admission) async fn redeem(&self, connection: &Connection) -> Result<(), RedeemError> {
        let secret = self.pending.wait_for(read_secret(connection)).await;
        let secret = secret.flatten().ok_or(RedeemError::NotNow("no invitation was presented"))?;
        let (peer, file) = (connection.remote_id(), self.roster.clone());
        let Ok(_permit) = self.lookups.acquire().await else { return Err(RedeemError::NotNow(STOPPING)) };
        match spawn_blocking(move || redeem_in_file(&file, peer, &secret)).await {
            Ok(Ok(Ok(member))) => {
                info!(%peer, name = member.name.map(tracing::field::display), apis = %member.apis, "a peer has enrolled");
                self.reload.reload().await;
                Ok(())
            }
            Ok(Ok(Err(reason))) => {
                self.refused.run(peer, || info!(%peer, ?reason, "an invitation was refused"));
                Err(RedeemError::NotInvited)
            }
            Ok(Err(error)) => {
                self.roster_failed.run(|| error!("an invitation could not be redeemed: {}", chain(&error)));
                Err(RedeemError::NotNow(NO_ROSTER))
            }
            Err(_) => Err(RedeemError::NotNow(STOPPING)),
        }
    }
}

/// Blocks. A peer without a valid invitation never takes the file's lock, so that it cannot delay changes of the roster.
fn redeem_in_file(
    file: &RosterFile,
    peer: EndpointId,
    secret: &Secret,
) -> Result<Result<Member, NotInvited>, RosterError> {
    let redeem = |roster: &mut Roster| roster.redeem(peer, secret, Timestamp::now());
    match redeem(&mut file.load()?) {
        Ok(_) => file.update(redeem),
        Err(reason) => Ok(Err(reason)),
    }
}
