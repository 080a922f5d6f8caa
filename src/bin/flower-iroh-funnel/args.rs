//! The command line. Values stay text here, so that all mistakes in them are reported together.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
};

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
    /// A relay for peers without a direct path: default, off, or one's own, with its token; may be repeated [default:
    /// default]
    #[arg(long, global = true, value_name = "default|off|URL[,@FILE|,TOKEN]")]
    pub(crate) relay: Vec<String>,
    /// Who is asked where a peer is; may be repeated [default: n0 with n0's relays, else off]
    #[arg(long, global = true, value_name = "off|n0|mdns|dns:ORIGIN[@NAMESERVER]|pkarr:URL")]
    pub(crate) lookup: Vec<String>,
    /// Where it is published where this funnel is: its relay's URL, with ,addresses after it its direct addresses too; may be
    /// repeated [default: n0 for expose with n0's relays and no --lookup, else off]
    #[arg(long, global = true, value_name = "off|n0|mdns|pkarr:URL[,addresses]")]
    pub(crate) publish: Vec<String>,
    /// Who vouches for relays and pkarr servers of one's own, if no public authority does: a PEM file
    #[arg(long, global = true, value_name = "F")]
    pub(crate) relay_ca: Vec<PathBuf>,
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
    Id(Id),
    /// Beside a SuperLink: let peers reach it
    Expose(Expose),
    /// Beside SuperNodes and the flwr command: reach a peer's SuperLink
    Join(Join),
    /// Both, any number of peers, from a file
    Run(Run),
    /// Beside a SuperLink: invite a peer, which is let in when it joins with the invitation
    Invite(Invite),
    /// Beside a SuperLink: who is let in; lists, allows, denies, renames, removes
    Peers(Peers),
    /// A relay of one's own, for peers without a direct path
    Relay(Relay),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Id {
    #[command(flatten)]
    pub(crate) configuration: Configuration,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Expose {
    /// The SuperLink: HOST:PORT; http:// or grpc:// before it pins its wire, https:// or grpcs:// with TLS [default: look
    /// for one on this machine]
    #[arg(long, value_name = "ADDR")]
    pub(crate) superlink: Option<String>,
    /// The CA (PEM) of a SuperLink with TLS: its --ssl-ca-certfile
    #[arg(long, value_name = "F")]
    pub(crate) superlink_ca: Option<PathBuf>,
    /// The upstream of one API, if it is elsewhere: fleet=127.0.0.1:9092
    #[arg(long, value_name = "API=ADDR")]
    pub(crate) upstream: Vec<String>,
    /// Let a peer in: to the Fleet API, or to the APIs named
    #[arg(long, value_name = "ID[=api,api..]")]
    pub(crate) allow: Vec<String>,
    /// Where the bytes of peers go that may pass them through (--allow ID=passthrough): a SuperLink with TLS, and every
    /// API that it serves there
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) passthrough: Option<String>,
    /// Let every peer in, to the Fleet API
    #[arg(long)]
    pub(crate) allow_any: bool,
    /// Write the ticket to a file, too
    #[arg(long, value_name = "F")]
    pub(crate) ticket_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) roster: Roster,
    /// Who was let in to what, and who was not, as JSON lines [default: audit.jsonl beside the key file]
    #[arg(long, value_name = "F|off")]
    pub(crate) audit_log: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Roster {
    /// The roster: peers and open invitations [default: peers.toml beside the key file]
    #[arg(long = "roster", global = true, value_name = "F")]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Configuration {
    /// The configuration file of the funnel that this is about, for its key file and roster
    #[arg(long = "config", global = true, value_name = "F")]
    pub(crate) path: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Invite {
    /// What the peer will be called here
    pub(crate) name: String,
    /// What it will be allowed to call
    #[arg(long, value_name = "api,api..", value_delimiter = ',', default_value = "fleet")]
    pub(crate) apis: Vec<String>,
    /// How many peers may use the invitation
    #[arg(long, value_name = "N", default_value_t = NonZeroU32::MIN)]
    pub(crate) uses: NonZeroU32,
    /// How long it may be used
    #[arg(long, value_name = "N", default_value_t = 24)]
    pub(crate) hours: u32,
    #[command(flatten)]
    pub(crate) configuration: Configuration,
    #[command(flatten)]
    pub(crate) roster: Roster,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Peers {
    #[command(subcommand)]
    pub(crate) action: Option<PeersAction>,
    #[command(flatten)]
    pub(crate) configuration: Configuration,
    #[command(flatten)]
    pub(crate) roster: Roster,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PeersAction {
    /// Print the roster, when each peer was last seen, by which path, and its traffic
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Let a peer in to exactly these APIs
    Allow {
        /// Its endpoint id, or its name here
        #[arg(value_name = "ID|NAME")]
        peer: String,
        /// What it is called here
        #[arg(long)]
        name: Option<String>,
        /// What it may call
        #[arg(long, value_name = "api,api..", value_delimiter = ',', default_value = "fleet")]
        apis: Vec<String>,
    },
    /// Shut a peer out at once, whatever else lets it in
    Deny {
        /// Its endpoint id, or its name here
        #[arg(value_name = "ID|NAME")]
        peer: String,
    },
    /// Give a peer another name
    Rename {
        /// Its endpoint id, or its name here
        #[arg(value_name = "ID|NAME")]
        peer: String,
        /// The new name
        name: String,
    },
    /// Take a peer off the roster at once, or withdraw an invitation
    Remove {
        /// Its endpoint id, or its name here, or the invitation's
        #[arg(value_name = "ID|NAME")]
        peer: String,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Join {
    /// The other side: its invitation, ticket or endpoint id, a name from the configuration file or the roster, or @FILE with
    /// one of the first three
    #[arg(value_name = "INVITATION|TICKET|ENDPOINT_ID|NAME|@FILE")]
    pub(crate) peer: String,
    /// Where local Flower clients dial
    #[arg(long, value_name = "ADDR", default_value = flower_iroh_funnel::DEFAULT_FLOWER_GRPC_ADDR)]
    pub(crate) listen: String,
    /// Speak TLS with local Flower clients, by a certificate that is made and kept beside the key
    #[arg(long)]
    pub(crate) tls: bool,
    /// Carry bytes that only the SuperLink can read, for TLS from end to end; the other side has to grant it
    #[arg(long, conflicts_with = "tls")]
    pub(crate) passthrough: bool,
    /// The file that NAME is looked up in [default: funnel.toml in the platform's folder for configuration]
    #[arg(long, value_name = "F")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) roster: Roster,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The configuration file
    #[arg(long, value_name = "F")]
    pub(crate) config: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("transport").required(true).args(["tls_cert", "tls_local", "http"]))]
pub(crate) struct Relay {
    /// The TCP address for funnels [default: 0.0.0.0:443, with --http 0.0.0.0:80]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// The name or address by which funnels know this relay [default: the address it listens on]
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Its certificate chain, a PEM file
    #[arg(long, value_name = "F", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The key of its certificate, a PEM file
    #[arg(long, value_name = "F", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// A certificate of a local CA, made if it is missing, for this name or address; funnels need the CA: --relay-ca
    #[arg(long, value_name = "HOST")]
    pub(crate) tls_local: Option<String>,
    /// No TLS: for a trusted network
    #[arg(long)]
    pub(crate) http: bool,
    /// The UDP port by which funnels learn their public address; they look for it at the default
    #[arg(long, value_name = "PORT", default_value_t = flower_iroh_funnel::relay::DEFAULT_QUIC_PORT)]
    pub(crate) quic_port: u16,
    /// Let in who has the token in this file; others than its owner must not be able to read it
    #[arg(long, value_name = "F", conflicts_with = "token")]
    pub(crate) token_file: Option<PathBuf>,
    /// Let in who has this token; every user of this machine can see it here
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// Let a peer in by its id
    #[arg(long, value_name = "ID")]
    pub(crate) allow: Vec<String>,
    /// Let in whom this roster lets in, and follow it
    #[arg(long = "roster", value_name = "F")]
    pub(crate) roster: Option<PathBuf>,
    /// Let everybody in
    #[arg(long)]
    pub(crate) open: bool,
    /// The most connections of funnels at once [default: 1024]
    #[arg(long, value_name = "N")]
    pub(crate) max_clients: Option<NonZeroUsize>,
    /// The most that one funnel may send, in MiB a second [default: as much as it can]
    #[arg(long, value_name = "MIB")]
    pub(crate) client_rate: Option<f64>,
    /// Serve metrics for Prometheus: PORT on this machine, or ADDR:PORT
    #[arg(long, value_name = "PORT|ADDR")]
    pub(crate) metrics: Option<String>,
}
