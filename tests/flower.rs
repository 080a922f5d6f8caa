//! The real Flower through a pair of real funnels: every wire that its versions use, and versions that differ.
//!
//! Skips without Python, except where `CI` is `true`. The first run installs flwr into the target directory.
//! `cargo test --release --test flower -- --include-ignored` runs the whole matrix of versions.

#[path = "flower/control.rs"]
mod control;
#[path = "../examples/flower_quickstart/flower/mod.rs"]
mod flower;
#[path = "support/funnel_process.rs"]
mod funnel_process;
#[path = "flower/funnels.rs"]
mod funnels;
#[path = "support/real_flower.rs"]
mod real_flower;
#[path = "flower/training.rs"]
mod training;
#[path = "flower/versions.rs"]
mod versions;
