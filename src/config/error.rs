//! The mistakes in a configuration.

use std::{error::Error, fmt};

/// Every mistake in a configuration.
#[derive(Clone, Debug)]
pub struct ConfigError {
    mistakes: Vec<String>,
}

impl ConfigError {
    /// Returns an error if there is any mistake.
    pub(crate) fn check(mistakes: Vec<String>) -> Result<(), Self> {
        if mistakes.is_empty() { Ok(()) } else { Err(Self { mistakes }) }
    }

    /// Returns the mistakes, one line each.
    pub fn mistakes(&self) -> &[String] {
        &self.mistakes
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mistakes.as_slice() {
            [mistake] => write!(f, "a mistake in the configuration: {mistake}"),
            mistakes => {
                write!(f, "{} mistakes in the configuration:", mistakes.len())?;
                mistakes.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
            }
        }
    }
}

impl Error for ConfigError {}
