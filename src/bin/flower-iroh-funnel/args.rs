//! The command line. Values stay text here, so that all mistakes in them are reported together.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Runs Flower federated learning where nobody can open a port: a sidecar for SuperLink and SuperNode.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// The secret key; created if absent [default: in the platform's folder for application data]
    #[arg(long, global = true, value_name = "F")]
    pub(crate) key_file: Option<PathBuf>,
    /// The UDP address for peers [default: every interface, any port]
    #[arg(long, global = true, value_name = "ADDR")]
    pub(crate) bind: Option<String>,
    /// Relays for peers without a direct path: default, off, or a URL [default: default]
    #[arg(long, global = true, value_name = "default|off|URL")]
    pub(crate) relay: Option<String>,
    /// How logs are written to stderr
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log: LogFormat,
    /// Log calls too; twice, everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print this machine's endpoint id, to be allowed by the other side
    Id,
    /// Beside a SuperLink: let peers reach it
    Expose(Expose),
    /// Beside SuperNodes and the flwr command: reach a peer's SuperLink
    Join(Join),
    /// Both, any number of peers, from a file
    Run(Run),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Expose {
    /// The SuperLink: HOST:PORT; http:// or grpc:// before it pins its wire [default: look for one on this machine]
    #[arg(long, value_name = "ADDR")]
    pub(crate) superlink: Option<String>,
    /// The upstream of one API, if it is elsewhere: fleet=127.0.0.1:9092
    #[arg(long, value_name = "API=ADDR")]
    pub(crate) upstream: Vec<String>,
    /// Let a peer in: to the Fleet API, or to the APIs named
    #[arg(long, value_name = "ID[=api,api..]")]
    pub(crate) allow: Vec<String>,
    /// Let every peer in, to the Fleet API
    #[arg(long)]
    pub(crate) allow_any: bool,
    /// Write the ticket to a file, too
    #[arg(long, value_name = "F")]
    pub(crate) ticket_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Join {
    /// The other side: its ticket, its endpoint id, a name from the configuration file, or @FILE with a ticket
    #[arg(value_name = "TICKET|ENDPOINT_ID|NAME|@FILE")]
    pub(crate) peer: String,
    /// Where local Flower clients dial
    #[arg(long, value_name = "ADDR", default_value = flower_iroh_funnel::DEFAULT_FLOWER_GRPC_ADDR)]
    pub(crate) listen: String,
    /// The file that NAME is looked up in [default: funnel.toml in the platform's folder for configuration]
    #[arg(long, value_name = "F")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The configuration file
    #[arg(long, value_name = "F")]
    pub(crate) config: PathBuf,
}
