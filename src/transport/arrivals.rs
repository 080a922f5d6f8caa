//! Connections that are not authenticated yet: how many there may be, and how often an address may fail.

mod rate;
mod slots;
mod source;

pub(crate) use self::{
    rate::ArrivalRate,
    slots::{ArrivalSlot, ArrivalSlots},
    source::Source,
};
