//! What breaks while real Flower trains, and what is left of it: nothing may be lost.
//!
//! Skips without Python, except where `CI` is `true`.
#![cfg(unix)]

#[path = "faults/figures.rs"]
mod figures;
#[path = "../examples/flower_quickstart/flower/mod.rs"]
mod flower;
#[path = "support/funnel_process.rs"]
mod funnel_process;
#[path = "faults/lost_answers.rs"]
mod lost_answers;
#[path = "faults/network.rs"]
mod network;
#[path = "faults/nodes.rs"]
mod nodes;
#[path = "faults/pair.rs"]
mod pair;
#[path = "faults/place.rs"]
mod place;
#[path = "support/ports.rs"]
mod ports;
#[path = "faults/processes.rs"]
mod processes;
#[path = "support/real_flower.rs"]
mod real_flower;
#[path = "faults/restart.rs"]
mod restart;
#[path = "faults/restartable.rs"]
mod restartable;
#[allow(dead_code)]
#[path = "../examples/rust_supernode.rs"]
mod rust_supernode;
#[path = "faults/silence.rs"]
mod silence;
#[path = "faults/sites.rs"]
mod sites;
#[path = "support/small_disk.rs"]
mod small_disk;
#[path = "faults/soak.rs"]
mod soak;
#[path = "faults/training.rs"]
mod training;
#[path = "flower/versions.rs"]
mod versions;
#[path = "support/wrong_clock.rs"]
mod wrong_clock;
