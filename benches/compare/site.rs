//! Where a measurement takes place: loopback, or an emulated link.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command},
    str::FromStr,
};

use crate::failure::{Context, Failure};

/// What `--links` may say.
#[derive(Clone, Debug)]
pub(crate) enum Links {
    /// This machine alone.
    Loopback,
}

impl FromStr for Links {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "loopback" => Ok(Self::Loopback),
            _ => Err("write loopback".to_owned()),
        }
    }
}

/// One place of measurement with its two hosts.
#[derive(Debug)]
pub(crate) struct Site {
    /// As results name it.
    pub(crate) name: String,
    far: Host,
    near: Host,
}

impl Site {
    /// Both ends on the loopback interface.
    pub(crate) fn loopback() -> Self {
        Self { name: "loopback".to_owned(), far: Host, near: Host }
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
pub(crate) struct Host;

impl Host {
    /// The address that the other end reaches.
    pub(crate) fn addr(&self) -> IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }

    /// Starts a process here.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        command.spawn()
    }

    /// An address on `ip` that nobody listens on now.
    pub(crate) fn free_addr(&self, ip: IpAddr) -> Result<SocketAddr, Failure> {
        let addr = TcpListener::bind((ip, 0)).and_then(|listener| listener.local_addr());
        addr.context(format_args!("a free port of {ip}"))
    }
}
