//! Funnels behind NATs, in network namespaces: who reaches whom, by which path, and what happens when paths change.
//! `docs/nat.md` lists the cells.
//!
//! Needs root on Linux, and the command `nft`. Skips elsewhere, except where `CI` is `true`.

#[path = "nat/cells.rs"]
mod cells;
#[path = "nat/changes.rs"]
mod changes;
#[path = "nat/facts.rs"]
mod facts;
#[path = "nat/funnels.rs"]
mod funnels;
#[path = "nat/internet.rs"]
mod internet;
#[path = "nat/parties.rs"]
mod parties;
#[path = "nat/relay.rs"]
mod relay;
#[path = "nat/site.rs"]
mod site;
#[path = "nat/training.rs"]
mod training;
