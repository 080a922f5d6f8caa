//! The lab: an internet with two public hosts, which run relays, and sites that come and go.

use std::net::{SocketAddr, TcpListener};

use patchbay::{Device, Lab};

use super::{
    relay::{Authority, Relay},
    site::{Nat, Site},
};
use crate::namespaces::available;
pub(crate) use crate::namespaces::on;

/// Network namespaces, which end with it, however the test ends.
pub(crate) struct Internet {
    _lab: Lab,
    /// Hosts that everyone reaches and who filter nothing.
    pub(crate) hosts: [Device; 2],
    /// Issues the certificates of all relays.
    pub(crate) authority: Authority,
}

impl Internet {
    /// Sites that behave as asked, which they are asked before anything else. `None` where there are no network namespaces.
    ///
    /// All at once: a site that comes later may take its neighbours' packets for a while, since it may change the address
    /// of the bridge between them.
    pub(crate) async fn with_sites<const N: usize>(nats: [Nat; N]) -> Option<(Self, [Site; N])> {
        if !available() {
            return None;
        }
        let lab = Lab::builder().allow_real_root().build().await.unwrap();
        let exchange = lab.add_router("exchange").build().await.unwrap();
        let host = async |name| lab.add_device(name).iface("eth0", exchange.id()).build().await.unwrap();
        let hosts = [host("host-a").await, host("host-b").await];
        let authority = Authority::new(hosts.iter().map(|host| host.ip().unwrap().into()));
        let mut sites = Vec::new();
        for nat in nats {
            sites.push(Site::new(&lab, nat).await);
        }
        let internet = Self { _lab: lab, hosts, authority };
        for site in &sites {
            assert_eq!(internet.facts(&site.host).await, site.nat.facts(), "the lab is not as asked: {:?}", site.nat);
        }
        Some((internet, sites.try_into().unwrap_or_else(|_| unreachable!("there is a site for each NAT"))))
    }

    /// A relay on each of the public hosts.
    pub(crate) async fn relays(&self) -> [Relay; 2] {
        let [first, second] = &self.hosts;
        [Relay::start(first, &self.authority).await, Relay::start(second, &self.authority).await]
    }
}

/// A TCP listener of a host, for the test itself.
pub(crate) fn listen(host: &Device) -> (tokio::net::TcpListener, SocketAddr) {
    let listener = host.run_sync(|| Ok(TcpListener::bind("0.0.0.0:0")?)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = (host.ip().unwrap(), listener.local_addr().unwrap().port()).into();
    (tokio::net::TcpListener::from_std(listener).unwrap(), addr)
}
