//! `relay`: a relay of one's own.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
    sync::Arc,
};

use flower_iroh_funnel::{
    RelayToken, identity,
    relay::{RelayAccess, RelayServer, RelayServerConfig, RelayServerConfigBuilder, RelayTls},
    roster::RosterFile,
};
use tokio::sync::Notify;
use tracing::{info, warn};

use super::{Failure, no_home_for, say};
use crate::{
    args::{self, Common},
    signals,
};

/// The unit of `--client-rate`.
const MIB: f64 = 1_048_576.0;

pub(crate) async fn relay(common: &Common, args: args::Relay) -> Result<(), Failure> {
    let config = config(common, &args)?;
    if matches!(config.tls, RelayTls::Plain) {
        warn!("plain HTTP: whoever is between a funnel and this relay sees who talks to whom, and the token");
    }
    if config.access.is_everybody() {
        warn!("everybody who finds this relay may use it");
    }
    let mut relay = RelayServer::start(config).await?;
    let stop = Arc::new(Notify::new());
    signals::on_signal({
        let stop = Arc::clone(&stop);
        move || {
            info!("stopping: clients go on to another relay; signal again to stop at once");
            stop.notify_one();
        }
    });
    announce(&relay, &args);
    tokio::select! {
        error = relay.ended() => return Err(error.into()),
        () = stop.notified() => {}
    }
    Ok(relay.shutdown().await?)
}

fn config(common: &Common, args: &args::Relay) -> Result<RelayServerConfig, Failure> {
    let tls = match (&args.tls_cert, &args.tls_key, &args.tls_local) {
        (Some(cert), Some(key), _) => RelayTls::Files { cert: cert.clone(), key: key.clone() },
        (_, _, Some(host)) => RelayTls::local(beside_key(common)?, host),
        _ => RelayTls::Plain,
    };
    let mut builder = RelayServerConfig::builder(tls).quic_port(args.quic_port);
    if let Some(host) = &args.tls_local {
        builder = builder.host(host);
    }
    if let Some(listen) = &args.listen {
        builder = match listen.parse() {
            Ok(listen) => builder.listen(listen),
            Err(error) => builder.mistake(format_args!("--listen {listen}: {error}; write ADDRESS:PORT")),
        };
    }
    if let Some(host) = &args.host {
        builder = builder.host(host);
    }
    if let Some(max_clients) = args.max_clients {
        builder = builder.max_clients(max_clients);
    }
    builder = with_client_rate(builder, args);
    if let Some(metrics) = &args.metrics {
        builder = match parse_metrics(metrics) {
            Ok(metrics) => builder.metrics(metrics),
            Err(mistake) => builder.mistake(format_args!("--metrics {metrics}: {mistake}")),
        };
    }
    Ok(with_access(builder, args).build()?)
}

/// Where the certificate of a local CA lies: in the folder of the key file, under the relay's name.
fn beside_key(common: &Common) -> Result<PathBuf, Failure> {
    let key_file = common.key_file.clone().or_else(identity::default_key_file);
    let key_file = key_file.ok_or_else(|| Failure::usage(no_home_for("the certificate", "--key-file")))?;
    Ok(key_file.with_file_name("relay"))
}

fn with_client_rate(builder: RelayServerConfigBuilder, args: &args::Relay) -> RelayServerConfigBuilder {
    let Some(rate) = args.client_rate else { return builder };
    // A float becomes the nearest integer there is.
    match NonZeroU32::new((rate * MIB) as u32) {
        Some(bytes) => builder.client_rate(bytes),
        None => builder.mistake(format_args!("--client-rate {rate}: it must be MiB a second, more than 0")),
    }
}

fn with_access(mut builder: RelayServerConfigBuilder, args: &args::Relay) -> RelayServerConfigBuilder {
    let mut access = RelayAccess::nobody();
    let named = args.token.as_ref().map(|token| ("--token", token.parse()));
    let in_file = args.token_file.as_ref().map(|file| ("--token-file", RelayToken::read(file)));
    for (option, token) in named.into_iter().chain(in_file) {
        match token {
            Ok(token) => access = access.token(token),
            Err(error) => builder = builder.mistake(format_args!("{option}: {error}")),
        }
    }
    for text in &args.allow {
        match text.parse() {
            Ok(peer) => access = access.peer(peer),
            Err(_) => {
                builder = builder.mistake(format_args!(
                    "--allow {text}: write the id that the other side prints with: flower-iroh-funnel id"
                ));
            }
        }
    }
    if let Some(roster) = &args.roster {
        access = access.roster(RosterFile::new(roster));
    }
    builder.access(if args.open { access.everybody() } else { access })
}

/// A port alone is one of this machine's own.
fn parse_metrics(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse() {
        return Ok((IpAddr::from(Ipv4Addr::LOCALHOST), port).into());
    }
    text.parse().map_err(|error| format!("{error}; write PORT or ADDRESS:PORT"))
}

fn announce(relay: &RelayServer, args: &args::Relay) {
    let token = if args.token.is_some() || args.token_file.is_some() { ",@TOKEN_FILE" } else { "" };
    let url = relay.url().to_string();
    let url = url.trim_end_matches('/');
    let ca = relay.ca_file().map(|file| format!(" --relay-ca {}", file.display())).unwrap_or_default();
    say(format_args!("with every funnel: --relay {url}{token}{ca}"));
    say(format_args!("ready {url}"));
}
