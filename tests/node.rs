//! A node at a Fleet API that does what each test asks of it, over iroh on loopback.

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
