//! `run`: both roles, from a file.

use std::fs;

use flower_iroh_funnel::{Funnel, FunnelConfig};
use iroh_tickets::endpoint::EndpointTicket;

use super::Failure;
use crate::{
    args::{self, Common},
    signals,
};

pub(crate) async fn run(common: &Common, args: args::Run) -> Result<(), Failure> {
    if common.key_file.is_some() || common.bind.is_some() || common.relay.is_some() {
        return Err(Failure::usage("with `run`, the file says it: key_file, bind_addr, relay_mode"));
    }
    let path = args.config.display();
    let text = fs::read_to_string(&args.config)
        .map_err(|error| Failure::usage(format_args!("cannot read --config {path}: {error}")))?;
    let config = FunnelConfig::from_toml(&text).map_err(|error| Failure::usage(format_args!("{path}: {error}")))?;
    if config.exposed.is_none() && config.peers.is_empty() {
        return Err(Failure::usage(format_args!("{path}: nothing to do: add [expose] or [[peer]]")));
    }
    let exposes = config.exposed.is_some();
    let funnel = Funnel::new(config).await?;
    signals::drain_on_signal(funnel.clone());
    let ((), served) = tokio::join!(announce(&funnel, exposes), funnel.serve());
    Ok(served?)
}

async fn announce(funnel: &Funnel, exposes: bool) {
    if exposes {
        println!("ticket {}", EndpointTicket::new(funnel.endpoint_addr().await));
    }
    let listening: Vec<_> = funnel.local_addrs().iter().map(|addr| format!(" listening on {addr}")).collect();
    println!("ready {}{}", funnel.endpoint_id(), listening.join(","));
}
