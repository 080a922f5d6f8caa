//! Real Flower, each party on a host of its own: the SuperLink behind one NAT, the SuperNodes behind others.
//!
//! Skips without Python, too, except where `CI` is `true`.

use std::time::Duration;

use super::{
    facts::Meeting::{self, Direct, Impossible},
    internet::Internet,
    parties::{Coordinator, Federation, Hospital, is_path_of},
    relay::Relay,
    site::{Nat, Site},
};
use crate::{
    flower::{Error, RunConfig, Version},
    real_flower::{flower_venv, in_turn},
    versions::{V1_39, V1_41},
};

const NODES: usize = 2;
/// 4 MB, which each SuperNode is sent and sends back in each round.
const ARRAY_ELEMS: u64 = 1_000_000;

/// What becomes of the relays and the paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// They stay as they are.
    Kept,
    /// The relay is killed once all links have found their paths.
    RelayKilled,
    /// There are two relays. In one round after the other the first is killed, comes back, the first node's direct path is
    /// cut, comes back, and the other relay is killed. A node that only a relay helps is cut off for some seconds each time:
    /// at two heartbeats in a row that would be Flower's end of its round.
    ComeAndGo,
}

impl Fate {
    fn rounds(self) -> u64 {
        match self {
            Self::Kept | Self::RelayKilled => 2,
            Self::ComeAndGo => 6,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn once_a_superlink_behind_a_full_cone_is_reached_directly_training_needs_no_relay() -> Result<(), Error> {
    let nodes = [(Nat::PortRestricted, Direct), (Nat::Symmetric, Direct)];
    in_turn(train(V1_41, Nat::FullCone, nodes, Fate::RelayKilled)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn training_outlives_relays_that_come_and_go_and_a_direct_path_that_is_cut() -> Result<(), Error> {
    let nodes = [(Nat::PortRestricted, Direct), (Nat::Symmetric, Impossible)];
    in_turn(train(V1_41, Nat::PortRestricted, nodes, Fate::ComeAndGo)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_symmetric_nat_training_over_grpc_passes_through_the_relay() -> Result<(), Error> {
    let nodes = [(Nat::Symmetric, Impossible), (Nat::PortRestricted, Impossible)];
    in_turn(train(V1_39, Nat::Symmetric, nodes, Fate::Kept)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supernode_without_udp_trains_through_the_relay_beside_one_that_is_reached_directly() -> Result<(), Error> {
    let nodes = [(Nat::UdpBlocked, Impossible), (Nat::PortRestricted, Direct)];
    in_turn(train(V1_41, Nat::PortRestricted, nodes, Fate::Kept)).await
}

/// Relays on public hosts, of which some may be away.
struct Relays<'a> {
    running: Vec<Option<Relay>>,
    internet: &'a Internet,
}

impl Relays<'_> {
    async fn kill(&mut self, relay: usize) {
        self.running[relay].take().expect("it runs").kill().await;
    }

    async fn restart(&mut self, relay: usize) {
        let host = &self.internet.hosts[relay];
        self.running[relay] = Some(Relay::start(host, &self.internet.authority).await);
    }

    /// What happens in each round of [`Fate::ComeAndGo`].
    async fn come_and_go(&mut self, round: u64, hospital: &Site, superlink: &Site) {
        match round {
            2 => self.kill(0).await,
            3 => self.restart(0).await,
            4 => hospital.cut_off(superlink).await,
            5 => hospital.rejoin().await,
            6 => self.kill(1).await,
            _ => {}
        }
    }
}

async fn train(version: Version, superlink: Nat, nodes: [(Nat, Meeting); NODES], fate: Fate) -> Result<(), Error> {
    let [(first, _), (second, _)] = nodes;
    let sites = Internet::with_sites([superlink, first, second]).await;
    let Some((internet, [superlink, sites @ ..])) = sites else { return Ok(()) };
    let Some(venv) = flower_venv(version).await? else { return Ok(()) };
    let meetings = nodes.map(|(_, meeting)| meeting);
    for (site, meeting) in sites.iter().zip(meetings) {
        let found = internet.meeting(&superlink.host, &site.host).await;
        assert_eq!(found, meeting, "SuperLink {:?}, SuperNode {:?}", superlink.nat, site.nat);
    }
    let mut relays = Vec::from(internet.relays().await);
    if fate != Fate::ComeAndGo {
        relays.truncate(1);
    }
    let federation = Federation::new(venv, NODES, &internet, &relays)?;
    let coordinator = Coordinator::start(superlink, &federation).await?;
    let relays = Relays { running: relays.into_iter().map(Some).collect(), internet: &internet };
    let trained = train_with(&coordinator, &federation, sites, meetings, (relays, fate)).await;
    trained.map_err(|error| coordinator.explain(error))?;
    coordinator.stop().await
}

async fn train_with(
    coordinator: &Coordinator<'_>,
    federation: &Federation,
    sites: [Site; NODES],
    meetings: [Meeting; NODES],
    fate: (Relays<'_>, Fate),
) -> Result<(), Error> {
    let mut hospitals = Vec::new();
    for (node, site) in sites.into_iter().enumerate() {
        hospitals.push(Hospital::start(site, node, federation).await?);
    }
    let trained = settle_and_train(coordinator, &mut hospitals, meetings, fate).await;
    trained.map_err(|error| hospitals.iter().fold(error, |error, hospital| hospital.explain(error)))?;
    for hospital in hospitals {
        hospital.stop().await?;
    }
    Ok(())
}

async fn settle_and_train(
    coordinator: &Coordinator<'_>,
    hospitals: &mut [Hospital],
    meetings: [Meeting; NODES],
    (mut relays, fate): (Relays<'_>, Fate),
) -> Result<(), Error> {
    let mut ids = Vec::new();
    for (node, hospital) in hospitals.iter_mut().enumerate() {
        ids.push(hospital.registered().await?);
        coordinator.settled(node, meetings[node]).await?;
    }
    if fate == Fate::RelayKilled {
        relays.kill(0).await;
    }
    let config = RunConfig {
        rounds: fate.rounds(),
        nodes: NODES,
        array_elems: ARRAY_ELEMS,
        train_sleep: Duration::from_secs(1),
        evaluate: false,
        ..RunConfig::default()
    };
    let hospital = &hospitals[0].site;
    let trained = coordinator.train(&config, &ids, async |round| {
        if fate == Fate::ComeAndGo {
            relays.come_and_go(round, hospital, &coordinator.site).await;
        }
        Ok(())
    });
    trained.await?;
    if fate == Fate::ComeAndGo {
        for (node, meeting) in meetings.into_iter().enumerate() {
            coordinator.settled(node, meeting).await?;
        }
    }
    for (node, meeting) in meetings.into_iter().enumerate() {
        let path = coordinator.path(node).await?;
        if !is_path_of(meeting, &path) {
            return Err(Error::new(format!("after the run node {node} has the path {path}; {meeting:?} is possible")));
        }
    }
    Ok(())
}
