//! `peers`: who is let in.

mod list;

use flower_iroh_funnel::{
    EndpointId, Timestamp,
    roster::{Name, Roster, RosterFile, names},
};

use self::list::list;
use super::{Failure, about, parse_apis, roster, say};
use crate::args::{self, Common, PeersAction};

pub(crate) fn peers(common: &Common, args: args::Peers) -> Result<(), Failure> {
    let file = roster(&about(common, &args.configuration)?, &args.roster)?;
    match args.action.unwrap_or(PeersAction::List { json: false }) {
        PeersAction::List { json } => list(&file, json.into()),
        PeersAction::Allow { peer, name, apis } => allow(&file, &peer, name.as_deref(), &apis),
        PeersAction::Deny { peer } => deny(&file, &peer),
        PeersAction::Rename { peer, name } => rename(&file, &peer, &name),
        PeersAction::Remove { peer } => remove(&file, &peer),
    }
}

fn allow(file: &RosterFile, peer: &str, name: Option<&str>, apis: &[String]) -> Result<(), Failure> {
    let apis = parse_apis(apis.iter().map(String::as_str)).map_err(Failure::usage)?.into_iter().collect();
    let name = name.map(parse_name).transpose()?;
    change(file, |roster| roster.allow(id(roster, peer)?, name, apis).map_err(Failure::usage))?;
    say(format_args!("{peer} may call: {apis}"));
    Ok(())
}

/// The rest of the invitation by which it came goes too: with another key it would be let in again.
fn deny(file: &RosterFile, peer: &str) -> Result<(), Failure> {
    let withdrawn = change(file, |roster| {
        let id = id(roster, peer)?;
        roster.deny(id);
        Ok(withdraw_of(roster, id))
    })?;
    say(format_args!("{peer} is shut out; a funnel that runs ends its links within a second{withdrawn}"));
    Ok(())
}

fn rename(file: &RosterFile, peer: &str, name: &str) -> Result<(), Failure> {
    let new = parse_name(name)?;
    change(file, |roster| {
        let id = roster.find(peer).ok_or_else(|| unknown(roster, peer))?.id;
        roster.rename(id, new).map_err(Failure::usage)
    })?;
    say(format_args!("{peer} is now {name}"));
    Ok(())
}

fn remove(file: &RosterFile, peer: &str) -> Result<(), Failure> {
    let what = change(file, |roster| match roster.find(peer).map(|member| member.id) {
        Some(id) => {
            let withdrawn = withdraw_of(roster, id);
            roster.remove(id);
            let what = "removed; a funnel that runs ends its links within a second, unless --allow names it";
            Ok(format!("{what}{withdrawn}"))
        }
        None if roster.withdraw(peer) => Ok("the invitation is withdrawn".to_owned()),
        None => Err(unknown(roster, peer)),
    })?;
    say(format_args!("{peer}: {what}"));
    Ok(())
}

/// Withdraws what is left of the invitation by which a peer came, and says so.
fn withdraw_of(roster: &mut Roster, peer: EndpointId) -> &'static str {
    match roster.withdraw_invitation_of(peer) {
        true => "; its invitation, which had uses left, is withdrawn",
        false => "",
    }
}

fn change<T>(file: &RosterFile, change: impl FnOnce(&mut Roster) -> Result<T, Failure>) -> Result<T, Failure> {
    file.update(|roster| {
        roster.forget_expired(Timestamp::now());
        change(roster)
    })?
}

/// The peer that an operator means, who need not be on the roster if it is named by its id.
fn id(roster: &Roster, peer: &str) -> Result<EndpointId, Failure> {
    let named = || roster.find(peer).map(|member| member.id);
    peer.parse().ok().or_else(named).ok_or_else(|| unknown(roster, peer))
}

fn unknown(roster: &Roster, peer: &str) -> Failure {
    let peers = roster.peers().iter().filter_map(|peer| peer.name.as_ref());
    let named = names(peers.chain(roster.invitations().iter().map(|pending| &pending.name)));
    Failure::usage(format_args!("{peer:?} is not on the roster: {named}; write one of these names, or an endpoint id"))
}

fn parse_name(name: &str) -> Result<Name, Failure> {
    name.parse().map_err(|error| Failure::usage(format_args!("{name:?}: {error}")))
}
