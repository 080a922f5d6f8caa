//! The command line. Values stay text here so that all mistakes in them are reported together.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use clap::{
    Parser, Subcommand, ValueEnum,
    builder::{PathBufValueParser, TypedValueParser},
};
use flower_iroh_funnel::identity::expand_home;

use crate::numbers;

/// Connects Flower SuperNodes to a SuperLink across NAT, without open ports.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Parses a path, which may begin with `~/`: shells leave that in `--option=~/file`.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().map(expand_home)
}

#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// File with this funnel's secret key, created if missing [default: secret.key in the platform's data directory]
    #[arg(long, global = true, value_name = "F", value_parser = path())]
    pub(crate) key_file: Option<PathBuf>,
    /// Folder for what is kept beside the key file otherwise: locks, control socket, certificate, and by default roster and
    /// audit log [default: the key file's folder]
    #[arg(long, global = true, value_name = "DIR", value_parser = path())]
    pub(crate) state_dir: Option<PathBuf>,
    /// UDP address to bind for connections between peers [default: every interface, any port]
    #[arg(long, global = true, value_name = "ADDR")]
    pub(crate) bind: Option<String>,
    /// Relay for peers without a direct path: default, off, or the URL of your own relay with its token; may be
    /// repeated [default: default]
    #[arg(long, global = true, value_name = "default|off|URL[,@FILE|,TOKEN]")]
    pub(crate) relay: Vec<String>,
    /// Also dial peers' relays without TLS: a ticket could then send a request to any host and port [default: only https
    /// relays, and those in --relay]
    #[arg(long, global = true)]
    pub(crate) allow_http_relay: bool,
    /// Address lookup services; may be repeated [default: n0 with n0's relays, otherwise off]
    #[arg(long, global = true, value_name = "off|n0|mdns|dns:ORIGIN[@NAMESERVER]|pkarr:URL")]
    pub(crate) lookup: Vec<String>,
    /// Where to publish this funnel's address: its relay URL, and with ,addresses its direct addresses too; may be
    /// repeated [default: n0 for expose with n0's relays and no --lookup, otherwise off]
    #[arg(long, global = true, value_name = "off|n0|mdns|pkarr:URL[,addresses]")]
    pub(crate) publish: Vec<String>,
    /// CA certificate (PEM) for your own relays and pkarr servers, if no public CA signed theirs; may be repeated
    #[arg(long, global = true, value_name = "F", value_parser = path())]
    pub(crate) relay_ca: Vec<PathBuf>,
    /// Log format on stderr
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log: LogFormat,
    /// Log each call; repeat for more detail
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
    /// Print this funnel's endpoint id, for the other side to allow
    Id(Id),
    /// Expose a SuperLink to admitted peers
    Expose(Expose),
    /// Connect local SuperNodes and the flwr command to a peer's SuperLink
    Join(Join),
    /// Run both roles, with any number of peers, from a configuration file
    Run(Run),
    /// Create an invitation: the peer that joins with it is admitted
    Invite(Invite),
    /// List, allow, deny, rename or remove peers
    Peers(Peers),
    /// Run a relay for peers without a direct path
    Relay(Relay),
}

impl Command {
    /// Returns whether it runs until it is stopped.
    pub(crate) fn serves(&self) -> bool {
        match self {
            Self::Expose(_) | Self::Join(_) | Self::Run(_) | Self::Relay(_) => true,
            Self::Id(_) | Self::Invite(_) | Self::Peers(_) => false,
        }
    }

