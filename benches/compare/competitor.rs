//! Who is compared.

mod connector;
mod dumbpipe;
mod funnel;
mod raw;
mod ssh;
mod tcp;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::{failure::Failure, rig::Rig, target::Target};

pub(crate) use self::dumbpipe::VERSION as DUMBPIPE_VERSION;

/// A way from a client to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Competitor {
    /// The bench's own protocol on raw iroh streams, iroh's default settings.
    Raw,
    /// gRPC over TCP, with the machine's own congestion control.
    Tcp,
    /// The same with Cubic, on emulated links.
    TcpCubic,
    /// The same with BBR, on emulated links.
    TcpBbr,
    /// gRPC over this project's connector.
    Connector,
    /// The same with Cubic on every path.
    ConnectorCubic,
    /// The same with BBR3 on every path.
    ConnectorBbr3,
    /// gRPC through a pair of funnels.
    Funnel,
    /// gRPC through dumbpipe.
    Dumbpipe,
    /// gRPC through `ssh -L`.
    Ssh,
    /// The same, marked as interactive.
    SshQos,
}

impl Competitor {
    /// As options and results name it.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether each new client gets a new connection all the way, so that the processes serve any number of cold
    /// clients.
    pub(crate) fn is_new_for_each_client(self) -> bool {
        !matches!(self, Self::Funnel | Self::Ssh | Self::SshQos)
    }

    /// The congestion control that its client and server choose, of their TCP sockets or of QUIC.
    pub(crate) fn congestion_control(self) -> Option<&'static str> {
        match self {
            Self::TcpCubic | Self::ConnectorCubic => Some("cubic"),
            Self::TcpBbr => Some("bbr"),
            Self::ConnectorBbr3 => Some("bbr3"),
            _ => None,
        }
    }

    /// All that are measured at a place unless others are named: over an emulated link, TCP stands there with both
    /// congestion controls.
    pub(crate) fn all(is_link: bool) -> Vec<Self> {
        let fits = |competitor: &Self| match competitor {
            Self::Tcp => !is_link,
            Self::TcpCubic | Self::TcpBbr => is_link,
            Self::ConnectorCubic | Self::ConnectorBbr3 => false,
            _ => true,
        };
        Self::value_variants().iter().copied().filter(fits).collect()
    }

    /// Installs what is missing, before anything is measured.
    pub(crate) fn prepare(self) -> Result<(), Failure> {
        match self {
            Self::Dumbpipe => dumbpipe::install(),
            Self::Ssh | Self::SshQos => ssh::check(),
            _ => Ok(()),
        }
    }

    /// Starts the server and the far end of the tunnel. Returns how the near end finds it.
    pub(crate) fn serve(self, rig: &mut Rig) -> Result<String, Failure> {
        match self {
            Self::Raw => raw::serve(rig),
            Self::Tcp | Self::TcpCubic | Self::TcpBbr => tcp::serve(rig),
            Self::Connector | Self::ConnectorCubic | Self::ConnectorBbr3 => connector::serve(rig),
            Self::Funnel => funnel::serve(rig),
            Self::Dumbpipe => dumbpipe::serve(rig),
            Self::Ssh | Self::SshQos => ssh::serve(rig, self == Self::SshQos),
        }
    }

    /// Starts the near end of the tunnel, if there is one. Returns what a client dials.
    pub(crate) fn join(self, rig: &mut Rig, far: &str) -> Result<Target, Failure> {
        let chosen = self.congestion_control().map(str::to_owned);
        match self {
            Self::Raw => Ok(Target::Raw(far.to_owned())),
            Self::Tcp | Self::TcpCubic | Self::TcpBbr => Ok(Target::Tcp(far.parse()?, chosen)),
            Self::Connector | Self::ConnectorCubic | Self::ConnectorBbr3 => Ok(Target::Iroh(far.to_owned(), chosen)),
            Self::Funnel => funnel::join(rig, far),
            Self::Dumbpipe => dumbpipe::join(rig, far),
            Self::Ssh | Self::SshQos => ssh::join(rig, far, self == Self::SshQos),
        }
    }
}
