//! What the subcommands have in common.

mod expose;
mod failure;
mod id;
mod join;
mod run;

use std::{
    fmt,
    io::{self, Write},
};

use flower_iroh_funnel::{FunnelConfigBuilder, address_lookup::Relay, identity};

pub(crate) use self::{
    expose::expose,
    failure::{Failure, USAGE},
    id::id,
    join::join,
    run::run,
};
use crate::args::Common;

/// Prints a line for whoever reads stdout. When nobody does, the funnel goes on.
fn say(line: impl fmt::Display) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// What the common options say, above what the builder has.
fn with_options(mut builder: FunnelConfigBuilder, common: &Common) -> FunnelConfigBuilder {
    builder = with_key(builder, common);
    if let Some(bind) = &common.bind {
        builder = match bind.parse() {
            Ok(bind) => builder.bind_addr(bind),
            Err(error) => builder.mistake(format_args!("--bind {bind}: {error}; write ADDRESS:PORT")),
        };
    }
    if let Some(relay) = &common.relay {
        builder = match relay.parse::<Relay>() {
            Ok(relay) => builder.relay_mode(relay.into_mode()),
            Err(error) => builder.mistake(format_args!("--relay {error}")),
        };
    }
    builder
}

fn with_key(builder: FunnelConfigBuilder, common: &Common) -> FunnelConfigBuilder {
    if let Some(key_file) = &common.key_file {
        return builder.key_file(key_file);
    }
    if builder.has_key() {
        return builder;
    }
    match identity::default_key_file() {
        Some(key_file) => builder.key_file(key_file),
        None => builder.mistake("no home folder is known for the key; name a file with --key-file"),
    }
}
