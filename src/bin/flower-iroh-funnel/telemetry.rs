//! Logs to stderr; stdout is for scripts.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{args::LogFormat, expected::Expected};

const QUIET: &str = "warn,iroh_relay::server=error,iroh_mdns_address_lookup=off,swarm_discovery=off";

/// Sets up logging; `RUST_LOG` overrides `verbose`.
///
/// Some libraries are silenced: the relay server warns at every attempt of a refused client, of which this program logs one
/// line per client; the mDNS crates warn of anything that other machines on the network send, and of every packet that
/// cannot be sent.
pub(crate) fn init(format: LogFormat, verbose: u8) {
    let level = match verbose {
        0 => format!("{QUIET},flower_iroh_funnel=info"),
        1 => format!("{QUIET},flower_iroh_funnel=debug"),
        2 => "info,flower_iroh_funnel=trace,iroh=debug".to_owned(),
        _ => "trace".to_owned(),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false)
        .log_internal_errors(false);
    match format {
        LogFormat::Text => subscriber.with_ansi(io::stderr().is_terminal()).finish().with(Expected).init(),
        LogFormat::Json => subscriber.json().finish().with(Expected).init(),
    }
}
