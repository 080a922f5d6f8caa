//! What the subcommands have in common.

mod exit_error;
mod expose;
mod id;
mod invite;
mod join;
mod peers;
mod relay;
mod run;

use std::{
    fmt, fs,
    io::{self, Write},
    path::Path,
};

use flower_iroh_funnel::{
    Api, Exposed, FunnelConfig, FunnelConfigBuilder, identity, protocol::UnknownApi, roster::RosterFile,
};

pub(crate) use self::{
    exit_error::{Failure, USAGE},
    expose::expose,
    id::id,
    invite::invite,
    join::join,
    peers::peers,
    relay::relay,
    run::run,
};
use crate::args::{self, Common};

/// The roster, unless it is told otherwise, and the audit log: beside the key file, which says whose they are.
const ROSTER: &str = "peers.toml";
const AUDIT_LOG: &str = "audit.jsonl";

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
    if !common.relay.is_empty() {
        builder = builder.relays(&common.relay, "--relay");
    }
    if !common.lookup.is_empty() {
        builder = builder.lookup_texts(&common.lookup, "--lookup");
    }
    if !common.publish.is_empty() {
        builder = builder.publication_texts(&common.publish, "--publish");
    }
    common.relay_ca.iter().fold(builder, FunnelConfigBuilder::relay_ca_file)
}

/// What is exposed, with the roster and the audit log that stand beside the key unless something else was said.
fn with_state(mut exposed: Exposed, key_file: &Path) -> Exposed {
    if exposed.roster_file().is_none() {
        exposed = exposed.roster(RosterFile::new(key_file.with_file_name(ROSTER)));
    }
    if !exposed.has_audit_log() {
        exposed = exposed.audit_log(key_file.with_file_name(AUDIT_LOG));
    }
    exposed
}

/// What is said of the funnel that a command is about, by its configuration file if one is named: where its files are.
fn about(common: &Common, configuration: &args::Configuration) -> Result<FunnelConfigBuilder, Failure> {
    let said = match &configuration.path {
        None => FunnelConfig::builder(),
        Some(path) => {
            let said = FunnelConfig::from_toml(&read_config(path)?).without_mistakes();
            said.map_err(|error| Failure::usage(format_args!("{}: {error}", path.display())))?
        }
    };
    Ok(with_key(said, common))
}

fn read_config(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path)
        .map_err(|error| Failure::usage(format_args!("cannot read --config {}: {error}", path.display())))
}

/// The roster that a command is about: the one that is named, or that the funnel's configuration names, or beside its key.
fn roster(about: &FunnelConfigBuilder, named: &args::Roster) -> Result<RosterFile, Failure> {
    let named = named.file.as_ref().map(RosterFile::new);
    let configured = || about.exposed().and_then(Exposed::roster_file).cloned();
    let beside_key = || Some(RosterFile::new(about.key_file_path()?.with_file_name(ROSTER)));
    let file = named.or_else(configured).or_else(beside_key);
    file.ok_or_else(|| Failure::usage(no_home_for("the roster", "--roster")))
}

fn no_home_for(what: &str, option: &str) -> String {
    format!("no home folder is known for {what}; name it with {option}")
}

fn parse_apis<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Vec<Api>, String> {
    names.into_iter().map(|name| name.parse().map_err(|error: UnknownApi| error.to_string())).collect()
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
        None => builder.mistake(no_home_for("the key", "--key-file")),
    }
}
