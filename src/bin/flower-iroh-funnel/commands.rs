//! The subcommands, and the functions that they share.

mod exit_error;
mod expose;
mod id;
mod invite;
mod join;
mod peer_input;
mod peers;
mod relay;
mod run;
mod running_funnel;

use std::{fs, io, path::Path};

use flower_iroh_funnel::{
    Api, Exposed, FunnelConfig, FunnelConfigBuilder, identity, protocol::UnknownApi, roster::RosterFile,
};

pub(crate) use self::{
    exit_error::{ExitError, USAGE},
    expose::expose,
    id::id,
    invite::invite,
    join::join,
    peers::peers,
    relay::relay,
    run::run,
};
use crate::{
    args::{self, Common},
    output::print,
};

/// Default file names of the roster and the audit log, in the key file's folder.
const ROSTER: &str = "peers.toml";
const AUDIT_LOG: &str = "audit.jsonl";

/// Applies the common options, which override what the builder already has.
fn with_options(mut builder: FunnelConfigBuilder, common: &Common) -> FunnelConfigBuilder {
    builder = with_key(builder, common);
    if let Some(bind) = &common.bind {
        builder = match bind.parse() {
            Ok(bind) => builder.bind_addr(bind),
            Err(error) => builder.mistake(format_args!("--bind {bind}: {error}; expected ADDRESS:PORT")),
        };
    }
    if !common.relay.is_empty() {
        builder = builder.relays(&common.relay, "--relay");
    }
    if common.allow_http_relay {
        builder = builder.allow_http_relay();
    }
    if !common.lookup.is_empty() {
        builder = builder.lookup_texts(&common.lookup, "--lookup");
    }
    if !common.publish.is_empty() {
        builder = builder.publication_texts(&common.publish, "--publish");
    }
    common.relay_ca.iter().fold(builder, FunnelConfigBuilder::relay_ca_file)
}

/// Adds the default roster and audit log, beside the key file or in the state folder, where none are configured.
fn with_state(mut exposed: Exposed, state_path: &Path) -> Exposed {
    if exposed.roster_file().is_none() {
        exposed = exposed.roster(RosterFile::new(state_path.with_file_name(ROSTER)));
    }
    if !exposed.has_audit_log() {
        exposed = exposed.audit_log(state_path.with_file_name(AUDIT_LOG));
    }
    exposed
}

/// Returns the configuration of the funnel that a command manages: from its file, if one is given, and the options.
fn managed_config(common: &Common, configuration: &args::Configuration) -> Result<FunnelConfigBuilder, ExitError> {
    let builder = match &configuration.path {
        None => FunnelConfig::builder(),
        Some(path) => {
            let read = FunnelConfig::from_toml(&read_config(path)?);
            // What cannot be read now, such as the ticket of a peer, is none of this command's business.
            match read.clone().without_mistakes() {
                Err(error) if error.is_mistake() => return Err(ExitError::from(error).about(path.display())),
                _ => read,
            }
        }
    };
    Ok(with_key(builder, common))
}

fn read_config(path: &Path) -> Result<String, ExitError> {
    fs::read_to_string(path).map_err(|error| {
        let is_mistake = is_mistake(&error);
        ExitError::of(error).about(format_args!("cannot read --config {}", path.display())).or_usage(is_mistake)
    })
}

/// Returns whether the content of a file is wrong, or its name; otherwise it cannot be read now.
fn is_mistake(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidFilename)
}

/// Finds the roster to use: from the option, the funnel's configuration, or beside its key file, in this order.
fn roster(config: &FunnelConfigBuilder, named: &args::Roster) -> Result<RosterFile, ExitError> {
    let named = named.file.as_ref().map(RosterFile::new);
    let configured = || config.exposed().and_then(Exposed::roster_file).cloned();
    let beside_key = || Some(RosterFile::new(config.state_path()?.with_file_name(ROSTER)));
    let file = named.or_else(configured).or_else(beside_key);
    file.ok_or_else(|| ExitError::usage(no_home_directory("the roster", "--roster")))
}

/// Returns the error text for a file whose default location is unknown.
fn no_home_directory(file: &str, option: &str) -> String {
    format!("cannot find a home directory for {file}; set its path with {option}")
}

fn parse_apis<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Vec<Api>, String> {
    names.into_iter().map(|name| name.parse().map_err(|error: UnknownApi| error.to_string())).collect()
}

fn with_key(mut builder: FunnelConfigBuilder, common: &Common) -> FunnelConfigBuilder {
    if let Some(state_dir) = &common.state_dir {
        builder = builder.state_dir(state_dir);
    }
    if let Some(key_file) = &common.key_file {
        return builder.key_file(key_file);
    }
    if builder.has_key() {
        return builder;
    }
    match identity::default_key_file() {
        Some(key_file) => builder.key_file(key_file),
        None => builder.mistake(no_home_directory("the key", "--key-file")),
    }
}
