//! `expose`: makes a SuperLink reachable for admitted peers.

use std::{path::Path, pin::pin};

use flower_iroh_funnel::{
    Api, EndpointId, Exposed, Funnel, FunnelConfig, FunnelConfigBuilder, Security, Upstream, UpstreamState,
    address_lookup::write_ticket, roster::RosterFile,
};
use iroh_tickets::endpoint::EndpointTicket;

use super::{ExitError, parse_apis, print, with_options, with_state};
use crate::{
    args::{self, Common},
    signals,
};

/// A grant in `--allow`, listed like an API.
const PASSTHROUGH: &str = "passthrough";

pub(crate) async fn expose(common: &Common, args: args::Expose) -> Result<(), ExitError> {
    let mut builder = with_options(FunnelConfig::builder(), common);
    let mut exposed = match &args.superlink_ca {
        Some(path) => Exposed::new().superlink_ca(path),
        None => Exposed::new(),
    };
    (builder, exposed) = upstreams(builder, exposed, &args);
    (builder, exposed) = access(builder, exposed, &args);
    exposed = state(exposed, &args, builder.key_file_path());
    let funnel = Funnel::new(builder.expose(exposed).build()?).await?;
    signals::drain_on_signal(funnel.clone());
    let mut serving = pin!(funnel.serve());
    let announced = tokio::select! {
        served = &mut serving => return Ok(served?),
        announced = announce(&funnel, args.ticket_file.as_deref()) => announced,
    };
    if announced.is_err() {
        funnel.shutdown();
    }
    serving.await?;
    announced
}

fn upstreams(
    mut builder: FunnelConfigBuilder,
    mut exposed: Exposed,
    args: &args::Expose,
) -> (FunnelConfigBuilder, Exposed) {
    let default = exposed.default_security();
    for text in &args.upstream {
        match parse_upstream(text, default) {
            Ok((api, upstreams)) => {
                exposed = upstreams.into_iter().fold(exposed, |exposed, upstream| exposed.upstream(api, upstream));
            }
            Err(mistake) => builder = builder.mistake(format_args!("--upstream {text}: {mistake}")),
        }
    }
    match args.superlink.as_deref().map(|text| Upstream::candidates(text, default)) {
        Some(Ok(superlinks)) => exposed = superlinks.into_iter().fold(exposed, Exposed::superlink),
        Some(Err(mistake)) => builder = builder.mistake(format_args!("--superlink: {mistake}")),
        None if args.upstream.is_empty() => exposed = exposed.local_superlink(),
        None => {}
    }
    (builder, exposed)
}

fn access(
    mut builder: FunnelConfigBuilder,
    mut exposed: Exposed,
    args: &args::Expose,
) -> (FunnelConfigBuilder, Exposed) {
    for text in &args.allow {
        match parse_allow(text) {
            Ok((peer, apis, Passes::Calls)) => exposed = exposed.allow(peer, apis),
            Ok((peer, apis, Passes::BytesToo)) => exposed = exposed.allow(peer, apis).allow_passthrough(peer),
            Err(mistake) => builder = builder.mistake(format_args!("--allow {text}: {mistake}")),
        }
    }
    if args.allow_any {
        exposed = exposed.allow_any([Api::Fleet]);
    }
    match args.passthrough.as_deref().map(str::parse) {
        Some(Ok(target)) => exposed = exposed.passthrough(target),
        Some(Err(error)) => builder = builder.mistake(format_args!("--passthrough: {error}")),
        None => {}
    }
    (builder, exposed)
}

fn state(mut exposed: Exposed, args: &args::Expose, key_file: Option<&Path>) -> Exposed {
    if let Some(roster) = &args.roster.file {
        exposed = exposed.roster(RosterFile::new(roster));
    }
    if let Some(path) = &args.audit_log {
        exposed = exposed.audit_log(path);
    }
    key_file.into_iter().fold(exposed, with_state)
}

fn parse_upstream(text: &str, default: Security) -> Result<(Api, Vec<Upstream>), String> {
    let (api, url) = text.split_once('=').ok_or("expected API=ADDR, for example fleet=127.0.0.1:9092")?;
    let api = api.parse::<Api>().map_err(|error| error.to_string())?;
    let upstreams = Upstream::candidates(url, default).map_err(|error| error.to_string())?;
    Ok((api, upstreams))
}

/// What a peer is granted besides APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passes {
    Calls,
    BytesToo,
}

fn parse_allow(text: &str) -> Result<(EndpointId, Vec<Api>, Passes), String> {
    let (id, names) = text.split_once('=').unwrap_or((text, Api::Fleet.name()));
    let (passthrough, names): (Vec<_>, Vec<_>) = names.split(',').partition(|name| *name == PASSTHROUGH);
    let passes = if passthrough.is_empty() { Passes::Calls } else { Passes::BytesToo };
    let apis = parse_apis(names);
    let id = id.parse().map_err(|_| {
        "not an endpoint id; use the one that `flower-iroh-funnel id` prints on the other side".to_owned()
    })?;
    Ok((id, apis?, passes))
}

async fn announce(funnel: &Funnel, ticket_file: Option<&Path>) -> Result<(), ExitError> {
    let addr = funnel.endpoint_addr().await;
    let ticket = EndpointTicket::new(addr.clone());
    if let Some(path) = ticket_file {
        write_ticket(path, addr).map_err(|error| {
            ExitError::usage(format_args!("cannot write --ticket-file {}: {error}", path.display()))
        })?;
    }
    print(format_args!("ticket {ticket}"));
    print(format_args!("on the other side, run: flower-iroh-funnel join {ticket}"));
    print(format_args!("ready {}: {}", funnel.endpoint_id(), found(&funnel.upstreams().await)));
    Ok(())
}

fn found(upstreams: &[(Api, Upstream, UpstreamState)]) -> String {
    let up: Vec<_> = upstreams.iter().filter(|(_, _, state)| *state == UpstreamState::Up).collect();
    let list = |upstreams: &mut dyn Iterator<Item = &(Api, Upstream, UpstreamState)>| {
        let one = |(api, upstream, state): &_| format!("{api} {upstream} {}", UpstreamState::name(*state));
        upstreams.map(one).collect::<Vec<_>>().join(", ")
    };
    if up.is_empty() {
        return format!(
            "no SuperLink answers yet ({}); calls go through as soon as one does",
            list(&mut upstreams.iter())
        );
    }
    list(&mut up.into_iter())
}
