//! `invite`: a word that lets its bearer enrol.

use std::{
    io::{self, Write},
    time::Duration,
};

use flower_iroh_funnel::{EndpointAddr, EndpointId, Invitation, StatusFile, Timestamp, roster::Name};
use iroh_tickets::endpoint::EndpointTicket;

use super::{Failure, about, id::own_id, parse_apis, roster, say};
use crate::args::{self, Common};

const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn invite(common: &Common, args: args::Invite) -> Result<(), Failure> {
    let name: Name = args.name.parse().map_err(|error| Failure::usage(format_args!("{:?}: {error}", args.name)))?;
    let apis = parse_apis(args.apis.iter().map(String::as_str)).map_err(Failure::usage)?;
    let about = about(common, &args.configuration)?;
    let file = roster(&about, &args.roster)?;
    let invitation = Invitation::new(own_addr(own_id(&about)?, &StatusFile::of_roster(file.path())));
    let expires = Timestamp::now().plus(HOUR * args.hours);
    let invited = file.update(|roster| {
        roster.forget_expired(Timestamp::now());
        roster.invite(&invitation, name, apis.into_iter().collect(), args.uses, expires)
    });
    invited?.map_err(Failure::usage)?;
    say(format_args!("invitation {invitation}"));
    say(format_args!("uses {}, until {expires}; whoever has it may use it: hand it over as a password", args.uses));
    say(format_args!("on the other side run: flower-iroh-funnel join {invitation}"));
    Ok(())
}

/// Where the funnel with this key was last, as it wrote beside its roster.
fn own_addr(id: EndpointId, seen: &StatusFile) -> EndpointAddr {
    let ticket = seen.load().ticket.and_then(|ticket| ticket.parse::<EndpointTicket>().ok());
    let addr = ticket.map(EndpointAddr::from).filter(|addr| addr.id == id);
    addr.unwrap_or_else(|| {
        let _ = writeln!(
            io::stderr(),
            "note: no funnel with this key has run beside this roster, so the invitation holds no address and works \
             where the id can be looked up; or run expose, and invite again"
        );
        id.into()
    })
}
