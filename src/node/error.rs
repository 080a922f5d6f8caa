//! Errors of a node.

use std::{error::Error, fmt, io, path::PathBuf, sync::Arc};

use serde::Deserialize;
use tonic::{Code, Status};

use crate::object::{ContentError, short};

/// Why a call, a message or a key failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub struct NodeError(Arc<Problem>);

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("cannot use the node key{}: {problem}", InFile(.file.as_ref()))]
    Key {
        file: Option<PathBuf>,
        #[source]
        problem: KeyProblem,
    },
    #[error(transparent)]
    Call(RejectedCall),
    #[error("run {run_id} is no longer running; its messages are dropped")]
    RunStopped { run_id: u64 },
    #[error("the reply is too late: the message expired {ago:.1} s ago")]
    Expired { ago: f64 },
    #[error("the reply is too late: the message has expired, or has been answered already")]
    NotWanted,
    #[error(
        "the SuperLink no longer accepts object {object}: the time for pushing the reply is over, or another reply \
         took its place"
    )]
    NotStored { object: String },
    #[error(transparent)]
    Content(ContentError),
}

/// What is wrong with a node's key.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyProblem {
    #[error("it is in OpenSSH's format; convert a copy of it, in place: ssh-keygen -p -N '' -m PKCS8 -f COPY")]
    OpenSsh,
    #[error("it is not a private key on the curve P-384 in PEM (PKCS#8 or SEC1) without a passphrase")]
    NotAKey,
    #[error("the file cannot be read")]
    Read(#[source] io::Error),
    #[error("the file cannot be written")]
    Write(#[source] io::Error),
    #[error("it has no PEM form")]
    Pem(#[source] p384::pkcs8::Error),
}

/// A call that the SuperLink rejected, or whose answer could not be used.
#[derive(Debug)]
struct RejectedCall {
    call: &'static str,
    status: Status,
}

impl NodeError {
    /// Whether the run is no longer running: its messages need no answer.
    pub fn is_run_stopped(&self) -> bool {
        matches!(*self.0, Problem::RunStopped { .. })
    }

    /// Whether the SuperLink rejects this node's key: neither a retry nor another message helps.
    pub fn is_refused(&self) -> bool {
        self.code() == Some(Code::Unauthenticated)
    }

    /// Whether a reply came too late, or was not the first one.
    pub fn is_too_late(&self) -> bool {
        matches!(*self.0, Problem::Expired { .. } | Problem::NotWanted | Problem::NotStored { .. })
    }

    /// Whether the content of a message cannot be used: a damaged object, an unknown record, an unsupported array.
    pub fn is_bad_content(&self) -> bool {
        matches!(*self.0, Problem::Content { .. })
    }

    /// Returns the SuperLink's answer, if the error is a call that it rejected.
    pub fn status(&self) -> Option<&Status> {
        match &*self.0 {
            Problem::Call(rejected) => Some(&rejected.status),
            _ => None,
        }
    }

    fn code(&self) -> Option<Code> {
        self.status().map(Status::code)
    }

    /// Whether the key is registered already, or cannot be registered by a node.
    pub(super) fn is_key_taken(&self) -> bool {
        self.code() == Some(Code::FailedPrecondition)
    }

    pub(super) fn key(file: Option<PathBuf>, problem: KeyProblem) -> Self {
        Problem::Key { file, problem }.into()
    }

    pub(super) fn call(call: &'static str, status: Status) -> Self {
        Problem::Call(RejectedCall { call, status }).into()
    }

    pub(super) fn run_stopped(run_id: u64) -> Self {
        Problem::RunStopped { run_id }.into()
    }

    /// Makes the error of a reply to a message that expired this many seconds ago.
    pub(super) fn expired(ago: f64) -> Self {
        Problem::Expired { ago }.into()
    }

    pub(super) fn not_wanted() -> Self {
        Problem::NotWanted.into()
    }

    pub(super) fn not_stored(object: &str) -> Self {
        Problem::NotStored { object: short(object).to_owned() }.into()
    }

    /// Converts the error of a call about a run: Flower answers `PERMISSION_DENIED` once the run is not running.
    pub(super) fn in_run(self, run_id: u64) -> Self {
        if self.code() == Some(Code::PermissionDenied) { Self::run_stopped(run_id) } else { self }
    }
}

impl From<Problem> for NodeError {
    fn from(problem: Problem) -> Self {
        Self(Arc::new(problem))
    }
}

impl From<ContentError> for NodeError {
    fn from(error: ContentError) -> Self {
        Problem::Content(error).into()
    }
}

impl fmt::Display for RejectedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, status } = self;
        write!(f, "{call}: the SuperLink answered {:?}: {}", status.code(), explanation(status.message()))?;
        match advice(call, status.code()) {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

/// Implemented by hand: the text includes that of the status, so the source is the cause of the status.
impl Error for RejectedCall {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.status.source()
    }
}

struct InFile<'a>(Option<&'a PathBuf>);

impl fmt::Display for InFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |file| write!(f, " {}", file.display()))
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

/// Renders Flower's error, which is JSON in the status message, as text. Any other message stays as it is.
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
    fn flowers_error_is_rendered_as_text() {
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

    #[test]
    fn the_cause_of_a_call_that_broke_is_the_source() {
        let status = Status::from_error(io::Error::from(io::ErrorKind::ConnectionReset).into());
        let error = NodeError::call("PullObject", status);
        let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(source.map(io::Error::kind), Some(io::ErrorKind::ConnectionReset));
    }
}
