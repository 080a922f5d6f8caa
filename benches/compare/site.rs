//! Where a measurement takes place: loopback, or an emulated link.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command},
};

use crate::{
    failure::{Context, Failure},
    link::Conditions,
};

/// The name of the site that is no link.
pub(crate) const LOOPBACK: &str = "loopback";
const CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
/// How often a link is measured before a run is given up: a busy machine can delay probes.
const ASSERTIONS: usize = 3;

/// One place of measurement with its two hosts.
#[derive(Debug)]
pub(crate) struct Site {
    /// As results name it.
    pub(crate) name: String,
    /// What lies between the hosts; nothing on loopback.
    link: Option<lab::Link>,
    far: Host,
    near: Host,
}

impl Site {
    /// Both ends on the loopback interface.
    pub(crate) fn loopback() -> Self {
        Self { name: LOOPBACK.to_owned(), link: None, far: Host::Here, near: Host::Here }
    }

    /// Both ends of an emulated link.
    pub(crate) fn link(conditions: Conditions) -> Result<Self, Failure> {
        lab::available()?;
        let link = lab::Link::new(conditions.into()).context(format_args!("link {conditions}"))?;
        let (near, far) = (Host::Lab(link.left().clone()), Host::Lab(link.right().clone()));
        Ok(Self { name: conditions.to_string(), link: Some(link), far, near })
    }

    /// Whether it is an emulated link.
    pub(crate) fn is_link(&self) -> bool {
        self.link.is_some()
    }

    /// Refuses a link that is not what was asked for. Returns what was measured, nothing on loopback.
    pub(crate) fn assert_as_asked(&self) -> Result<Option<String>, Failure> {
        let Some(link) = &self.link else { return Ok(None) };
        let mut asserted = link.assert_as_asked();
        for _ in 1..ASSERTIONS {
            if let Err(mismatch) = asserted {
                eprintln!("{mismatch}");
                asserted = link.assert_as_asked();
            }
        }
        Ok(Some(asserted?.to_string()))
    }

    /// Where servers and the far ends of tunnels run.
    pub(crate) fn far(&self) -> &Host {
        &self.far
    }

    /// Where clients and the near ends run.
    pub(crate) fn near(&self) -> &Host {
        &self.near
    }
}

/// One end.
#[derive(Clone, Debug)]
pub(crate) enum Host {
    /// This machine, over loopback.
    Here,
    /// An end of an emulated link.
    Lab(lab::Host),
}

impl Host {
    /// The address that the other end reaches.
    pub(crate) fn addr(&self) -> IpAddr {
        match self {
            Self::Here => Ipv4Addr::LOCALHOST.into(),
            Self::Lab(host) => host.addr(),
        }
    }

    /// Starts a process here.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        match self {
            Self::Here => command.spawn(),
            Self::Lab(host) => host.spawn(command),
        }
    }

    /// An address on `ip` that nobody listens on now.
    pub(crate) fn free_addr(&self, ip: IpAddr) -> Result<SocketAddr, Failure> {
        let addr = self.run(|| TcpListener::bind((ip, 0)).and_then(|listener| listener.local_addr()));
        addr.context(format_args!("a free port of {ip}"))
    }

    /// What controls TCP connections that do not choose.
    pub(crate) fn congestion_control(&self) -> String {
        self.run(|| fs::read_to_string(CONGESTION_CONTROL)).unwrap_or_default().trim().to_owned()
    }

    fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match self {
            Self::Here => work(),
            Self::Lab(host) => host.run(work),
        }
    }
}
