//! What went wrong, with the end of the logs that tell why.

use std::fmt;
use std::path::{Path, PathBuf};

/// The result of everything that deals with Flower processes.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Lines of a log that are shown with an error.
const TAIL_LINES: usize = 25;

/// What was tried and how it failed, followed by the last lines of the logs that belong to it.
#[derive(Clone)]
pub struct Error {
    message: String,
    logs: Vec<(PathBuf, String)>,
    python_missing: bool,
}

impl Error {
    /// An error with a message and no logs yet.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), logs: Vec::new(), python_missing: false }
    }

    /// An error whose remedy is to install Python; the message is one sentence that says what to install.
    pub(super) fn missing_python(message: impl Into<String>) -> Self {
        Self { python_missing: true, ..Self::new(message) }
    }

    /// Whether the remedy is to install Python, so that a test may skip.
    pub fn is_missing_python(&self) -> bool {
        self.python_missing
    }

    /// Adds the last lines of a log file.
    #[must_use]
    pub fn with_log(mut self, path: &Path) -> Self {
        self.logs.push((path.to_owned(), tail(path)));
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for (path, tail) in &self.logs {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            write!(f, "\n--- end of {name}\n{tail}")?;
        }
        Ok(())
    }
}

// A test that returns this error prints it with `Debug`, and the logs must stay readable there.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

/// Turns any error into an [`Error`] that says what was tried.
pub trait Context<T> {
    /// Puts `tried` in front of the cause.
    fn context(self, tried: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, tried: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|cause| Error::new(format!("{}: {cause}", tried())))
    }
}

fn tail(path: &Path) -> String {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return format!("(not readable: {error})"),
    };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
