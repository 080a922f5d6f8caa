//! Funnels that come to harm.

use super::{
    pair::{End, Setting},
    restartable::Harm,
    training::{Fault, Training},
};
use crate::{
    flower::Error,
    real_flower::in_turn,
    versions::{V1_39, V1_41},
};

/// 8 MB, two of Flower's chunks: it takes long enough for a fault to meet it.
const ELEMS: u64 = 2_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn training_over_http_outlives_funnels_that_are_killed_stopped_and_frozen() -> Result<(), Error> {
    let faults = &[
        Fault::None,
        Fault::Harm(End::Outbound, Harm::Killed),
        Fault::Harm(End::Inbound, Harm::Killed),
        Fault::Harm(End::Inbound, Harm::Frozen(5)),
        Fault::Harm(End::Outbound, Harm::Frozen(10)),
        Fault::Harm(End::Inbound, Harm::Stopped),
        Fault::Harm(End::Outbound, Harm::Stopped),
        Fault::Harm(End::Inbound, Harm::WithoutDescriptors(5)),
        Fault::Harm(End::Outbound, Harm::WithoutDescriptors(5)),
    ];
    in_turn(Training { version: V1_41, nodes: 2, elems: ELEMS, faults }.run(Setting::default())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn training_over_grpc_outlives_funnels_that_are_killed_and_frozen() -> Result<(), Error> {
    let faults = &[
        Fault::None,
        Fault::Harm(End::Outbound, Harm::Killed),
        Fault::Harm(End::Inbound, Harm::Killed),
        Fault::Harm(End::Inbound, Harm::Frozen(10)),
        Fault::Harm(End::Inbound, Harm::Stopped),
    ];
    in_turn(Training { version: V1_39, nodes: 2, elems: ELEMS, faults }.run(Setting::default())).await
}

/// What is under way is drained, and the rest follows through the next process.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_of_100_mb_outlives_the_stop_of_either_funnel() -> Result<(), Error> {
    let faults = &[Fault::HarmInUpload(End::Outbound, Harm::Stopped), Fault::HarmInUpload(End::Inbound, Harm::Stopped)];
    in_turn(Training { version: V1_41, nodes: 1, elems: 25_000_000, faults }.run(Setting::default())).await
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn training_goes_on_with_clocks_that_are_two_hours_apart() -> Result<(), Error> {
    let Some(library) = crate::wrong_clock::library().await else { return Ok(()) };
    let faults = &[Fault::None, Fault::None];
    let setting = Setting { wrong_clocks: Some(library), ..Setting::default() };
    in_turn(Training { version: V1_41, nodes: 2, elems: 1_000, faults }.run(setting)).await
}
