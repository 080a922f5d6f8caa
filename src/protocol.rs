//! Flower's APIs and their two wires: routes, methods, errors and translation, without I/O.

mod api;
mod error;
mod flower_error;
mod method;
mod route;
mod status;
mod translate;
mod wire;

pub use self::{
    api::{Api, ApiSet, UnknownApi},
    error::CallError,
    method::Method,
    route::{HELLO_PATH, PASSTHROUGH_PATH, Refusal, Route},
    status::{Counterpart, Status},
    wire::Wire,
};
pub(crate) use self::{
    flower_error::{FlowerError, MAX_ERROR_BODY},
    method::MethodKind,
    translate::{Answer, GRPC_HEADER, GRPC_TIMEOUT, Translation, is_encoded},
    wire::{has_grpc_type, has_ok_status},
};

/// An error of any type, as bodies and connectors have it.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
