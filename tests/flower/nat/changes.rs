//! Paths and relays that go and come while calls are under way.

use std::time::Duration;

use flower_iroh_funnel::transport::Path;
use iroh::{RelayUrl, TransportAddr};
use tokio::time::timeout;

use super::{
    facts::Meeting,
    funnels::{Settings, SuperLink, SuperNode},
    internet::Internet,
    relay::Relay,
    site::{Nat, Site},
};
use crate::support::guarded;

/// iroh 1.4 looks each 60 s whether a relayed link can be direct.
const REJOINED: Duration = Duration::from_secs(180);

/// A link that became direct, and the relays that it began at.
struct Direct {
    superlink: SuperLink,
    node: SuperNode,
    relays: [Relay; 2],
}

impl Direct {
    async fn start(internet: &Internet, superlink: Site, node: Site) -> Self {
        let relays = internet.relays().await;
        let settings = Settings::new(internet, &[&relays[0]]);
        let superlink = SuperLink::start(superlink, &settings).await;
        let node = SuperNode::start(node, &settings, &superlink.addr).await;
        node.direct().await;
        Self { superlink, node, relays }
    }
}

/// Whose host moves to another network.
#[derive(Clone, Copy, Debug)]
enum Mover {
    SuperLink,
    SuperNode,
}

#[tokio::test]
async fn the_relay_takes_over_when_the_direct_path_is_cut_and_gives_back_what_it_took() {
    let cut_and_rejoined = async {
        let Some((internet, [superlink, node])) = Internet::with_sites([Nat::PortRestricted; 2]).await else { return };
        let Direct { superlink, node, relays: _relays } = Direct::start(&internet, superlink, node).await;
        let meeting = || internet.meeting(&superlink.site.host, &node.site.host);
        let mut stream = node.stream().await;
        stream.pass().await;
        node.site.cut_off(&superlink.site).await;
        stream.pass().await;
        assert_eq!(meeting().await, Meeting::Impossible);
        node.relayed().await;
        stream.pass().await;
        node.site.rejoin().await;
        assert_eq!(meeting().await, Meeting::Direct);
        node.direct().await;
        stream.pass().await;
        stream.finish().await;
        node.exchange().await;
    };
    timeout(REJOINED, cut_and_rejoined).await.expect("the test hangs");
}

#[tokio::test]
async fn a_call_goes_on_when_the_supernode_moves_to_another_network() {
    goes_on_when_one_moves(Mover::SuperNode).await;
}

#[tokio::test]
async fn a_call_goes_on_when_the_superlink_moves_to_another_network() {
    goes_on_when_one_moves(Mover::SuperLink).await;
}

async fn goes_on_when_one_moves(mover: Mover) {
    let goes_on = async {
        let nats = [Nat::PortRestricted; 3];
        let Some((internet, [superlink, node, other])) = Internet::with_sites(nats).await else { return };
        let Direct { superlink, node, relays: _relays } = Direct::start(&internet, superlink, node).await;
        let mut stream = node.stream().await;
        stream.pass().await;
        match mover {
            Mover::SuperLink => superlink.site.move_to(&other).await,
            Mover::SuperNode => node.site.move_to(&other).await,
        }
        stream.pass().await;
        stream.finish().await;
        match mover {
            Mover::SuperLink => node.direct_to(other.outside()).await,
            Mover::SuperNode => superlink.direct_from(&node, other.outside()).await,
        }
        node.exchange().await;
    };
    // Where the first attempt at a direct path after the move fails, on busy cores for instance, the next is a minute later.
    timeout(3 * REJOINED, goes_on).await.expect("the link never becomes direct again");
}

#[tokio::test]
async fn a_call_on_a_direct_path_goes_on_when_the_relay_is_killed() {
    guarded(async {
        let Some((internet, [superlink, node])) = Internet::with_sites([Nat::PortRestricted; 2]).await else { return };
        let Direct { superlink: _superlink, node, relays: [relay, _other] } =
            Direct::start(&internet, superlink, node).await;
        let mut stream = node.stream().await;
        stream.pass().await;
        relay.kill().await;
        stream.pass().await;
        stream.finish().await;
        node.exchange().await;
    })
    .await;
}

#[tokio::test]
async fn a_call_ends_and_the_next_passes_through_another_relay_where_only_a_relay_can_and_it_is_killed() {
    guarded(async {
        let Some((internet, [superlink, node])) = Internet::with_sites([Nat::Symmetric; 2]).await else { return };
        let relays = internet.relays().await;
        let settings = Settings::new(&internet, &[&relays[0], &relays[1]]);
        let superlink = SuperLink::start(superlink, &settings).await;
        let node = SuperNode::start(node, &settings, &superlink.addr).await;
        let mut stream = node.stream().await;
        stream.pass().await;
        let uses = |path: &Path, url: &RelayUrl| path.remote == TransportAddr::Relay(url.clone());
        let [first, second] = relays;
        let (used, other) =
            if uses(&node.tunnel.path().unwrap(), &first.url) { (first, second) } else { (second, first) };
        used.kill().await;
        stream.cut().await;
        node.tunnel.path_where(|path| uses(path, &other.url)).await;
        let mut stream = node.stream().await;
        stream.pass().await;
        stream.finish().await;
    })
    .await;
}
