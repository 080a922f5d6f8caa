//! Who reaches whom, and by which path: a SuperLink behind each NAT, and SuperNodes behind all of them.

use super::{
    facts::Meeting::{self, Direct, Impossible},
    funnels::{Settings, SuperLink, SuperNode},
    internet::Internet,
    site::Nat,
};
use crate::support::guarded;

/// The NATs of the SuperNodes, in the order in which each test says what to expect.
const NODES: [Nat; 6] = [Nat::None, Nat::FullCone, Nat::PortRestricted, Nat::Symmetric, Nat::UdpBlocked, Nat::Carrier];

#[tokio::test]
async fn a_superlink_with_a_public_address_is_reached_directly_wherever_udp_passes() {
    superlink_behind(Nat::None, [Direct, Direct, Direct, Direct, Impossible, Direct]).await;
}

#[tokio::test]
async fn a_superlink_behind_a_full_cone_is_reached_directly_wherever_udp_passes() {
    superlink_behind(Nat::FullCone, [Direct, Direct, Direct, Direct, Impossible, Direct]).await;
}

#[tokio::test]
async fn a_superlink_behind_a_home_router_is_reached_directly_but_from_symmetric_nats() {
    superlink_behind(Nat::PortRestricted, [Direct, Direct, Direct, Impossible, Impossible, Direct]).await;
}

#[tokio::test]
async fn a_superlink_behind_a_symmetric_nat_is_reached_directly_where_no_packet_is_filtered() {
    superlink_behind(Nat::Symmetric, [Direct, Direct, Impossible, Impossible, Impossible, Impossible]).await;
}

#[tokio::test]
async fn a_superlink_without_udp_is_reached_through_the_relay() {
    superlink_behind(Nat::UdpBlocked, [Impossible; 6]).await;
}

#[tokio::test]
async fn a_superlink_behind_a_carriers_nat_is_reached_directly_but_from_symmetric_nats() {
    superlink_behind(Nat::Carrier, [Direct, Direct, Direct, Impossible, Impossible, Direct]).await;
}

/// Six cells: an exchange each, and the path that it takes in the end.
async fn superlink_behind(nat: Nat, meetings: [Meeting; 6]) {
    guarded(async {
        let [a, b, c, d, e, f] = NODES;
        let Some((internet, [site, nodes @ ..])) = Internet::with_sites([nat, a, b, c, d, e, f]).await else { return };
        let relays = internet.relays().await;
        let settings = Settings::new(&internet, &[&relays[0]]);
        let superlink = SuperLink::start(site, &settings).await;
        for (site, meeting) in nodes.into_iter().zip(meetings) {
            let cell = format!("SuperLink {nat:?}, SuperNode {:?}", site.nat);
            // What funnels can do and not, these sockets can do and not: no time has to pass to be sure.
            assert_eq!(internet.meeting(&superlink.site.host, &site.host).await, meeting, "{cell}");
            let node = SuperNode::start(site, &settings, &superlink.addr).await;
            node.exchange().await;
            match meeting {
                Direct => node.direct().await,
                Impossible => node.relayed().await,
            };
            node.exchange().await;
            let path = node.tunnel.path().unwrap();
            assert_eq!(path.is_relay(), meeting == Impossible, "{cell}: {path}");
        }
    })
    .await;
}
