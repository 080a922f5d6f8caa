//! Funnels behind NATs, in network namespaces: who reaches whom, by which path, and what happens when paths change.
//! `docs/nat.md` lists the cells.
//!
//! Needs root on Linux, and the command `nft`. Skips elsewhere, except where `CI` is `true`.
#![cfg(target_os = "linux")]

#[path = "nat/cells.rs"]
mod cells;
#[path = "nat/changes.rs"]
mod changes;
#[path = "nat/facts.rs"]
mod facts;
#[path = "../examples/flower_quickstart/flower/mod.rs"]
mod flower;
#[path = "support/funnel_process.rs"]
mod funnel_process;
#[path = "nat/funnels.rs"]
mod funnels;
#[path = "nat/internet.rs"]
mod internet;
#[path = "support/namespaces.rs"]
mod namespaces;
#[path = "nat/parties.rs"]
mod parties;
#[path = "support/raw_peer.rs"]
mod raw_peer;
#[path = "support/real_flower.rs"]
mod real_flower;
#[path = "nat/relay.rs"]
mod relay;
#[path = "nat/site.rs"]
mod site;
#[path = "funnel/support.rs"]
mod support;
#[path = "nat/training.rs"]
mod training;
#[path = "flower/versions.rs"]
mod versions;
