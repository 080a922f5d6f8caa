//! The UDP ports to bind: those of the last run, so that a ticket stays valid after a restart.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use iroh::{
    Endpoint,
    endpoint::{BindOpts, Builder, InvalidSocketAddr},
};
use socket2::{Domain, Protocol, Socket, Type};
use tracing::{info, warn};

use crate::{
    config::FunnelConfig,
    identity::{PortFile, Ports},
};

/// The addresses to bind, with the ports of the last run where they are free.
pub(super) struct Addresses {
    /// The configured address, and that of the other family if every interface is used.
    addrs: Vec<SocketAddr>,
    remembered: Option<(PortFile, Ports)>,
}

impl Addresses {
    /// Chooses them. Ports are remembered if the configuration gives none and the key is in a file.
    pub(super) fn choose(config: &FunnelConfig) -> Self {
        let bind = config.bind_addr;
        let state_path = config.state_path().filter(|_| bind.port() == 0);
        let Some(file) = state_path.as_deref().map(PortFile::of_state) else {
            return Self { addrs: vec![bind], remembered: None };
        };
        let last = file.read();
        let other = match bind.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Some(IpAddr::from(Ipv6Addr::UNSPECIFIED)),
            IpAddr::V6(ip) if ip.is_unspecified() => Some(IpAddr::from(Ipv4Addr::UNSPECIFIED)),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        };
        let mut addrs = vec![bind];
        addrs.extend(other.map(|ip| SocketAddr::new(ip, 0)));
        for addr in &mut addrs {
            let port = if addr.is_ipv4() { last.ipv4 } else { last.ipv6 };
            if port != 0 && is_free(SocketAddr::new(addr.ip(), port)) {
                addr.set_port(port);
            }
        }
        Self { addrs, remembered: Some((file, last)) }
    }

    /// Returns the same addresses with any port: another program may have taken one meanwhile.
    pub(super) fn with_any_port(mut self) -> Option<Self> {
        if self.remembered.is_none() || self.addrs.iter().all(|addr| addr.port() == 0) {
            return None;
        }
        self.addrs.iter_mut().for_each(|addr| addr.set_port(0));
        Some(self)
    }

    /// Adds them to an endpoint's builder. As in iroh's defaults, a machine may be without IPv6.
    pub(super) fn bind(&self, mut builder: Builder) -> Result<Builder, InvalidSocketAddr> {
        for (index, addr) in self.addrs.iter().enumerate() {
            let is_required = index == 0 || addr.is_ipv4();
            builder = builder.bind_addr_with_opts(*addr, BindOpts::default().set_is_required(is_required))?;
        }
        Ok(builder)
    }

    /// Remembers the ports that the endpoint has, and reports those that it could not have again.
    pub(super) fn remember(&self, endpoint: &Endpoint) {
        let Some((file, last)) = &self.remembered else { return };
        let bound = endpoint.bound_sockets();
        let now = Ports::of(&bound, *last);
        for (family, last, now) in [("IPv4", last.ipv4, now.ipv4), ("IPv6", last.ipv6, now.ipv6)] {
            if last != 0 && last != now {
                warn!(
                    "the UDP port of the last run, {last} ({family}), is in use: using {now}; peers without a relay or a \
                     lookup need the new ticket, or set a port with --bind"
                );
            }
        }
        if now == *last {
            return;
        }
        if let Err(error) = file.write(now) {
            info!(
                path = %file.path().display(),
                %error,
                "cannot remember the UDP port: after a restart, peers without a relay or a lookup need a new ticket"
            );
        }
    }
}

/// Returns whether a UDP port is free. iroh's sockets share none, and its IPv6 sockets do not take IPv4.
fn is_free(addr: SocketAddr) -> bool {
    let bind = || -> io::Result<()> {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&addr.into())
    };
    bind().is_ok()
}

#[cfg(test)]
mod tests {
    use std::{fs, net::UdpSocket};

    use super::*;

    fn config(bind: &str, key_file: Option<&std::path::Path>) -> FunnelConfig {
        let mut config = FunnelConfig::builder().bind_addr(bind.parse().unwrap());
        if let Some(key_file) = key_file {
            config = config.key_file(key_file);
        }
        config.build().unwrap()
    }

    fn chosen(config: &FunnelConfig) -> Vec<String> {
        Addresses::choose(config).addrs.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_last_ports_are_chosen_if_they_are_free_and_none_is_set() {
        let folder = tempfile::tempdir().unwrap();
        let key_file = folder.path().join("secret.key");
        fs::write(&key_file, "key").unwrap();
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let write = |ipv4| PortFile::of_state(&key_file).write(Ports { ipv4, ipv6: 0 }).unwrap();
        write(free);
        assert_eq!(chosen(&config("127.0.0.1:0", Some(&key_file))), [format!("127.0.0.1:{free}")]);
        assert_eq!(chosen(&config("0.0.0.0:0", Some(&key_file))), [format!("0.0.0.0:{free}"), "[::]:0".to_owned()]);
        assert_eq!(chosen(&config("[::]:0", Some(&key_file))), ["[::]:0".to_owned(), format!("0.0.0.0:{free}")]);
        assert_eq!(chosen(&config("127.0.0.1:9", Some(&key_file))), ["127.0.0.1:9"], "a port that is set");
        assert_eq!(chosen(&config("127.0.0.1:0", None)), ["127.0.0.1:0"], "a key for one run");
        write(taken.local_addr().unwrap().port());
        assert_eq!(chosen(&config("127.0.0.1:0", Some(&key_file))), ["127.0.0.1:0"]);
    }
}
