//! One party's network: a host, and the routers between it and the internet.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicU32, Ordering},
};

use patchbay::{Device, Lab, Router};
use tokio::process::Command;

use super::facts::{Facts, Filtering, Mapping};

/// What stands between a host and the internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nat {
    /// The host has a public address.
    None,
    /// One outside address for a socket, open to everyone.
    FullCone,
    /// One outside address for a socket, open to whom the socket has sent to: a home router.
    PortRestricted,
    /// An outside address for each peer, open to that peer: a company's firewall.
    Symmetric,
    /// A home router that lets no UDP out.
    UdpBlocked,
    /// A home router behind a carrier's NAT.
    Carrier,
}

impl Nat {
    /// What a host behind it finds out about it.
    pub(crate) fn facts(self) -> Facts {
        let (mapping, filtering) = match self {
            Self::None => (Mapping::Public, Filtering::Open),
            Self::FullCone => (Mapping::SameForAll, Filtering::Open),
            Self::PortRestricted | Self::Carrier => (Mapping::SameForAll, Filtering::Contacted),
            Self::Symmetric => (Mapping::PerPeer, Filtering::Contacted),
            Self::UdpBlocked => return Facts::UdpBlocked,
        };
        Facts::Udp { mapping, filtering }
    }

    fn home(self) -> patchbay::Nat {
        match self {
            Self::None => patchbay::Nat::None,
            Self::FullCone => patchbay::Nat::Open,
            Self::PortRestricted | Self::UdpBlocked | Self::Carrier => patchbay::Nat::Moderate,
            Self::Symmetric => patchbay::Nat::Strict,
        }
    }
}

/// A host and its network.
pub(crate) struct Site {
    pub(crate) nat: Nat,
    pub(crate) host: Device,
    /// The one that the host is connected to.
    pub(crate) router: Router,
}

impl Site {
    pub(crate) async fn new(lab: &Lab, nat: Nat) -> Self {
        let router = router(lab, nat).await;
        let host = lab.add_device(&name("host")).iface("eth0", router.id()).build().await.unwrap();
        Self { nat, host, router }
    }

    /// From where its packets come outside.
    pub(crate) fn outside(&self) -> Ipv4Addr {
        self.router.uplink_ip().unwrap()
    }

    /// Drops all UDP between this site and the other: what is left is TCP, to the relay.
    pub(crate) async fn cut_off(&self, other: &Site) {
        let other = other.outside();
        let rules = format!(
            "add table ip cut; add chain ip cut forward {{ type filter hook forward priority 20; }}; \
             add rule ip cut forward ip daddr {other} meta l4proto udp drop; \
             add rule ip cut forward ip saddr {other} meta l4proto udp drop"
        );
        self.nft(&rules).await;
    }

    /// Ends what [`cut_off`](Self::cut_off) began.
    pub(crate) async fn rejoin(&self) {
        self.nft("delete table ip cut").await;
    }

    async fn nft(&self, rules: &str) {
        let mut command = Command::new("nft");
        command.arg(rules);
        let status = self.router.spawn_command(command).unwrap().wait().await.unwrap();
        assert!(status.success(), "nft {rules:?}: {status}");
    }

    /// Moves the host to another site's network, where it has another address.
    pub(crate) async fn move_to(&self, other: &Site) {
        let before = self.host.ip();
        self.host.iface("eth0").unwrap().replug(other.router.id()).await.unwrap();
        assert_ne!(self.host.ip(), before);
    }
}

/// A router that behaves so, and those beyond it.
async fn router(lab: &Lab, nat: Nat) -> Router {
    let mut home = lab.add_router(&name("router")).nat(nat.home());
    if nat == Nat::UdpBlocked {
        home = home.firewall_custom(|rules| rules.block_inbound().block_udp());
    }
    if nat == Nat::Carrier {
        let carrier = lab.add_router(&name("carrier")).nat(patchbay::Nat::Moderate).build().await.unwrap();
        home = home.upstream(carrier.id());
    }
    home.build().await.unwrap()
}

/// Names are a lab's only once.
fn name(role: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{role}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
