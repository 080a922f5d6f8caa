//! A node at a scripted Fleet API, over iroh on loopback.

#[path = "node/fleet.rs"]
mod fleet;
#[path = "node/forged.rs"]
mod forged;
#[path = "node/messages.rs"]
mod messages;
#[path = "node/replies.rs"]
mod replies;
#[path = "node/stay.rs"]
mod stay;
