//! Runs the real Flower: installs a pinned `flwr` in a virtual environment, starts a SuperLink and SuperNodes,
//! submits an app and checks its result. Everything that dials takes its address as a parameter, so that a funnel
//! can stand in between.
//!
//! ```text
//! Python ─► Venv ─► SuperLink { fleet, control }      what it serves, and where
//!             ├───► SuperNode ── dials ──► fleet      directly, or the port of a funnel
//!             └───► FlowerRun ── dials ──► control    `flwr run --stream`, then Outcome::verify
//! ```
//!
//! Each of them takes the virtual environment it runs in, so that their versions may differ.
//!
//! Every child is a [`Process`]: it ends with the value that owns it, together with all its descendants.

// The example and the tests include this module by path, and each uses a part of it.
#![allow(dead_code, unreachable_pub, unused_imports)]

mod cli;
mod descendants;
mod dial;
mod error;
mod home;
mod keys;
mod outcome;
mod output;
mod poll;
mod process;
mod python;
mod run;
mod signal;
mod superlink;
mod supernode;
mod upstream;
mod venv;
mod version;

pub use self::cli::{Answer, Cli, LogMode};
pub use self::dial::Dial;
pub use self::error::{Context, Error, Result};
pub use self::keys::{Certificates, NodeKey};
pub use self::outcome::{Outcome, Round, Summary};
pub use self::output::Lines;
pub use self::process::Process;
pub use self::python::Python;
pub use self::run::{FlowerRun, RunConfig};
pub use self::signal::interrupted;
pub use self::superlink::SuperLink;
pub use self::supernode::SuperNode;
pub use self::upstream::{Upstream, Wire};
pub use self::venv::Venv;
pub use self::version::{Era, Version};
