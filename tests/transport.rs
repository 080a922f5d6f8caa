//! tonic over iroh, between real endpoints on loopback.

#[allow(dead_code)]
#[path = "../examples/hello/mod.rs"]
mod hello;

#[path = "transport/calls.rs"]
mod calls;
#[path = "transport/dialling.rs"]
mod dialling;
#[path = "transport/ends.rs"]
mod ends;
#[path = "transport/limits.rs"]
mod limits;
#[path = "transport/reasons.rs"]
mod reasons;
#[path = "transport/services.rs"]
mod services;
#[path = "transport/stalls.rs"]
mod stalls;
#[path = "transport/support.rs"]
mod support;
