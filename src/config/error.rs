//! What keeps a configuration from being used: mistakes in it, and files that cannot be used now.

/// Everything that is wrong with a configuration: mistakes in its text or in a file that it names, and troubles of this
/// machine, such as a folder that is not mounted.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(Problems);

impl ConfigError {
    /// Makes the error of one problem, a mistake or else a trouble.
    #[cfg(feature = "relay")]
    pub(crate) fn of(problem: impl Into<String>, is_mistake: bool) -> Self {
        let mut problems = Problems::default();
        problems.add(problem, is_mistake);
        Self(problems)
    }

    /// Returns the mistakes, one line each: what was typed, or written into a file, must be changed.
    pub fn mistakes(&self) -> &[String] {
        &self.0.mistakes
    }

    /// Returns the troubles, one line each: a file cannot be read or written now. The same configuration may work later.
    pub fn troubles(&self) -> &[String] {
        &self.0.troubles
    }

    /// Returns whether there is a mistake, which no other attempt mends.
    pub fn is_mistake(&self) -> bool {
        !self.0.mistakes.is_empty()
    }
}

/// Mistakes and troubles, as they are found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Problems {
    mistakes: Vec<String>,
    troubles: Vec<String>,
}

impl Problems {
    /// Returns an error if there is any problem.
    pub(crate) fn check(self) -> Result<(), ConfigError> {
        if self.mistakes.is_empty() && self.troubles.is_empty() { Ok(()) } else { Err(ConfigError(self)) }
    }

    /// Returns whether a file could not be read, so that what it has is missing.
    pub(crate) fn has_trouble(&self) -> bool {
        !self.troubles.is_empty()
    }

    pub(crate) fn mistake(&mut self, mistake: impl Into<String>) {
        self.mistakes.push(mistake.into());
    }

    /// Adds a mistake, or else a trouble.
    pub(crate) fn add(&mut self, problem: impl Into<String>, is_mistake: bool) {
        if is_mistake { &mut self.mistakes } else { &mut self.troubles }.push(problem.into());
    }

    pub(crate) fn append(&mut self, others: Self) {
        self.mistakes.extend(others.mistakes);
        self.troubles.extend(others.troubles);
    }
}

impl Extend<String> for Problems {
    /// Adds mistakes.
    fn extend<T: IntoIterator<Item = String>>(&mut self, mistakes: T) {
        self.mistakes.extend(mistakes);
    }
}

impl From<Vec<String>> for Problems {
    fn from(mistakes: Vec<String>) -> Self {
        Self { mistakes, troubles: Vec::new() }
    }
}

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = [&self.mistakes[..], &self.troubles].concat();
        match (&*self.mistakes, &*self.troubles) {
            ([mistake], []) => write!(f, "a mistake in the configuration: {mistake}"),
            ([], [trouble]) => write!(f, "a file of this configuration cannot be used: {trouble}"),
            (_, []) => write!(f, "{} mistakes in the configuration:\n  {}", all.len(), all.join("\n  ")),
            ([], _) => write!(f, "{} files of this configuration cannot be used:\n  {}", all.len(), all.join("\n  ")),
            (_, _) => write!(f, "{} problems with the configuration and its files:\n  {}", all.len(), all.join("\n  ")),
        }
    }
}
