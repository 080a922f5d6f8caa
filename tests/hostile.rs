//! Peers and local clients that mean harm, written on raw iroh, raw HTTP/2 and raw TCP. Each comes to a bounded end, and
//! an honest peer beside it makes its calls undisturbed. `docs/limits.md` lists what bounds them.

#[path = "hostile/attacker.rs"]
mod attacker;
#[path = "hostile/floods.rs"]
mod floods;
#[path = "hostile/frames.rs"]
mod frames;
#[path = "support/funnel_process.rs"]
mod funnel_process;
#[path = "hostile/honest.rs"]
mod honest;
#[path = "hostile/links.rs"]
mod links;
#[path = "hostile/local.rs"]
mod local;
#[path = "hostile/memory.rs"]
mod memory;
#[path = "support/raw_peer.rs"]
mod raw_peer;
#[path = "hostile/sessions.rs"]
mod sessions;
#[path = "command/sides.rs"]
mod sides;
#[path = "funnel/support.rs"]
mod support;
