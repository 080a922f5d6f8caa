//! `expose`: makes a SuperLink reachable for admitted peers.

use std::{path::Path, pin::pin};

use flower_iroh_funnel::{
    Api, Exposed, Funnel, FunnelConfig, FunnelConfigBuilder, Grant, Upstream, UpstreamState,
    address_lookup::write_ticket, roster::RosterFile,
};
use iroh_tickets::endpoint::EndpointTicket;

use super::{ExitError, print, with_options, with_state};
use crate::{
    args::{self, Common},
    signals,
};

pub(crate) async fn expose(common: &Common, args: args::Expose) -> Result<(), ExitError> {
    let mut builder = with_options(FunnelConfig::builder(), common);
    let mut exposed = match &args.superlink_ca {
        Some(path) => Exposed::new().superlink_ca(path),
        None => Exposed::new(),
    };
    (builder, exposed) = upstreams(builder, exposed, &args);
    (builder, exposed) = access(builder, exposed, &args);
    exposed = state(exposed, &args, builder.state_path().as_deref());
    let config = builder.expose(exposed).build()?;
    let drain_timeout = config.drain_timeout;
    let funnel = Funnel::new(config).await?;
    signals::follow_signals(&funnel, drain_timeout);
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
    for text in &args.upstream {
        if let Err(mistake) = add_upstream(&mut exposed, text) {
            builder = builder.mistake(format_args!("--upstream {text}: {mistake}"));
        }
    }
    match args.superlink.as_deref().map(|text| exposed.add_superlink(text)) {
        Some(Ok(())) => {}
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
        match text.parse::<Grant>() {
            Ok(grant) => exposed = exposed.grant(grant),
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

fn state(mut exposed: Exposed, args: &args::Expose, state_path: Option<&Path>) -> Exposed {
    if let Some(roster) = &args.roster.file {
        exposed = exposed.roster(RosterFile::new(roster));
    }
    if let Some(path) = &args.audit_log {
        exposed = exposed.audit_log(path);
    }
    state_path.into_iter().fold(exposed, with_state)
}

fn add_upstream(exposed: &mut Exposed, text: &str) -> Result<(), String> {
    let (api, url) = text.split_once('=').ok_or("expected API=ADDR, for example fleet=127.0.0.1:9092")?;
    let api = api.parse::<Api>().map_err(|error| error.to_string())?;
    exposed.add_upstreams(api, url).map_err(|error| error.to_string())
}

async fn announce(funnel: &Funnel, ticket_file: Option<&Path>) -> Result<(), ExitError> {
    let addr = funnel.endpoint_addr().await;
    let ticket = EndpointTicket::new(addr.clone());
    if let Some(path) = ticket_file {
        write_ticket(path, addr).map_err(|error| {
            ExitError::of(error).about(format_args!("cannot write --ticket-file {}", path.display()))
        })?;
    }
    print(format_args!("ticket {ticket}"));
    print(format_args!("on the other side, run: flower-iroh-funnel join {ticket}"));
    funnel.save_ticket().await;
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
