//! How the process ends when it cannot do what it was told.

use std::{error::Error, fmt, process::ExitCode};

use flower_iroh_funnel::{ConfigError, roster::RosterError};

/// `EX_USAGE`.
pub(crate) const USAGE: u8 = 64;

/// A message for the operator and an exit status, as in `sysexits.h`.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    status: u8,
}

impl Failure {
    /// What the operator wrote cannot be used.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self { message: format!("error: {message}"), status: USAGE }
    }

    /// An error with its causes.
    pub(crate) fn of<E: Error>(error: E) -> Self {
        let mut message = format!("error: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            message.push_str(&format!("\n  because: {error}"));
            cause = error.source();
        }
        Self { message, status: 1 }
    }

    fn or_usage(self, mistake: bool) -> Self {
        Self { status: if mistake { USAGE } else { self.status }, ..self }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.status)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error)
    }
}

impl From<flower_iroh_funnel::Error> for Failure {
    fn from(error: flower_iroh_funnel::Error) -> Self {
        let mistake = error.is_mistake();
        Self::of(error).or_usage(mistake)
    }
}

impl From<RosterError> for Failure {
    fn from(error: RosterError) -> Self {
        let mistake = error.is_mistake();
        Self::of(error).or_usage(mistake)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
