//! `expose`: beside a SuperLink.

use std::{fs, io, path::Path, pin::pin};

use flower_iroh_funnel::{
    Api, EndpointId, Exposed, Funnel, FunnelConfig, FunnelConfigBuilder, Upstream, UpstreamState,
};
use iroh_tickets::endpoint::EndpointTicket;

use super::{Failure, say, with_options};
use crate::{
    args::{self, Common},
    signals,
};

pub(crate) async fn expose(common: &Common, args: args::Expose) -> Result<(), Failure> {
    let mut builder = with_options(FunnelConfig::builder(), common);
    let mut exposed = Exposed::new();
    (builder, exposed) = upstreams(builder, exposed, &args);
    (builder, exposed) = access(builder, exposed, &args);
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
    for text in &args.upstream {
        match parse_upstream(text) {
            Ok((api, upstreams)) => {
                exposed = upstreams.into_iter().fold(exposed, |exposed, upstream| exposed.upstream(api, upstream));
            }
            Err(mistake) => builder = builder.mistake(format_args!("--upstream {text}: {mistake}")),
        }
    }
    match args.superlink.as_deref().map(Upstream::candidates) {
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
            Ok((peer, apis)) => exposed = exposed.allow(peer, apis),
            Err(mistake) => builder = builder.mistake(format_args!("--allow {text}: {mistake}")),
        }
    }
    if args.allow_any {
        exposed = exposed.allow_any([Api::Fleet]);
    }
    (builder, exposed)
}

fn parse_upstream(text: &str) -> Result<(Api, Vec<Upstream>), String> {
    let (api, url) = text.split_once('=').ok_or("write API=ADDR, for instance fleet=127.0.0.1:9092")?;
    let api = api.parse::<Api>().map_err(|error| error.to_string())?;
    let upstreams = Upstream::candidates(url).map_err(|error| error.to_string())?;
    Ok((api, upstreams))
}

fn parse_allow(text: &str) -> Result<(EndpointId, Vec<Api>), String> {
    let (id, apis) = match text.split_once('=') {
        Some((id, apis)) => (id, apis.split(',').map(str::parse).collect::<Result<_, _>>()),
        None => (text, Ok(vec![Api::Fleet])),
    };
    let id =
        id.parse().map_err(|_| "write the id that the other side prints with: flower-iroh-funnel id".to_owned())?;
    Ok((id, apis.map_err(|error: flower_iroh_funnel::protocol::UnknownApi| error.to_string())?))
}

async fn announce(funnel: &Funnel, ticket_file: Option<&Path>) -> Result<(), Failure> {
    let ticket = EndpointTicket::new(funnel.endpoint_addr().await);
    if let Some(path) = ticket_file {
        write_whole(path, &format!("{ticket}\n"))
            .map_err(|error| Failure::usage(format_args!("cannot write --ticket-file {}: {error}", path.display())))?;
    }
    say(format_args!("ticket {ticket}"));
    say(format_args!("on the other side run: flower-iroh-funnel join {ticket}"));
    say(format_args!("ready {}: {}", funnel.endpoint_id(), found(&funnel.upstreams().await)));
    Ok(())
}

/// Nobody who waits for the file ever reads half of it.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".tmp");
    fs::write(&draft, text)?;
    fs::rename(&draft, path)
}

fn found(upstreams: &[(Api, Upstream, UpstreamState)]) -> String {
    let up: Vec<_> = upstreams.iter().filter(|(_, _, state)| *state == UpstreamState::Up).collect();
    let list = |upstreams: &mut dyn Iterator<Item = &(Api, Upstream, UpstreamState)>| {
        let one = |(api, upstream, state): &_| format!("{api} {upstream} {}", UpstreamState::name(*state));
        upstreams.map(one).collect::<Vec<_>>().join(", ")
    };
    if up.is_empty() {
        return format!("no SuperLink answers yet ({}); it is used as soon as it does", list(&mut upstreams.iter()));
    }
    list(&mut up.into_iter())
}
