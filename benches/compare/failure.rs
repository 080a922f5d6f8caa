//! What goes wrong in a bench is told, not handled.

/// Any error, with the context in its text.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Says what was being done when something failed.
pub(crate) trait Context<T> {
    /// Puts `what` before the error.
    fn context(self, what: impl std::fmt::Display) -> Result<T, Failure>;
}

impl<T, E: std::fmt::Display> Context<T> for Result<T, E> {
    fn context(self, what: impl std::fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| format!("{what}: {error}").into())
    }
}
