//! `invite`: creates an invitation, with which a peer enrols.

use flower_iroh_funnel::{EndpointAddr, EndpointId, Invitation, StatusFile, Timestamp, roster::Name};
use iroh_tickets::endpoint::EndpointTicket;

use super::{ExitError, id::own_id, managed_config, parse_apis, print, roster, running_funnel::RunningFunnel};
use crate::{
    args::{self, Common},
    output,
};

pub(crate) async fn invite(common: &Common, args: args::Invite) -> Result<(), ExitError> {
    let name: Name = args.name.parse().map_err(|error| ExitError::usage(format_args!("{:?}: {error}", args.name)))?;
    let apis = parse_apis(args.apis.iter().map(String::as_str)).map_err(ExitError::usage)?;
    let config = managed_config(common, &args.configuration)?;
    let file = roster(&config, &args.roster)?;
    let invitation = Invitation::new(own_addr(own_id(&config)?, &StatusFile::of_roster(file.path())));
    let expires = Timestamp::now().plus(args.hours);
    let invited = file.update(|roster| {
        roster.forget_expired(Timestamp::now());
        roster.invite(&invitation, name, apis.into_iter().collect(), args.uses, expires)
    });
    invited?.map_err(ExitError::usage)?;
    print(format_args!("invitation {invitation}"));
    print(format_args!(
        "uses: {}, expires: {expires}; anyone who has the invitation can use it: treat it like a password",
        args.uses
    ));
    // Not on the command line, which every user of the other machine can read.
    print("on the other side, run: flower-iroh-funnel join - and paste the invitation, or save it and run: join @FILE");
    RunningFunnel::of(&config, &file)?.reload().await.print()
}

/// Returns the last known address of the funnel with this key, which it saved beside its roster.
fn own_addr(id: EndpointId, seen: &StatusFile) -> EndpointAddr {
    let ticket = seen.load().ticket.and_then(|ticket| ticket.parse::<EndpointTicket>().ok());
    let addr = ticket.map(EndpointAddr::from).filter(|addr| addr.id == id);
    addr.unwrap_or_else(|| {
        output::note(
            "note: no funnel with this key has run with this roster yet, so the invitation contains no address and works \
             only where the id can be looked up; or run expose first, then invite again"
        );
        id.into()
    })
}
