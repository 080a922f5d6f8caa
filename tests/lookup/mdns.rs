//! Found by multicast on a local network, between two hosts in network namespaces. Needs root on Linux.
#![cfg(target_os = "linux")]

use flower_iroh_funnel::{
    Api, FunnelConfig, FunnelConfigBuilder, PeerConfig, SecretKey,
    address_lookup::{Lookup, Publication, PublishTarget},
};
use http_body_util::BodyExt;
use patchbay::{Device, Lab};
use tokio::{net::UdpSocket, process::Command};

use crate::{
    namespaces::{available, on},
    support::{LocalClient, Running, Upstream, guarded, http_call},
};

/// Two hosts on one bridge, which end with it.
struct Lan {
    _lab: Lab,
    hosts: [Device; 2],
}

impl Lan {
    /// `None` where there are no network namespaces.
    async fn new() -> Option<Self> {
        if !available() {
            return None;
        }
        let lab = Lab::builder().allow_real_root().build().await.unwrap();
        let router = lab.add_router("router").build().await.unwrap();
        let host = async |name| lab.add_device(name).iface("eth0", router.id()).build().await.unwrap();
        let hosts = [host("superlink").await, host("supernode").await];
        Some(Self { _lab: lab, hosts })
    }
}

/// What leaves the host and is no neighbour's talk: TCP and UDP.
struct Outgoing<'a>(&'a Device);

impl<'a> Outgoing<'a> {
    async fn of(host: &'a Device) -> Self {
        let this = Self(host);
        let rules = "add table inet out; add chain inet out output { type filter hook output priority 0; }; \
                     add rule inet out output oifname != lo meta l4proto { tcp, udp } counter";
        this.nft(&[rules]).await;
        this
    }

    async fn packets(&self) -> u64 {
        let chain = self.nft(&["list", "chain", "inet", "out", "output"]).await;
        let count = chain.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
        count.unwrap().parse().unwrap()
    }

    async fn nft(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("nft");
        command.args(arguments).stdout(std::process::Stdio::piped());
        let output = self.0.spawn_command(command).unwrap().wait_with_output().await.unwrap();
        assert!(output.status.success(), "nft {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

fn config() -> FunnelConfigBuilder {
    FunnelConfig::builder().relays(["off"], "").flower_grpc_addr("127.0.0.1:0".parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_local_network_the_id_is_enough_where_it_is_announced() {
    let Some(lan) = Lan::new().await else { return };
    guarded(async {
        let [superlink, supernode] = &lan.hosts;
        for announced in [false, true] {
            let (upstream, inbound) = on(superlink, async move {
                let upstream = Upstream::echo().await;
                let publications = announced.then(|| Publication::new(PublishTarget::Mdns));
                // Who asks there is not announced by that.
                let config = config().lookups([Lookup::Mdns]).publications(publications);
                let config = config.expose(upstream.both_wires().allow_any([Api::Fleet]));
                (upstream, Running::start(config.build().unwrap()).await)
            })
            .await;
            let id = inbound.funnel.endpoint_id();
            let outbound = on(supernode, async move {
                let config = config().lookups([Lookup::Mdns]).peer(PeerConfig::new(id));
                let outbound = Running::start(config.build().unwrap()).await;
                if announced {
                    outbound.funnel.peer(id).ready(|trouble| eprintln!("{trouble}")).await;
                    let call = http_call("/v1/fleet/pull-messages", "hello");
                    let answer = LocalClient::http(outbound.funnel.local_addrs()[0]).send(call).await.unwrap();
                    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
                } else {
                    let error = outbound.funnel.connect_to_peer(id).await.unwrap_err().to_string();
                    assert!(error.contains("mdns heard nothing of it in 8 s"), "{error}");
                }
                outbound
            })
            .await;
            outbound.stop().await;
            inbound.stop().await;
            upstream.stop().await;
        }
    })
    .await;
}

/// The one that the lab's hosts are set to: it answers that it cannot say.
async fn failing_nameserver() {
    let socket = UdpSocket::bind("127.0.0.53:53").await.unwrap();
    tokio::spawn(async move {
        let mut question = [0; 1500];
        while let Ok((length, asker)) = socket.recv_from(&mut question).await {
            // An answer, SERVFAIL.
            (question[2], question[3]) = (0x81, 0x82);
            let _ = socket.send_to(&question[..length], asker).await;
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn without_n0s_relays_and_lookup_nobody_outside_is_asked() {
    let Some(lan) = Lan::new().await else { return };
    guarded(async {
        let [host, _] = &lan.hosts;
        let outgoing = Outgoing::of(host).await;
        // Where the system's nameserver fails, iroh would ask public ones.
        on(host, failing_nameserver()).await;
        let domain = Lookup::Dns { origin: "example.org".into(), nameserver: None };
        for lookups in [vec![], vec![domain], vec![Lookup::Mdns]] {
            let is_quiet = !lookups.contains(&Lookup::Mdns);
            on(host, async move {
                let upstream = Upstream::echo().await;
                let config = config().lookups(lookups).expose(upstream.both_wires().allow_any([Api::Fleet]));
                let funnel = Running::start(config.build().unwrap()).await;
                funnel.funnel.endpoint_addr().await;
                funnel.funnel.upstreams().await;
                funnel.funnel.connect_to_peer(SecretKey::generate().public()).await.unwrap_err();
                funnel.stop().await;
                upstream.stop().await;
            })
            .await;
            let packets = outgoing.packets().await;
            assert_eq!(packets == 0, is_quiet, "{packets} packets");
        }
    })
    .await;
}
