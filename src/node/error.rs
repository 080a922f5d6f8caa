//! What can go wrong for a node.

use std::{error::Error, fmt, path::PathBuf, sync::Arc};

use serde::Deserialize;
use tonic::{Code, Status};

/// Why a call, a message or an array failed.
#[derive(Clone, Debug)]
pub struct NodeError(Arc<Problem>);

#[derive(Debug)]
enum Problem {
    Key { file: Option<PathBuf>, reason: String },
    Call { call: &'static str, status: Status },
    RunStopped { run_id: u64 },
    TooLate { reason: String },
    NotStored { object: String },
    Content { what: String, reason: String },
}

impl NodeError {
    /// Whether the run is no longer running: its messages need no answer.
    pub fn is_run_stopped(&self) -> bool {
        matches!(*self.0, Problem::RunStopped { .. })
    }

    /// Whether the SuperLink does not take this node's key: neither a retry nor another message helps.
    pub fn is_refused(&self) -> bool {
        matches!(&*self.0, Problem::Call { status, .. } if status.code() == Code::Unauthenticated)
    }

    /// Whether a reply came too late, or was not the first one.
    pub fn is_too_late(&self) -> bool {
        matches!(*self.0, Problem::TooLate { .. } | Problem::NotStored { .. })
    }

    /// Whether what a message carries cannot be used: a damaged object, an unknown record, an unsupported array.
    pub fn is_bad_content(&self) -> bool {
        matches!(*self.0, Problem::Content { .. })
    }

    /// What the SuperLink answered, if it is its answer that failed.
    pub fn status(&self) -> Option<&Status> {
        match &*self.0 {
            Problem::Call { status, .. } => Some(status),
            _ => None,
        }
    }

    /// Whether the key is registered already, or cannot be registered by a node.
    pub(super) fn is_key_taken(&self) -> bool {
        matches!(&*self.0, Problem::Call { status, .. } if status.code() == Code::FailedPrecondition)
    }

    pub(super) fn key(file: Option<PathBuf>, reason: impl Into<String>) -> Self {
        Self(Arc::new(Problem::Key { file, reason: reason.into() }))
    }

    pub(super) fn call(call: &'static str, status: Status) -> Self {
        Self(Arc::new(Problem::Call { call, status }))
    }

    pub(super) fn run_stopped(run_id: u64) -> Self {
        Self(Arc::new(Problem::RunStopped { run_id }))
    }

    pub(super) fn too_late(reason: impl Into<String>) -> Self {
        Self(Arc::new(Problem::TooLate { reason: reason.into() }))
    }

    pub(super) fn not_stored(object: &str) -> Self {
        Self(Arc::new(Problem::NotStored { object: short(object).to_owned() }))
    }

    pub(crate) fn content(what: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self(Arc::new(Problem::Content { what: what.to_string(), reason: reason.to_string() }))
    }

    pub(crate) fn object(id: &str, reason: impl fmt::Display) -> Self {
        Self::content(format_args!("object {}", short(id)), reason)
    }

    /// A failed call about a run: Flower answers `PERMISSION_DENIED` once the run is not running.
    pub(super) fn in_run(self, run_id: u64) -> Self {
        match &*self.0 {
            Problem::Call { status, .. } if status.code() == Code::PermissionDenied => Self::run_stopped(run_id),
            _ => self,
        }
    }
}

/// The first digits of an object id, or all of what is none.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Problem::Key { file: Some(file), reason } => {
                write!(f, "cannot use the node key {}: {reason}", file.display())
            }
            Problem::Key { file: None, reason } => write!(f, "cannot use the node key: {reason}"),
            Problem::Call { call, status } => {
                write!(f, "{call}: the SuperLink answered {:?}: {}", status.code(), explanation(status.message()))?;
                match advice(call, status.code()) {
                    Some(advice) => write!(f, "; {advice}"),
                    None => Ok(()),
                }
            }
            Problem::RunStopped { run_id } => {
                write!(f, "run {run_id} is not running any more; its messages are dropped")
            }
            Problem::TooLate { reason } => write!(f, "the reply is too late: {reason}"),
            Problem::NotStored { object } => write!(
                f,
                "the SuperLink no longer takes object {object}: the time for pushing the reply is over, or another \
                 reply took its place"
            ),
            Problem::Content { what, reason } => write!(f, "{what}: {reason}"),
        }
    }
}

impl Error for NodeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &*self.0 {
            Problem::Call { status, .. } => status.source(),
            _ => None,
        }
    }
}

fn advice(call: &str, code: Code) -> Option<&'static str> {
    match (call, code) {
        ("RegisterNode", Code::FailedPrecondition) => Some(
            "a key registers once: use a new one, or register it with `flwr supernode register` and activate the node",
        ),
        ("ActivateNode", Code::FailedPrecondition) => {
            Some("the key must be registered (`flwr supernode register`), and no other node may be active with it")
        }
        (_, Code::Unauthenticated) => Some("check that this machine's clock is right and that the key is registered"),
        _ => None,
    }
}

/// Flower's error, which comes as JSON in the status message, in words; anything else as it is.
fn explanation(message: &str) -> String {
    #[derive(Deserialize)]
    struct FlowerError {
        code: i64,
        public_message: String,
        public_details: Option<String>,
    }
    match serde_json::from_str(message) {
        Ok(FlowerError { code, public_message, public_details: None }) => format!("{public_message} (code {code})"),
        Ok(FlowerError { code, public_message, public_details: Some(details) }) => {
            format!("{public_message} ({details}; code {code})")
        }
        Err(_) if message.is_empty() => "no reason given".to_owned(),
        Err(_) => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flowers_error_is_told_in_words() {
        let message = r#"{"code": 7, "public_message": "Key in use.", "public_details": null}"#;
        let error = NodeError::call("RegisterNode", Status::failed_precondition(message)).to_string();
        assert!(error.contains("Key in use. (code 7)") && error.contains("flwr supernode register"), "{error}");
    }

    #[test]
    fn a_permission_denied_about_a_run_means_that_it_stopped() {
        let error = NodeError::call("PullObject", Status::permission_denied("")).in_run(3);
        assert!(error.is_run_stopped() && error.to_string().contains("run 3"));
        let error = NodeError::call("PullObject", Status::internal("")).in_run(3);
        assert!(!error.is_run_stopped() && !error.is_refused());
        assert!(NodeError::call("PullMessages", Status::unauthenticated("")).is_refused());
    }
}
