//! The network between the sites. Needs root on Linux, for an emulated link.

use std::time::Duration;

use lab::{Conditions, Link};

use super::{
    pair::{End, Setting},
    silence,
    training::{Fault, Training},
};
use crate::{
    flower::{Context, Error, Version},
    real_flower::in_turn,
    small_disk,
    versions::{V1_39, V1_41},
};

/// `None` where there are no emulated links, no small disks, or no firewall.
async fn setting() -> Result<Option<Setting>, Error> {
    if let Err(unavailable) = lab::available() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must have emulated links");
        eprintln!("skipped: {unavailable}");
        return Ok(None);
    }
    let folder = tempfile::tempdir().context(|| "no temporary directory".into())?;
    if !(small_disk::is_possible(folder.path()).await && silence::is_possible().await) {
        return Ok(None);
    }
    let (delay, queue) = (Duration::from_millis(20), Duration::from_millis(50));
    let link = Link::new(Conditions { delay, loss: 0.0, rate: 50.0, queue }).context(|| "no emulated link".into())?;
    Ok(Some(Setting { link: Some(link), small_disk: true, ..Setting::default() }))
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(target_os = "linux"), ignore = "needs emulated links")]
async fn training_over_http_outlives_a_network_that_fails_and_a_disk_that_is_full() -> Result<(), Error> {
    let Some(setting) = setting().await? else { return Ok(()) };
    let faults = &[
        Fault::None,
        Fault::Cut(10),
        Fault::Moved,
        Fault::FullDisk(5),
        Fault::Silence(End::Inbound),
        Fault::Silence(End::Outbound),
        Fault::None,
    ];
    in_turn(Training { version: V1_41, nodes: 2, elems: 2_000_000, faults }.run(setting)).await
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(target_os = "linux"), ignore = "needs emulated links")]
async fn training_over_grpc_outlives_a_network_that_fails() -> Result<(), Error> {
    let Some(setting) = setting().await? else { return Ok(()) };
    let faults = &[Fault::None, Fault::Cut(10), Fault::Silence(End::Inbound), Fault::None];
    in_turn(Training { version: V1_39, nodes: 2, elems: 2_000_000, faults }.run(setting)).await
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(target_os = "linux"), ignore = "needs emulated links")]
async fn a_network_that_is_cut_for_40_s_costs_nodes_over_http_that_round_at_most() -> Result<(), Error> {
    cut_for_long(V1_41).await
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(target_os = "linux"), ignore = "needs emulated links")]
async fn a_network_that_is_cut_for_40_s_costs_nodes_over_grpc_that_round_at_most() -> Result<(), Error> {
    cut_for_long(V1_39).await
}

async fn cut_for_long(version: Version) -> Result<(), Error> {
    let Some(setting) = setting().await? else { return Ok(()) };
    let faults = &[Fault::None, Fault::Cut(40), Fault::None];
    in_turn(Training { version, nodes: 2, elems: 2_000_000, faults }.run(setting)).await
}
