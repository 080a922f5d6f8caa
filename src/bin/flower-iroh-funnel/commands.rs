//! What the subcommands have in common.

mod expose;
mod failure;
mod id;
mod join;
mod run;

use std::path::Path;

use flower_iroh_funnel::{
    FunnelConfig, FunnelConfigBuilder, SecretKey,
    address_lookup::Relay,
    identity::{self, IdentityError},
};

pub(crate) use self::{
    expose::expose,
    failure::{Failure, USAGE},
    id::id,
    join::join,
    run::run,
};
use crate::args::Common;

fn load_key(key_file: Option<&Path>) -> Result<SecretKey, Failure> {
    let load = |path: &Path| identity::load_or_create(path).map_err(Failure::of::<IdentityError>);
    match (key_file, identity::default_key_file()) {
        (Some(path), _) => load(path),
        (None, Some(path)) => load(&path),
        (None, None) => Err(Failure::usage("no home folder is known for the key; name a file with --key-file")),
    }
}

/// The configuration as far as the common options make it.
fn builder(common: &Common) -> Result<FunnelConfigBuilder, Failure> {
    let mut builder = FunnelConfig::builder().secret_key(load_key(common.key_file.as_deref())?);
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
    Ok(builder)
}
