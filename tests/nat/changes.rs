//! Paths and relays that go and come while calls are under way.

use flower_iroh_funnel::transport::Path;
use iroh::{RelayUrl, TransportAddr};

use crate::{
    facts::Meeting,
    funnels::{Settings, SuperLink, SuperNode},
    internet::Internet,
    relay::Relay,
    site::{Nat, Site},
    support::guarded,
};

/// A link that became direct, and the relay that it began at.
struct Direct {
    superlink: SuperLink,
    node: SuperNode,
    _relays: [Relay; 2],
}

impl Direct {
    async fn start(internet: &Internet, superlink: Site, node: Site) -> Self {
        let relays = internet.relays().await;
        let settings = Settings::new(internet, &[&relays[0]]);
        let superlink = SuperLink::start(superlink, &settings).await;
        let node = SuperNode::start(node, &settings, &superlink.addr).await;
        node.direct().await;
        Self { superlink, node, _relays: relays }
    }
}

#[tokio::test]
async fn the_relay_takes_over_when_the_direct_path_is_cut_and_gives_back_what_it_took() {
    guarded(async {
        let Some((internet, [superlink, node])) = Internet::with_sites([Nat::PortRestricted; 2]).await else { return };
        let Direct { superlink, node, _relays } = Direct::start(&internet, superlink, node).await;
        let meeting = || internet.meeting(&superlink.site.host, &node.site.host);
        let mut upload = node.upload().await;
        upload.pass_piece().await;
        node.site.cut_off(&superlink.site).await;
        assert_eq!(meeting().await, Meeting::Impossible);
        upload.pass_piece().await;
        node.relayed().await;
        upload.finish().await;
        node.exchange().await;
        node.site.rejoin().await;
        assert_eq!(meeting().await, Meeting::Direct);
        node.direct().await;
        node.exchange().await;
    })
    .await;
}

#[tokio::test]
async fn an_upload_goes_on_when_the_supernode_moves_to_another_network() {
    guarded(async {
        let nats = [Nat::PortRestricted; 3];
        let Some((internet, [superlink, node, other])) = Internet::with_sites(nats).await else { return };
        let Direct { superlink: _superlink, node, _relays } = Direct::start(&internet, superlink, node).await;
        let mut upload = node.upload().await;
        upload.pass_piece().await;
        node.site.move_to(&other).await;
        upload.pass_piece().await;
        upload.finish().await;
        node.exchange().await;
        node.direct().await;
    })
    .await;
}

#[tokio::test]
async fn an_upload_goes_on_when_the_superlink_moves_to_another_network() {
    guarded(async {
        let nats = [Nat::PortRestricted; 3];
        let Some((internet, [superlink, node, other])) = Internet::with_sites(nats).await else { return };
        let Direct { superlink, node, _relays } = Direct::start(&internet, superlink, node).await;
        let mut upload = node.upload().await;
        upload.pass_piece().await;
        superlink.site.move_to(&other).await;
        upload.pass_piece().await;
        upload.finish().await;
        node.exchange().await;
        node.direct().await;
    })
    .await;
}

#[tokio::test]
async fn another_relay_takes_over_where_only_a_relay_can_and_it_is_killed() {
    guarded(async {
        let Some((internet, [superlink, node])) = Internet::with_sites([Nat::Symmetric; 2]).await else { return };
        let relays = internet.relays().await;
        let settings = Settings::new(&internet, &[&relays[0], &relays[1]]);
        let superlink = SuperLink::start(superlink, &settings).await;
        let node = SuperNode::start(node, &settings, &superlink.addr).await;
        node.exchange().await;
        let uses = |path: &Path, url: &RelayUrl| path.remote == TransportAddr::Relay(url.clone());
        let [first, second] = relays;
        let (used, other) =
            if uses(&node.tunnel.path().unwrap(), &first.url) { (first, second) } else { (second, first) };
        used.kill().await;
        node.tunnel.path_where(|path| uses(path, &other.url)).await;
        node.exchange().await;
    })
    .await;
}