    /// Returns whether it judges or sets times by the clock.
    pub(crate) fn needs_clock(&self) -> bool {
        self.serves() || matches!(self, Self::Invite(_))
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Id {
    #[command(flatten)]
    pub(crate) configuration: Configuration,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Expose {
    /// SuperLink address, HOST:PORT; http:// or grpc:// pins its protocol, https:// or grpcs:// adds TLS [default: look
    /// for one on this machine]
    #[arg(long, value_name = "ADDR")]
    pub(crate) superlink: Option<String>,
    /// CA certificate (PEM) of a SuperLink with TLS: its --ssl-ca-certfile
    #[arg(long, value_name = "F", value_parser = path())]
    pub(crate) superlink_ca: Option<PathBuf>,
    /// Upstream address of a single API, such as fleet=127.0.0.1:9092; may be repeated
    #[arg(long, value_name = "API=ADDR")]
    pub(crate) upstream: Vec<String>,
    /// Admit a peer, to the Fleet API or to the listed APIs; may be repeated
    #[arg(long, value_name = "ID[=api,api..]")]
    pub(crate) allow: Vec<String>,
    /// Target for pass-through connections of peers with --allow ID=passthrough: a SuperLink with TLS; such a peer
    /// reaches every API served there
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) passthrough: Option<String>,
    /// Admit every peer, to the Fleet API
    #[arg(long)]
    pub(crate) allow_any: bool,
    /// Also write the ticket to this file
    #[arg(long, value_name = "F", value_parser = path())]
    pub(crate) ticket_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) roster: Roster,
    /// Audit log, as JSON lines: what each peer was allowed or denied [default: audit.jsonl beside the key file]
    #[arg(long, value_name = "F|off", value_parser = path())]
    pub(crate) audit_log: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Roster {
    /// Roster file: peers and open invitations [default: peers.toml beside the key file]
    #[arg(long = "roster", global = true, value_name = "F", value_parser = path())]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Configuration {
    /// Configuration file of the funnel to manage: names its key file and roster
    #[arg(long = "config", global = true, value_name = "F", value_parser = path())]
    pub(crate) path: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Invite {
    /// Name for the peer in this roster
    pub(crate) name: String,
    /// APIs that the peer may call
    #[arg(long, value_name = "api,api..", value_delimiter = ',', default_value = "fleet")]
    pub(crate) apis: Vec<String>,
    /// Number of peers that may use the invitation
    #[arg(long, value_name = "N", default_value = "1", value_parser = numbers::uses, allow_negative_numbers = true)]
    pub(crate) uses: NonZeroU32,
    /// Hours until the invitation expires
    #[arg(long, value_name = "N", default_value = "24", value_parser = numbers::hours, allow_negative_numbers = true)]
    pub(crate) hours: Duration,
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
    /// Print the roster with each peer's last contact, path and traffic
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Admit a peer to exactly these APIs
    Allow {
        /// The peer's endpoint id or roster name
        #[arg(value_name = "ID|NAME")]
        peer: String,
        /// Name for the peer in this roster
        #[arg(long)]
        name: Option<String>,
        /// APIs that the peer may call
        #[arg(long, value_name = "api,api..", value_delimiter = ',', default_value = "fleet")]
        apis: Vec<String>,
    },
    /// Deny a peer and close its links; overrides everything that would admit it
    Deny {
        /// The peer's endpoint id or roster name
        #[arg(value_name = "ID|NAME")]
        peer: String,
    },
    /// Rename a peer
    Rename {
        /// The peer's endpoint id or roster name
        #[arg(value_name = "ID|NAME")]
        peer: String,
        /// The new name
        name: String,
    },
    /// Remove a peer from the roster, or revoke an invitation
    Remove {
        /// The peer's endpoint id or roster name, or the name of an invitation
        #[arg(value_name = "ID|NAME")]
        peer: String,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Join {
    /// The peer: - to paste or pipe an invitation or a ticket; or @FILE with one of them, which is waited for; or the
    /// invitation, the ticket, an endpoint id, or a name from the configuration file or the roster
    #[arg(value_name = "-|@FILE|INVITATION|TICKET|ENDPOINT_ID|NAME", required = true)]
    pub(crate) peer: Vec<String>,
    /// TCP address for local Flower clients
    #[arg(long, value_name = "ADDR", default_value = flower_iroh_funnel::DEFAULT_FLOWER_GRPC_ADDR)]
    pub(crate) listen: String,
    /// Name by which Flower clients dial this funnel, besides IP addresses, localhost and names without a dot; may be
    /// repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) listen_name: Vec<String>,
    /// Serve TLS to local Flower clients, with a certificate created beside the key file
    #[arg(long)]
    pub(crate) tls: bool,
    /// Pass bytes through unread, for TLS from Flower to Flower; the other side must grant it
    #[arg(long, conflicts_with = "tls")]
    pub(crate) passthrough: bool,
    /// Configuration file to look NAME up in [default: funnel.toml in the platform's configuration directory]
    #[arg(long, value_name = "F", value_parser = path())]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) roster: Roster,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// Configuration file
    #[arg(long, value_name = "F", value_parser = path())]
    pub(crate) config: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("transport").required(true).args(["tls_cert", "tls_local", "http"]))]
pub(crate) struct Relay {
    /// TCP address to listen on [default: 0.0.0.0:443, with --http 0.0.0.0:80]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// Host name or address in this relay's URL [default: the listen address]
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Certificate chain (PEM)
    #[arg(long, value_name = "F", requires = "tls_key", value_parser = path())]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Private key of the certificate (PEM)
    #[arg(long, value_name = "F", requires = "tls_cert", value_parser = path())]
    pub(crate) tls_key: Option<PathBuf>,
    /// Use a certificate from a local CA for this name or address, created if missing; funnels need --relay-ca
    #[arg(long, value_name = "HOST")]
    pub(crate) tls_local: Option<String>,
    /// Serve without TLS, for trusted networks
    #[arg(long)]
    pub(crate) http: bool,
    /// UDP port for QUIC address discovery; funnels expect the default
    #[arg(long, value_name = "PORT", default_value_t = flower_iroh_funnel::relay::DEFAULT_QUIC_PORT)]
    pub(crate) quic_port: u16,
    /// Admit clients with the token in this file, which only its owner may be able to read
    #[arg(long, value_name = "F", conflicts_with = "token", value_parser = path())]
    pub(crate) token_file: Option<PathBuf>,
    /// Admit clients with this token; every user of this machine can see it here
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// Admit a client by its endpoint id; may be repeated
    #[arg(long, value_name = "ID")]
    pub(crate) allow: Vec<String>,
    /// Admit the peers that this roster allows, and follow its changes
    #[arg(long = "roster", value_name = "F", value_parser = path())]
    pub(crate) roster: Option<PathBuf>,
    /// Admit every client
    #[arg(long)]
    pub(crate) open: bool,
    /// Maximum number of client connections [default: 1024]
    #[arg(long, value_name = "N", value_parser = numbers::clients, allow_negative_numbers = true)]
    pub(crate) max_clients: Option<NonZeroUsize>,
    /// Maximum send rate of one client, in MiB/s [default: unlimited]
    #[arg(long, value_name = "MIB", value_parser = numbers::rate, allow_negative_numbers = true)]
    pub(crate) client_rate: Option<NonZeroU32>,
    /// Proxies in front of this relay whose connections begin with a PROXY protocol header (v1 or v2): limits then
    /// apply to the client's address; may be repeated
    #[arg(long, value_name = "ADDR|NET[,..]")]
    pub(crate) proxy_protocol: Vec<String>,
    /// HTTP proxies in front of this relay whose X-Forwarded-For gives the client's address; may be repeated
    #[arg(long, value_name = "ADDR|NET[,..]")]
    pub(crate) trust_forwarded: Vec<String>,
    /// Serve Prometheus metrics on this address, or on this port of 127.0.0.1
    #[arg(long, value_name = "[ADDR:]PORT")]
    pub(crate) metrics: Option<String>,
}
