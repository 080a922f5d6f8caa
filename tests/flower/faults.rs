//! What breaks while real Flower trains, and what is left of it: nothing may be lost.

#[path = "faults/beside.rs"]
mod beside;
#[path = "faults/figures.rs"]
mod figures;
#[path = "faults/lost_answers.rs"]
mod lost_answers;
#[path = "faults/network.rs"]
mod network;
#[path = "faults/nodes.rs"]
mod nodes;
#[path = "faults/pair.rs"]
mod pair;
#[path = "faults/place.rs"]
mod place;
#[path = "faults/processes.rs"]
mod processes;
#[path = "faults/reasons.rs"]
mod reasons;
#[path = "faults/restart.rs"]
mod restart;
#[path = "faults/restartable.rs"]
mod restartable;
#[path = "faults/silence.rs"]
mod silence;
#[path = "faults/sites.rs"]
mod sites;
#[path = "faults/soak.rs"]
mod soak;
#[path = "faults/training.rs"]
mod training;
#[path = "faults/trouble.rs"]
mod trouble;
