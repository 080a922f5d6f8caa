//! `relay`: runs a relay server.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use flower_iroh_funnel::{
    RelayToken, identity,
    relay::{RelayAccess, RelayServer, RelayServerConfig, RelayServerConfigBuilder, RelayTls},
    roster::RosterFile,
};
use tokio::sync::Notify;
use tracing::{error, info, warn};

use super::{ExitError, no_home_directory, print};
use crate::{
    args::{self, Common},
    signals,
};

pub(crate) async fn relay(common: &Common, args: args::Relay) -> Result<(), ExitError> {
    let config = config(common, &args)?;
    if matches!(config.tls, RelayTls::Plain) {
        warn!("plain HTTP: anybody on the network path sees the token and which endpoints communicate");
    }
    if config.access.is_everybody() {
        warn!("this relay is open: anybody who can reach it may use it");
    }
    let mut relay = RelayServer::start(config).await?;
    let (stop, reload) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    signals::on_signal(
        Duration::ZERO,
        {
            let stop = Arc::clone(&stop);
            move || {
                info!("stopping: clients move to another relay; send the signal again to stop immediately");
                stop.notify_one();
            }
        },
        {
            let reload = Arc::clone(&reload);
            move || {
                reload.notify_one();
                std::future::ready(())
            }
        },
    );
    announce(&relay, &args);
    loop {
        tokio::select! {
            error = relay.ended() => return Err(error.into()),
            () = stop.notified() => break,
            () = reload.notified() => read_again(&relay, args.token_file.as_deref()).await,
        }
    }
    Ok(relay.shutdown().await?)
}

async fn read_again(relay: &RelayServer, token_file: Option<&Path>) {
    // A pipe gives it once.
    let token_file = token_file.filter(|file| std::fs::metadata(file).is_ok_and(|found| found.is_file()));
    let token = token_file.map(RelayToken::read).transpose();
    if let Err(error) = &token {
        error!("SIGHUP: --token-file: {error}; the token before stays in use");
    }
    let is_token_read = token.is_ok();
    match relay.reload(token.ok().flatten()).await {
        Ok(()) if is_token_read => info!("SIGHUP: the token file, the certificate and the roster are read again"),
        Ok(()) => {}
        Err(error) => error!("SIGHUP: {error}"),
    }
}

fn config(common: &Common, args: &args::Relay) -> Result<RelayServerConfig, ExitError> {
    let tls = match (&args.tls_cert, &args.tls_key, &args.tls_local) {
        (Some(cert), Some(key), _) => RelayTls::Files { cert: cert.clone(), key: key.clone() },
        (_, _, Some(host)) => RelayTls::local(in_state_dir(common)?, host),
        _ => RelayTls::Plain,
    };
    let mut builder = RelayServerConfig::builder(tls).quic_port(args.quic_port);
    if let Some(host) = &args.tls_local {
        builder = builder.host(host);
    }
    if let Some(listen) = &args.listen {
        builder = match listen.parse() {
            Ok(listen) => builder.listen(listen),
            Err(error) => builder.mistake(format_args!("--listen {listen}: {error}; expected ADDRESS:PORT")),
        };
    }
    if let Some(host) = &args.host {
        builder = builder.host(host);
    }
    if let Some(max_clients) = args.max_clients {
        builder = builder.max_clients(max_clients);
    }
    if let Some(client_rate) = args.client_rate {
        builder = builder.client_rate(client_rate);
    }
    if let Some(metrics) = &args.metrics {
        builder = match parse_metrics(metrics) {
            Ok(metrics) => builder.metrics(metrics),
            Err(mistake) => builder.mistake(format_args!("--metrics {metrics}: {mistake}")),
        };
    }
    Ok(with_access(with_proxies(builder, args), args).build()?)
}

fn with_proxies(mut builder: RelayServerConfigBuilder, args: &args::Relay) -> RelayServerConfigBuilder {
    for text in &args.proxy_protocol {
        builder = match text.parse() {
            Ok(proxies) => builder.proxy_protocol(proxies),
            Err(error) => builder.mistake(format_args!("--proxy-protocol: {error}")),
        };
    }
    for text in &args.trust_forwarded {
        builder = match text.parse() {
            Ok(proxies) => builder.trust_forwarded(proxies),
            Err(error) => builder.mistake(format_args!("--trust-forwarded: {error}")),
        };
    }
    builder
}

/// Returns the common part of the local CA's file names: `relay`, in the state folder, by default that of the key file.
fn in_state_dir(common: &Common) -> Result<PathBuf, ExitError> {
    if let Some(state_dir) = &common.state_dir {
        return Ok(state_dir.join("relay"));
    }
    let key_file = common.key_file.clone().or_else(identity::default_key_file);
    let key_file = key_file.ok_or_else(|| ExitError::usage(no_home_directory("the certificate", "--key-file")))?;
    Ok(key_file.with_file_name("relay"))
}

fn with_access(mut builder: RelayServerConfigBuilder, args: &args::Relay) -> RelayServerConfigBuilder {
    let mut access = RelayAccess::nobody();
    let named = args.token.as_ref().map(|token| ("--token", token.parse()));
    let in_file = args.token_file.as_ref().map(|file| ("--token-file", RelayToken::read(file)));
    for (option, token) in named.into_iter().chain(in_file) {
        match token {
            Ok(token) => access = access.token(token),
            Err(error) if error.is_mistake() => builder = builder.mistake(format_args!("{option}: {error}")),
            Err(error) => builder = builder.trouble(format_args!("{option}: {error}")),
        }
    }
    for text in &args.allow {
        match text.parse() {
            Ok(peer) => access = access.peer(peer),
            Err(_) => {
                builder = builder.mistake(format_args!(
                    "--allow {text}: not an endpoint id; use the one that `flower-iroh-funnel id` prints on the other side"
                ));
            }
        }
    }
    if let Some(roster) = &args.roster {
        access = access.roster(RosterFile::new(roster));
    }
    builder.access(if args.open { access.everybody() } else { access })
}

/// Parses an address, or a port alone, which means 127.0.0.1.
fn parse_metrics(text: &str) -> Result<SocketAddr, String> {
    let metrics = match text.parse::<u16>() {
        Ok(port) => (IpAddr::from(Ipv4Addr::LOCALHOST), port).into(),
        Err(_) => text.parse::<SocketAddr>().map_err(|error| format!("{error}; expected PORT or ADDRESS:PORT"))?,
    };
    match metrics.port() {
        0 => Err("the port must be from 1 to 65535: nobody would know which one is served".to_owned()),
        _ => Ok(metrics),
    }
}

fn announce(relay: &RelayServer, args: &args::Relay) {
    let token = if args.token.is_some() || args.token_file.is_some() { ",@TOKEN_FILE" } else { "" };
    let url = relay.url().to_string();
    let url = url.trim_end_matches('/');
    let ca = relay.ca_file().map(|file| format!(" --relay-ca {}", file.display())).unwrap_or_default();
    print(format_args!("on every funnel, use: --relay {url}{token}{ca}"));
    print(format_args!("ready {url}"));
}
