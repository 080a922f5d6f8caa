//! The real Flower: every wire that its versions use, versions that differ, funnels that come to harm, NATs in between.
//!
//! In one program, since these tests mostly wait: several go on at a time. Skips without Python, except where `CI` is
//! `true`. The first run installs flwr into the target directory.
//! `cargo test --release --test flower -- --include-ignored` runs the whole matrix of versions.

#[path = "flower/access.rs"]
mod access;
#[path = "hostile/attacker.rs"]
mod attacker;
#[path = "support/certificates.rs"]
mod certificates;
#[path = "flower/control.rs"]
mod control;
#[path = "flower/descriptors.rs"]
mod descriptors;
#[cfg(unix)]
#[path = "flower/faults.rs"]
mod faults;
#[path = "flower/fleet_server.rs"]
mod fleet_server;
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
#[cfg(target_os = "linux")]
#[path = "support/namespaces.rs"]
mod namespaces;
#[cfg(target_os = "linux")]
#[path = "flower/nat.rs"]
mod nat;
#[cfg(unix)]
#[path = "support/ports.rs"]
mod ports;
#[path = "support/raw_peer.rs"]
mod raw_peer;
#[path = "flower/real_flower.rs"]
mod real_flower;
#[path = "flower/rust_node.rs"]
mod rust_node;
#[allow(dead_code)]
#[path = "../examples/rust_supernode.rs"]
mod rust_supernode;
#[path = "flower/sharing.rs"]
mod sharing;
#[path = "flower/site.rs"]
mod site;
#[cfg(unix)]
#[path = "support/small_disk.rs"]
mod small_disk;
#[cfg(target_os = "linux")]
#[path = "funnel/support.rs"]
mod support;
#[cfg(unix)]
#[path = "flower/start_client.rs"]
mod start_client;
#[path = "flower/tls.rs"]
mod tls;
#[path = "flower/training.rs"]
mod training;
#[path = "flower/versions.rs"]
mod versions;
#[cfg(unix)]
#[path = "support/wrong_clock.rs"]
mod wrong_clock;
