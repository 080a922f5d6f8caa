//! The funnel over real sockets and real iroh endpoints, with servers of the tests' own in Flower's place: what the
//! path of a call does to a call. Real Flower is in `flower.rs`.

#[path = "funnel/access.rs"]
mod access;
#[path = "funnel/calls.rs"]
mod calls;
#[path = "funnel/faults.rs"]
mod faults;
#[path = "funnel/paths.rs"]
mod paths;
#[path = "funnel/support.rs"]
mod support;
#[path = "funnel/translation.rs"]
mod translation;
#[path = "funnel/wires.rs"]
mod wires;
