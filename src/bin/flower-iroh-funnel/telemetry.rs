//! Logs to stderr; stdout is for scripts.

mod fields;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, IsTerminal},
    panic, thread,
};

use tracing::error;
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use self::fields::OneLineFields;
use crate::{
    args::LogFormat,
    expected::Expected,
    output::{JsonLog, Log},
};

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
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).log_internal_errors(false);
    match format {
        LogFormat::Text => {
            let subscriber = subscriber.with_ansi(io::stderr().is_terminal()).fmt_fields(OneLineFields);
            subscriber.with_writer(|| Log).finish().with(Expected).init();
        }
        LogFormat::Json => subscriber.json().with_writer(|| JsonLog).finish().with(Expected).init(),
    }
    log_panics();
}

/// Logs panics as anything else: the hook of the standard library writes to stderr itself, and waits for its reader.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        let (thread, text) = (thread.name().unwrap_or("unnamed"), panic.payload_as_str().unwrap_or("no text"));
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| tracing::field::display(backtrace));
        error!(thread, location, backtrace, "panicked, which is a mistake in this program: {text}");
        // The process may end with it.
        crate::output::flush();
    }));
}
