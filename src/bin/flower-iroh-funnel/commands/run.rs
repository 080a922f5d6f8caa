//! `run`: runs both roles from a configuration file.

use std::pin::pin;

use flower_iroh_funnel::{Funnel, FunnelConfig, roster::RosterFile};
use iroh_tickets::endpoint::EndpointTicket;

use super::{ExitError, ROSTER, peer_input::wait_for_ticket, print, read_config, with_options, with_state};
use crate::{
    args::{self, Common},
    signals,
};

pub(crate) async fn run(common: &Common, args: args::Run) -> Result<(), ExitError> {
    let path = args.config.display();
    let mut file = FunnelConfig::from_toml(&read_config(&args.config)?);
    while let Some(path) = file.missing_ticket_files().first() {
        wait_for_ticket(path).await;
        file = FunnelConfig::from_toml(&read_config(&args.config)?);
    }
    let mut builder = with_options(file, common);
    if let (Some(exposed), Some(state_path)) = (builder.exposed().cloned(), builder.state_path()) {
        let exposed = with_state(exposed, &state_path);
        builder = builder.expose(exposed);
    }
    if let Some(roster) = builder.state_path().map(|state_path| RosterFile::new(state_path.with_file_name(ROSTER)))
        && builder.exposed().is_none()
    {
        builder = builder.peer_names(&roster);
    }
    let config = builder.build().map_err(|error| ExitError::from(error).about(&path))?;
    if config.exposed.is_none() && config.peers.is_empty() {
        return Err(ExitError::usage(format_args!("{path}: nothing to do: add [expose] or [[peer]]")));
    }
    let (exposes, drain_timeout) = (config.exposed.is_some(), config.drain_timeout);
    let funnel = Funnel::new(config).await.map_err(|error| ExitError::from(error).about(&path))?;
    signals::follow_signals(&funnel, drain_timeout);
    let mut serving = pin!(funnel.serve());
    tokio::select! {
        served = &mut serving => return Ok(served?),
        () = announce(&funnel, exposes) => {}
    }
    Ok(serving.await?)
}

async fn announce(funnel: &Funnel, exposes: bool) {
    if exposes {
        print(format_args!("ticket {}", EndpointTicket::new(funnel.endpoint_addr().await)));
        funnel.save_ticket().await;
    }
    if let Some(local_tls) = funnel.local_tls() {
        print(format_args!(
            "local Flower clients need: --root-certificates {}",
            local_tls.root_certificates().display()
        ));
    }
    let listening: Vec<_> = funnel.local_addrs().iter().map(|addr| format!(" listening on {addr}")).collect();
    print(format_args!("ready {}{}", funnel.endpoint_id(), listening.join(",")));
}
