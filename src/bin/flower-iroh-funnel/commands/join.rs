//! `join`: connects local SuperNodes and the flwr command to a peer's SuperLink.

use std::{fs, io, net::SocketAddr, path::PathBuf, pin::pin};

use directories::ProjectDirs;
use flower_iroh_funnel::{
    Funnel, FunnelConfig, FunnelConfigBuilder, Hello, PeerConfig, PeerConn,
    address_lookup::InvalidPeer,
    roster::{RosterFile, names},
};

use super::{ExitError, is_mistake, peer_input::peer_of, print, roster, with_key, with_options};
use crate::{
    args::{self, Common},
    signals,
};

pub(crate) async fn join(common: &Common, args: args::Join) -> Result<(), ExitError> {
    let peer = find_peer(common, &args).await;
    let mut builder = with_options(FunnelConfig::builder(), common);
    match peer {
        Ok(peer) if args.passthrough => builder = builder.peer(peer.passthrough()),
        Ok(peer) => builder = builder.peer(peer),
        Err(Unfound::Mistake(mistake)) => builder = builder.mistake(mistake),
        Err(Unfound::Trouble(trouble)) => builder = builder.trouble(trouble),
    }
    match args.listen.parse() {
        Ok(listen) => builder = builder.flower_grpc_addr(listen),
        Err(error) => {
            builder = builder.mistake(format_args!("--listen {}: {error}; expected ADDRESS:PORT", args.listen))
        }
    }
    builder = args.listen_name.iter().fold(builder, FunnelConfigBuilder::listen_name);
    if args.tls {
        builder = builder.local_tls();
    }
    let config = builder.build()?;
    let peer = config.peers[0].id();
    let is_passthrough = config.peers[0].is_passthrough();
    let drain_timeout = config.drain_timeout;
    let funnel = Funnel::new(config).await?;
    let setup = ClientSetup::of(&funnel, is_passthrough);
    signals::follow_signals(&funnel, drain_timeout);
    let mut serving = pin!(funnel.serve());
    tokio::select! {
        served = &mut serving => return Ok(served?),
        () = announce(funnel.peer(peer), funnel.local_addrs()[0], &setup) => {}
    }
    Ok(serving.await?)
}

/// Why a peer was not found.
enum Unfound {
    /// What was typed or written names no peer.
    Mistake(String),
    /// A file in which it is looked up cannot be read now.
    Trouble(String),
}

impl Unfound {
    fn of(text: String, is_mistake: bool) -> Self {
        if is_mistake { Self::Mistake(text) } else { Self::Trouble(text) }
    }
}

async fn find_peer(common: &Common, args: &args::Join) -> Result<PeerConfig, Unfound> {
    // A shell has split it if it was pasted with spaces.
    let text = args.peer.join(" ");
    match peer_of(&text).await {
        Ok(peer) => Ok(peer.into()),
        Err(error) if error.may_be_name() => find_name(common, args, &text, &error),
        Err(error) => Err(Unfound::of(error.to_string(), error.is_mistake())),
    }
}

/// Looks in the configuration file first, then in the roster.
fn find_name(common: &Common, args: &args::Join, name: &str, wanted: &InvalidPeer) -> Result<PeerConfig, Unfound> {
    let own = with_key(FunnelConfig::builder(), common);
    let roster = roster(&own, &args.roster).map_err(|error| Unfound::Mistake(format!("{wanted}, {error}")))?;
    let nowhere = match args.config.clone().or_else(default_config) {
        None => "and no home directory is known for the configuration file".to_owned(),
        Some(path) => match fs::read_to_string(&path) {
            Ok(text) => match find_in_file(&text, name, &roster) {
                Ok(peer) => return Ok(peer),
                Err(names) => format!("nor a peer's name in {}: {names}", path.display()),
            },
            Err(error) if args.config.is_some() => {
                let problem = format!("{wanted}, and --config {} cannot be read: {error}", path.display());
                return Err(Unfound::of(problem, is_mistake(&error)));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                format!("and there is no {} to look it up in as a name", path.display())
            }
            Err(error) => {
                let problem = format!("{wanted}, and {} cannot be read: {error}", path.display());
                return Err(Unfound::of(problem, is_mistake(&error)));
            }
        },
    };
    match roster.peer_id(name) {
        Ok(id) => Ok(PeerConfig::new(id)),
        Err(error) => Err(Unfound::of(format!("{wanted}, {nowhere}; {error}"), error.is_mistake())),
    }
}

/// Finds the peer of that name, or returns a list of the names in the file.
fn find_in_file(text: &str, name: &str, roster: &RosterFile) -> Result<PeerConfig, String> {
    let file = FunnelConfig::from_toml(text).peer_names(roster);
    let named = file.peers().iter().find(|peer| peer.has_name(name));
    // Its `listen` applies to `run`; here the command line sets the address.
    named.map(PeerConfig::without_listen).ok_or_else(|| names(file.peers().iter().filter_map(PeerConfig::given_name)))
}

fn default_config() -> Option<PathBuf> {
    Some(ProjectDirs::from("", "", "flower-iroh-funnel")?.config_dir().join("funnel.toml"))
}

async fn announce(peer: PeerConn, listen: SocketAddr, setup: &ClientSetup) {
    print(format_args!("waiting: dialling {}", peer.peer().fmt_short()));
    let hello = peer.ready(|error| print(format_args!("waiting: {error}"))).await;
    next_steps(&hello, listen, setup).into_iter().for_each(print);
    print(format_args!("ready listening on {listen} for {}: {hello}", peer.peer().fmt_short()));
}

/// How local Flower clients connect.
enum ClientSetup {
    Plain,
    /// With TLS, and this CA's certificate.
    Tls(PathBuf),
    /// As they would connect to the SuperLink itself.
    Passthrough,
}

impl ClientSetup {
    fn of(funnel: &Funnel, is_passthrough: bool) -> Self {
        match funnel.local_tls() {
            _ if is_passthrough => Self::Passthrough,
            Some(tls) => Self::Tls(tls.root_certificates().to_owned()),
            None => Self::Plain,
        }
    }
}

/// Returns the commands to run next, for the APIs that this funnel may call.
fn next_steps(hello: &Hello, listen: SocketAddr, setup: &ClientSetup) -> Vec<String> {
    let (option, setting) = match setup {
        ClientSetup::Plain => ("--insecure".to_owned(), "insecure = true".to_owned()),
        ClientSetup::Tls(ca) => {
            (format!("--root-certificates {}", ca.display()), format!("root-certificates = {ca:?}"))
        }
        ClientSetup::Passthrough => {
            return vec![format!(
                "run a SuperNode: flower-supernode --root-certificates SUPERLINK_CA --superlink {listen}; the SuperLink's \
                 certificate must be for {}",
                listen.ip()
            )];
        }
    };
    let mut lines = Vec::new();
    if hello.offers("fleet") {
        lines.push(format!("run a SuperNode: flower-supernode {option} --superlink {listen}"));
    }
    if hello.offers("control") {
        lines.push(format!(
            "run flwr: in $FLWR_HOME/config.toml (default ~/.flwr) set [superlink.funnel] address = \"{listen}\", \
             {setting}; then: flwr run APP funnel"
        ));
    }
    lines
}
