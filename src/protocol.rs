//! Flower's APIs and their two wires: what a call is, before anything is done with it. No I/O.

mod api;
mod failure;
mod method;
mod route;
mod wire;

pub(crate) use self::wire::has_grpc_type;
pub use self::{
    api::{Api, ApiSet, UnknownApi},
    failure::{Failure, FailureKind},
    method::is_known_method,
    route::{HELLO_PATH, Refusal, Route},
    wire::Wire,
};
