//! The error that ends the process, with its exit status.

use std::{error::Error, fmt, process::ExitCode};

use flower_iroh_funnel::{ConfigError, roster::RosterError};

use crate::output::one_line;

/// The exit status `EX_USAGE` of `sysexits.h`.
pub(crate) const USAGE: u8 = 64;
/// The beginning of a message.
const ERROR: &str = "error: ";

/// A message for the operator, and the exit status of the process.
#[derive(Debug)]
pub(crate) struct ExitError {
    message: String,
    status: u8,
}

impl ExitError {
    /// Reports a mistake in what was typed, or written into a file.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self { message: format!("{ERROR}{message}"), status: USAGE }
    }

    /// Reports an error with its causes: something that may be gone at the next attempt.
    pub(crate) fn of<E: Error>(error: E) -> Self {
        let mut message = format!("{ERROR}{error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            // Some errors name their cause themselves. It may be the text of a peer.
            let text = one_line(error);
            if !message.contains(&text) {
                message.push_str(&format!("\n  because: {text}"));
            }
            cause = error.source();
        }
        Self { message, status: 1 }
    }

    /// Reports something outside of the command line and the files that keeps the command from working.
    pub(crate) fn world(message: impl fmt::Display) -> Self {
        Self { message: format!("error: {message}"), status: 1 }
    }

    /// Reports a change that the running funnel does not follow.
    pub(crate) fn not_in_force(reason: impl fmt::Display) -> Self {
        Self { message: format!("NOT in force: {reason}"), status: 1 }
    }

    /// Adds what the message is about, for instance the path of a file.
    pub(crate) fn about(mut self, what: impl fmt::Display) -> Self {
        let text = self.message.strip_prefix(ERROR).unwrap_or(&self.message);
        self.message = format!("{ERROR}{what}: {text}");
        self
    }

    /// Adds a line to the message.
    pub(crate) fn with_note(mut self, note: impl fmt::Display) -> Self {
        self.message.push_str(&format!("\n{note}"));
        self
    }

    /// Sets the exit status of a mistake, if it is one.
    pub(crate) fn or_usage(self, mistake: bool) -> Self {
        Self { status: if mistake { USAGE } else { self.status }, ..self }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.status)
    }
}

impl From<ConfigError> for ExitError {
    fn from(error: ConfigError) -> Self {
        let mistake = error.is_mistake();
        Self::of(error).or_usage(mistake)
    }
}

impl From<flower_iroh_funnel::Error> for ExitError {
    fn from(error: flower_iroh_funnel::Error) -> Self {
        let mistake = error.is_mistake();
        Self::of(error).or_usage(mistake)
    }
}

impl From<RosterError> for ExitError {
    fn from(error: RosterError) -> Self {
        let mistake = error.is_mistake();
        Self::of(error).or_usage(mistake)
    }
}

impl fmt::Display for ExitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
