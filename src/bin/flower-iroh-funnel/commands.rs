//! What the subcommands have in common.

mod expose;
mod failure;
mod id;
mod invite;
mod join;
mod peers;
mod relay;
mod run;

use std::{
    fmt,
    io::{self, Write},
    path::Path,
};

use flower_iroh_funnel::{Api, Exposed, FunnelConfigBuilder, identity, protocol::UnknownApi, roster::RosterFile};

pub(crate) use self::{
    expose::expose,
    failure::{Failure, USAGE},
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
    if !exposed.has_roster() {
        exposed = exposed.roster(RosterFile::new(key_file.with_file_name(ROSTER)));
    }
    if !exposed.has_audit_log() {
        exposed = exposed.audit_log(key_file.with_file_name(AUDIT_LOG));
    }
    exposed
}

/// The roster that a command is about.
fn roster(common: &Common, named: args::Roster) -> Result<RosterFile, Failure> {
    let key_file = common.key_file.clone().or_else(identity::default_key_file);
    let path = named.file.or_else(|| Some(key_file?.with_file_name(ROSTER)));
    path.map(RosterFile::new)
        .ok_or_else(|| Failure::usage("no home folder is known for the roster; name it with --roster"))
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
        None => builder.mistake("no home folder is known for the key; name a file with --key-file"),
    }
}
