//! `join`: beside SuperNodes and the flwr command.

use std::{fs, net::SocketAddr, path::PathBuf, pin::pin};

use directories::ProjectDirs;
use flower_iroh_funnel::{
    EndpointAddr, Funnel, FunnelConfig, Hello, PeerConfig, PeerConn,
    address_lookup::{InvalidPeer, parse_peer},
};

use super::{Failure, say, with_options};
use crate::{
    args::{self, Common},
    signals,
};

pub(crate) async fn join(common: &Common, args: args::Join) -> Result<(), Failure> {
    let mut builder = with_options(FunnelConfig::builder(), common);
    match find_peer(&args) {
        Ok(addr) => builder = builder.peer(PeerConfig::new(addr)),
        Err(mistake) => builder = builder.mistake(mistake),
    }
    match args.listen.parse() {
        Ok(listen) => builder = builder.flower_grpc_addr(listen),
        Err(error) => builder = builder.mistake(format_args!("--listen {}: {error}; write ADDRESS:PORT", args.listen)),
    }
    let config = builder.build()?;
    let peer = config.peers[0].id();
    let funnel = Funnel::new(config).await?;
    signals::drain_on_signal(funnel.clone());
    let mut serving = pin!(funnel.serve());
    tokio::select! {
        served = &mut serving => return Ok(served?),
        () = announce(funnel.peer(peer), funnel.local_addrs()[0]) => {}
    }
    Ok(serving.await?)
}

fn find_peer(args: &args::Join) -> Result<EndpointAddr, String> {
    match parse_peer(&args.peer) {
        Ok(addr) => Ok(addr),
        Err(error) if error.may_be_name() => find_name(args, &error),
        Err(error) => Err(error.to_string()),
    }
}

fn find_name(args: &args::Join, no_ticket: &InvalidPeer) -> Result<EndpointAddr, String> {
    let Some(path) = args.config.clone().or_else(default_config) else { return Err(no_ticket.to_string()) };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if args.config.is_some() => return Err(format!("cannot read --config {}: {error}", path.display())),
        Err(_) => return Err(format!("{no_ticket}, and there is no {} to find it in as a name", path.display())),
    };
    let file = FunnelConfig::from_toml(&text);
    let named = file.peers().iter().find(|peer| peer.has_name(&args.peer));
    named.map(|peer| peer.addr().clone()).ok_or_else(|| format!("{no_ticket}, nor a peer's name in {}", path.display()))
}

fn default_config() -> Option<PathBuf> {
    Some(ProjectDirs::from("", "", "flower-iroh-funnel")?.config_dir().join("funnel.toml"))
}

async fn announce(peer: PeerConn, listen: SocketAddr) {
    say(format_args!("waiting: dialling {}", peer.peer().fmt_short()));
    let hello = peer.ready(|failure| say(format_args!("waiting: {failure}"))).await;
    say(next_steps(&hello, listen));
    say(format_args!("ready listening on {listen} for {}: {hello}", peer.peer().fmt_short()));
}

/// The lines to run next, as far as this side may use them.
fn next_steps(hello: &Hello, listen: SocketAddr) -> String {
    let mut lines = Vec::new();
    if hello.offers("fleet") {
        lines.push(format!("run a SuperNode: flower-supernode --insecure --superlink {listen}"));
    }
    if hello.offers("control") {
        lines.push(format!(
            "run flwr: in $FLWR_HOME/config.toml (default ~/.flwr) set [superlink.funnel] address = \"{listen}\", \
             insecure = true; then: flwr run APP funnel"
        ));
    }
    lines.join("\n")
}
