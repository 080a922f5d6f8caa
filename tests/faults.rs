//! What breaks while real Flower trains, and what is left of it: nothing may be lost.
//!
//! Skips without Python, except where `CI` is `true`.
#![cfg(unix)]

#[path = "../examples/flower_quickstart/flower/mod.rs"]
mod flower;
#[path = "support/funnel_process.rs"]
mod funnel_process;
#[path = "faults/pair.rs"]
mod pair;
#[path = "support/real_flower.rs"]
mod real_flower;
#[path = "faults/training.rs"]
mod training;
#[path = "flower/versions.rs"]
mod versions;
