//! `peers`: lists and changes the roster.

mod list;

use flower_iroh_funnel::{
    EndpointId, Timestamp,
    roster::{Name, Roster, RosterFile, names},
};

use self::list::list;
use super::{
    ExitError, managed_config, parse_apis, print, roster,
    running_funnel::{Effect, RunningFunnel},
};
use crate::args::{self, Common, PeersAction};

pub(crate) async fn peers(common: &Common, args: args::Peers) -> Result<(), ExitError> {
    let config = managed_config(common, &args.configuration)?;
    let file = roster(&config, &args.roster)?;
    let funnel = RunningFunnel::of(&config, &file)?;
    let effect = match args.action.unwrap_or(PeersAction::List { json: false }) {
        PeersAction::List { json } => return list(&file, json.into()),
        PeersAction::Deny { peer } => return deny(&file, &funnel, &peer).await,
        PeersAction::Allow { peer, name, apis } => funnel.undeny(allow(&file, &peer, name.as_deref(), &apis)?).await,
        PeersAction::Rename { peer, name } => {
            rename(&file, &peer, &name)?;
            funnel.reload().await
        }
        PeersAction::Remove { peer } => match remove(&file, &peer)? {
            Some(id) => funnel.undeny(id).await,
            None => funnel.reload().await,
        },
    };
    effect.print()
}

/// Returns the id of the peer that is allowed.
fn allow(file: &RosterFile, peer: &str, name: Option<&str>, apis: &[String]) -> Result<EndpointId, ExitError> {
    let apis = parse_apis(apis.iter().map(String::as_str)).map_err(ExitError::usage)?.into_iter().collect();
    let name = name.map(parse_name).transpose()?;
    let id = change(file, |roster| {
        let id = id(roster, peer)?;
        roster.allow(id, name, apis).map_err(ExitError::usage)?;
        Ok(id)
    })?;
    print(format_args!("{peer} may call: {apis}"));
    Ok(id)
}

/// Asks the running funnel first: a roster that cannot be read or written delays no denial.
async fn deny(file: &RosterFile, funnel: &RunningFunnel, peer: &str) -> Result<(), ExitError> {
    let mut effect = funnel.deny(peer).await;
    if let Effect::InForce { .. } = effect {
        effect.print()?;
    }
    let denied = match &effect {
        Effect::InForce { peer: Some(id), .. } => deny_on_roster(file, &id.to_string()),
        _ => deny_on_roster(file, peer),
    };
    let (id, revoked) = match denied {
        Ok(denied) => denied,
        Err(error) => return Err(error.with_note(unless_written(&effect))),
    };
    print(format_args!("{peer} is denied{revoked}"));
    match effect {
        Effect::InForce { .. } => return Ok(()),
        // The name is new, and the funnel has not read it yet.
        Effect::UnknownPeer => effect = funnel.deny(&id.to_string()).await,
        Effect::NothingRuns(_) | Effect::NotInForce(_) => {}
    }
    effect.print()
}

/// Also revokes what is left of the peer's invitation: it would admit the same person under another key. Returns the peer's id and
/// what to print about the invitation.
fn deny_on_roster(file: &RosterFile, peer: &str) -> Result<(EndpointId, &'static str), ExitError> {
    change(file, |roster| {
        let id = id(roster, peer)?;
        roster.deny(id);
        Ok((id, revoke_invitation_of(roster, id)))
    })
}

/// Returns what a denial that is not on the roster is worth.
fn unless_written(effect: &Effect) -> String {
    match effect {
        Effect::InForce { pid, .. } => format!(
            "the denial is in force in the running funnel (pid {pid}), but it is NOT on the roster: run this command again once \
             the roster can be written"
        ),
        Effect::NotInForce(reason) => format!("NOT in force: {reason}"),
        Effect::NothingRuns(_) | Effect::UnknownPeer => "nothing has changed".to_owned(),
    }
}

fn rename(file: &RosterFile, peer: &str, name: &str) -> Result<(), ExitError> {
    let new = parse_name(name)?;
    change(file, |roster| {
        let id = roster.find(peer).ok_or_else(|| unknown(roster, peer))?.id;
        roster.rename(id, new).map_err(ExitError::usage)
    })?;
    print(format_args!("{peer} is now {name}"));
    Ok(())
}

/// Returns the id of the peer that is removed; `None` if it was an invitation.
fn remove(file: &RosterFile, peer: &str) -> Result<Option<EndpointId>, ExitError> {
    let (id, what) = change(file, |roster| match roster.find(peer).map(|member| member.id) {
        Some(id) => {
            let revoked = revoke_invitation_of(roster, id);
            roster.remove(id);
            Ok((Some(id), format!("removed, and no longer admitted unless --allow names it{revoked}")))
        }
        None if roster.withdraw(peer) => Ok((None, "the invitation is revoked".to_owned())),
        None => Err(unknown(roster, peer)),
    })?;
    print(format_args!("{peer}: {what}"));
    Ok(id)
}

/// Revokes what is left of a peer's invitation, and returns what to print about it.
fn revoke_invitation_of(roster: &mut Roster, peer: EndpointId) -> &'static str {
    match roster.withdraw_invitation_of(peer) {
        true => "; its invitation, which had uses left, is revoked",
        false => "",
    }
}

fn change<T>(file: &RosterFile, change: impl FnOnce(&mut Roster) -> Result<T, ExitError>) -> Result<T, ExitError> {
    file.update(|roster| {
        roster.forget_expired(Timestamp::now());
        change(roster)
    })?
}

/// Resolves a name of the roster, or any endpoint id, even one that is not on the roster.
fn id(roster: &Roster, peer: &str) -> Result<EndpointId, ExitError> {
    let named = || roster.find(peer).map(|member| member.id);
    peer.parse().ok().or_else(named).ok_or_else(|| unknown(roster, peer))
}

fn unknown(roster: &Roster, peer: &str) -> ExitError {
    let peers = roster.peers().iter().filter_map(|peer| peer.name.as_ref());
    let named = names(peers.chain(roster.invitations().iter().map(|pending| &pending.name)));
    ExitError::usage(format_args!("{peer:?} is not on the roster: {named}; use one of these names or an endpoint id"))
}

fn parse_name(name: &str) -> Result<Name, ExitError> {
    name.parse().map_err(|error| ExitError::usage(format_args!("{name:?}: {error}")))
}
