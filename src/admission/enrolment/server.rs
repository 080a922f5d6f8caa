//! The inviting side: redeems the invitations that peers present.

use std::{sync::Arc, time::Duration};

use iroh::{EndpointId, endpoint::Connection};
use tokio::time::timeout;
use tracing::{error, info};

use super::{
    super::{
        Timestamp,
        pending::PendingEnrolments,
        roster::{self, Member, NotInvited, Roster, RosterError, RosterFile, RosterHealth, WatchHandle},
    },
    read_secret,
};
use crate::{
    address_lookup::Secret,
    report::{StrangerLog, chain},
    transport::{RateLimit, Source},
};

/// The time for all that is done with the files: less than the peer waits for its answer.
const DEADLINE: Duration = Duration::from_secs(4);
const NO_ROSTER: &str = "the other side cannot use its roster; the invitation was not used";
const SLOW_ROSTER: &str = "the other side cannot use its roster now; present the invitation again";

/// Redeems invitations on links for the enrolment ALPN.
#[derive(Debug)]
pub(in crate::admission) struct EnrolmentServer {
    alpn: Vec<u8>,
    roster: RosterFile,
    watch: WatchHandle,
    pending: PendingEnrolments,
    refused: StrangerLog<Source>,
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
            watch: WatchHandle::default(),
            pending: PendingEnrolments::default(),
            refused: StrangerLog::new("an invitation was refused"),
            roster_failed: RateLimit::default(),
        }
    }

    /// Returns whether the link is for an enrolment.
    pub(in crate::admission) fn handles(&self, connection: &Connection) -> bool {
        connection.alpn() == self.alpn
    }

    /// Passes every roster to `apply` that is to replace `in_force`, indefinitely.
    pub(in crate::admission) async fn watch_roster(&self, in_force: Roster, apply: impl FnMut(Roster)) {
        roster::watch(self.roster.clone(), in_force, self.watch.clone(), apply).await;
    }

    /// Reads the roster, and waits until it is in force.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(in crate::admission) async fn reload_roster(&self) -> Result<(), String> {
        self.watch.reload().await;
        self.roster_health().problem.map_or(Ok(()), Err)
    }

    /// Returns whether the roster can be followed.
    pub(in crate::admission) fn roster_health(&self) -> RosterHealth {
        self.watch.health()
    }

    /// Redeems the invitation that the peer presents on this link, and waits until the new roster is in force. Only the watcher
    /// puts a roster in force, so that no older one replaces a newer one.
    pub(in crate::admission) async fn redeem(
        &self,
        connection: &Connection,
        in_force: impl Fn() -> Arc<Roster>,
    ) -> Result<(), RedeemError> {
        let secret = self.pending.wait_for(Source::of(connection), read_secret(connection)).await;
        let secret = secret.flatten().ok_or(RedeemError::NotNow("no invitation was presented"))?;
        match timeout(DEADLINE, self.redeem_secret(connection, secret, in_force)).await {
            Ok(redeemed) => redeemed,
            Err(_) => {
                let path = self.roster.path().display();
                let waited = DEADLINE.as_secs();
                self.roster_failed.run(|| {
                    error!(
                        "an invitation could not be redeemed: the roster {path} could not be changed within {waited} s"
                    );
                });
                Err(RedeemError::NotNow(SLOW_ROSTER))
            }
        }
    }

    async fn redeem_secret(
        &self,
        connection: &Connection,
        secret: Secret,
        in_force: impl Fn() -> Arc<Roster>,
    ) -> Result<(), RedeemError> {
        let peer = connection.remote_id();
        self.check(connection, &secret, in_force).await?;
        let file = self.roster.clone();
        let redeemed = match self.watch.changes().run(move || redeem_in_file(&file, peer, &secret)) {
            Ok(redeemed) => redeemed.await,
            Err(error) => {
                self.roster_failed
                    .run(|| error!(%error, "an invitation could not be redeemed: no thread can be started"));
                return Err(RedeemError::NotNow(NO_ROSTER));
            }
        };
        match redeemed {
            Ok(Ok(Ok(member))) => {
                info!(%peer, name = member.name.map(tracing::field::display), apis = %member.apis, "a peer has enrolled");
                self.watch.reload().await;
                Ok(())
            }
            Ok(Ok(Err(reason))) => Err(self.refuse(connection, reason)),
            Ok(Err(error)) => {
                self.roster_failed.run(|| error!("an invitation could not be redeemed: {}", chain(&error)));
                Err(RedeemError::NotNow(NO_ROSTER))
            }
            // The thread has ended by a panic, which is logged.
            Err(_) => Err(RedeemError::NotNow(SLOW_ROSTER)),
        }
    }

    /// Checks the invitation against the roster in force, and once more after a look at the file: an invitation is valid from
    /// the moment at which it was written. So a stranger causes a look, shared with others, and no change of the file.
    async fn check(
        &self,
        connection: &Connection,
        secret: &Secret,
        in_force: impl Fn() -> Arc<Roster>,
    ) -> Result<(), RedeemError> {
        let check = || in_force().check_invitation(connection.remote_id(), secret, Timestamp::now());
        if check().is_err() {
            self.watch.refresh().await;
        }
        check().map_err(|reason| self.refuse(connection, reason))
    }

    /// Refuses an invitation; while the roster cannot be followed, only for now.
    fn refuse(&self, connection: &Connection, reason: NotInvited) -> RedeemError {
        if self.roster_health().problem.is_some() {
            return RedeemError::NotNow(NO_ROSTER);
        }
        let peer = connection.remote_id();
        self.refused.run(peer, Source::of(connection).shared(), || info!(%peer, ?reason, "an invitation was refused"));
        RedeemError::NotInvited
    }
}

/// Blocks. A peer that was admitted since it was checked needs its invitation no more.
fn redeem_in_file(
    file: &RosterFile,
    peer: EndpointId,
    secret: &Secret,
) -> Result<Result<Member, NotInvited>, RosterError> {
    file.update(|roster| match roster.peer(peer) {
        Some(member) if !member.may_call().is_empty() => Ok(member.clone()),
        _ => roster.redeem(peer, secret, Timestamp::now()),
    })
}
