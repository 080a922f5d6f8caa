//! The mistakes in a configuration.

/// Every mistake in a configuration.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", text(.mistakes))]
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

fn text(mistakes: &[String]) -> String {
    match mistakes {
        [mistake] => format!("a mistake in the configuration: {mistake}"),
        mistakes => format!("{} mistakes in the configuration:\n  {}", mistakes.len(), mistakes.join("\n  ")),
    }
}
