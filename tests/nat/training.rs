//! Real Flower, each party on a host of its own: the SuperLink behind one NAT, the SuperNodes behind others.
//!
//! Skips without Python, too, except where `CI` is `true`.

use crate::{
    facts::Meeting::{self, Direct, Impossible},
    flower::{Error, RunConfig, Version},
    internet::Internet,
    parties::{Coordinator, Federation, Hospital, is_path_of},
    real_flower::{flower_venv, in_turn},
    relay::Relay,
    site::{Nat, Site},
    versions::{V1_39, V1_41},
};

const NODES: usize = 2;
const ROUNDS: u64 = 2;
/// 4 MB, which each SuperNode is sent and sends back in each round.
const ARRAY_ELEMS: u64 = 1_000_000;

/// What becomes of the relay once all links have found their paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TheRelay {
    Stays,
    IsKilled,
}

#[tokio::test(flavor = "multi_thread")]
async fn once_a_superlink_behind_a_full_cone_is_reached_directly_training_needs_no_relay() -> Result<(), Error> {
    let nodes = [(Nat::PortRestricted, Direct), (Nat::Symmetric, Direct)];
    in_turn(train(V1_41, Nat::FullCone, nodes, TheRelay::IsKilled)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_symmetric_nat_training_over_grpc_passes_through_the_relay() -> Result<(), Error> {
    let nodes = [(Nat::Symmetric, Impossible), (Nat::PortRestricted, Impossible)];
    in_turn(train(V1_39, Nat::Symmetric, nodes, TheRelay::Stays)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supernode_without_udp_trains_through_the_relay_beside_one_that_is_reached_directly() -> Result<(), Error> {
    let nodes = [(Nat::UdpBlocked, Impossible), (Nat::PortRestricted, Direct)];
    in_turn(train(V1_41, Nat::PortRestricted, nodes, TheRelay::Stays)).await
}

async fn train(
    version: Version,
    superlink: Nat,
    nodes: [(Nat, Meeting); NODES],
    the_relay: TheRelay,
) -> Result<(), Error> {
    let [(first, _), (second, _)] = nodes;
    let sites = Internet::with_sites([superlink, first, second]).await;
    let Some((internet, [superlink, sites @ ..])) = sites else { return Ok(()) };
    let Some(venv) = flower_venv(version).await? else { return Ok(()) };
    let meetings = nodes.map(|(_, meeting)| meeting);
    for (site, meeting) in sites.iter().zip(meetings) {
        let found = internet.meeting(&superlink.host, &site.host).await;
        assert_eq!(found, meeting, "SuperLink {:?}, SuperNode {:?}", superlink.nat, site.nat);
    }
    let relay = Relay::start(&internet.hosts[0], &internet.authority).await;
    let federation = Federation::new(venv, NODES, &internet, &relay)?;
    let coordinator = Coordinator::start(superlink, &federation).await?;
    let relay = (relay, the_relay);
    let trained = train_with(&coordinator, &federation, sites, meetings, relay).await;
    trained.map_err(|error| coordinator.explain(error))?;
    coordinator.stop().await
}

async fn train_with(
    coordinator: &Coordinator<'_>,
    federation: &Federation,
    sites: [Site; NODES],
    meetings: [Meeting; NODES],
    relay: (Relay, TheRelay),
) -> Result<(), Error> {
    let mut hospitals = Vec::new();
    for (node, site) in sites.into_iter().enumerate() {
        hospitals.push(Hospital::start(site, node, federation).await?);
    }
    let trained = settle_and_train(coordinator, &mut hospitals, meetings, relay).await;
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
    (relay, the_relay): (Relay, TheRelay),
) -> Result<(), Error> {
    let mut ids = Vec::new();
    for (node, hospital) in hospitals.iter_mut().enumerate() {
        ids.push(hospital.registered().await?);
        coordinator.settled(node, meetings[node]).await?;
    }
    let _kept = match the_relay {
        TheRelay::Stays => Some(relay),
        TheRelay::IsKilled => {
            relay.kill().await;
            None
        }
    };
    let config =
        RunConfig { rounds: ROUNDS, nodes: NODES, array_elems: ARRAY_ELEMS, evaluate: false, ..RunConfig::default() };
    coordinator.train(&config, &ids).await?;
    for (node, meeting) in meetings.into_iter().enumerate() {
        let path = coordinator.path(node).await?;
        if !is_path_of(meeting, &path) {
            return Err(Error::new(format!("after the run node {node} has the path {path}; {meeting:?} is possible")));
        }
    }
    Ok(())
}
