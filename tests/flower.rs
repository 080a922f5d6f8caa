//! The real Flower through a pair of real funnels: every wire that its versions use, and versions that differ.
//!
//! Skips without Python, except where `CI` is `true`. The first run installs flwr into the target directory.
//! `cargo test --release --test flower -- --include-ignored` runs the whole matrix of versions.

#[path = "flower/access.rs"]
mod access;
#[path = "hostile/attacker.rs"]
mod attacker;
#[path = "support/certificates.rs"]
mod certificates;
#[path = "flower/control.rs"]
mod control;
#[path = "../examples/flower_quickstart/flower/mod.rs"]
mod flower;
#[path = "hostile/frames.rs"]
mod frames;
#[path = "support/funnel_process.rs"]
mod funnel_process;
#[path = "flower/funnels.rs"]
mod funnels;
#[path = "flower/hostile.rs"]
mod hostile;
#[path = "support/raw_peer.rs"]
mod raw_peer;
#[path = "support/real_flower.rs"]
mod real_flower;
#[path = "flower/tls.rs"]
mod tls;
#[path = "flower/training.rs"]
mod training;
#[path = "flower/versions.rs"]
mod versions;
