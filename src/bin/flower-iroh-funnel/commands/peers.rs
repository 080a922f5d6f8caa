//! `peers`: lists and changes the roster.

mod list;

use flower_iroh_funnel::{
    EndpointId, Timestamp,
    roster::{Name, Roster, RosterFile, names},
};

use self::list::list;
use super::{ExitError, managed_config, parse_apis, print, roster};
use crate::args::{self, Common, PeersAction};

pub(crate) fn peers(common: &Common, args: args::Peers) -> Result<(), ExitError> {
    let file = roster(&managed_config(common, &args.configuration)?, &args.roster)?;
    match args.action.unwrap_or(PeersAction::List { json: false }) {
        PeersAction::List { json } => list(&file, json.into()),
        PeersAction::Allow { peer, name, apis } => allow(&file, &peer, name.as_deref(), &apis),
        PeersAction::Deny { peer } => deny(&file, &peer),
        PeersAction::Rename { peer, name } => rename(&file, &peer, &name),
        PeersAction::Remove { peer } => remove(&file, &peer),
    }
}

fn allow(file: &RosterFile, peer: &str, name: Option<&str>, apis: &[String]) -> Result<(), ExitError> {
    let apis = parse_apis(apis.iter().map(String::as_str)).map_err(ExitError::usage)?.into_iter().collect();
    let name = name.map(parse_name).transpose()?;
    change(file, |roster| roster.allow(id(roster, peer)?, name, apis).map_err(ExitError::usage))?;
    print(format_args!("{peer} may call: {apis}"));
    Ok(())
}

/// Also revokes what is left of the peer's invitation: it would admit the same person under another key.
fn deny(file: &RosterFile, peer: &str) -> Result<(), ExitError> {
    let revoked = change(file, |roster| {
        let id = id(roster, peer)?;
        roster.deny(id);
        Ok(revoke_invitation_of(roster, id))
    })?;
    print(format_args!("{peer} is denied; a running funnel closes its links within a second{revoked}"));
    Ok(())
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

fn remove(file: &RosterFile, peer: &str) -> Result<(), ExitError> {
    let what = change(file, |roster| match roster.find(peer).map(|member| member.id) {
        Some(id) => {
            let revoked = revoke_invitation_of(roster, id);
            roster.remove(id);
            let what = "removed; a running funnel closes its links within a second, unless --allow names it";
            Ok(format!("{what}{revoked}"))
        }
        None if roster.withdraw(peer) => Ok("the invitation is revoked".to_owned()),
        None => Err(unknown(roster, peer)),
    })?;
    print(format_args!("{peer}: {what}"));
    Ok(())
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
