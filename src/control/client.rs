//! The side of a command.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use iroh::EndpointId;
use tokio::{
    io::AsyncWriteExt,
    task::spawn_blocking,
    time::{error::Elapsed, timeout},
};

use super::{Answer, Request, platform, read_line, resolved, socket_path};

/// The wait for an answer. A funnel answers within a second, or in five if it reads the roster; longer only if it is stopped.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The wait for the file system of the roster: past that, the funnel compares the path as it is written.
const RESOLVE_TIMEOUT: Duration = Duration::from_millis(500);

/// The control socket of a funnel on this machine, which may be running.
#[derive(Clone, Debug)]
pub struct ControlSocket {
    key_file: PathBuf,
}

impl ControlSocket {
    /// Returns the control socket of the funnel with this key file, without touching the file system.
    pub fn of_key_file(key_file: impl Into<PathBuf>) -> Self {
        Self { key_file: key_file.into() }
    }

    /// Denies a peer at once, by its endpoint id or by its name on the funnel's roster. The funnel does not change the file:
    /// the denial holds until the funnel ends or [`undeny`](Self::undeny).
    ///
    /// # Errors
    /// [`ControlError`] if no funnel is running, or it does not answer.
    pub async fn deny(&self, peer: &str, roster: &Path) -> Result<Answer, ControlError> {
        let roster = resolved_text(roster).await;
        self.send(&Request::Deny { peer: peer.to_owned(), roster }).await
    }

    /// Lifts a denial by [`deny`](Self::deny), and puts the roster as it is in the file in force.
    ///
    /// # Errors
    /// [`ControlError`] if no funnel is running, or it does not answer.
    pub async fn undeny(&self, peer: EndpointId, roster: &Path) -> Result<Answer, ControlError> {
        let roster = resolved_text(roster).await;
        self.send(&Request::Undeny { peer, roster }).await
    }

    /// Puts the roster as it is in the file in force.
    ///
    /// # Errors
    /// [`ControlError`] if no funnel is running, or it does not answer.
    pub async fn reload(&self, roster: &Path) -> Result<Answer, ControlError> {
        let roster = resolved_text(roster).await;
        self.send(&Request::Reload { roster }).await
    }

    /// Asks for the state of the funnel.
    ///
    /// # Errors
    /// [`ControlError`] if no funnel is running, or it does not answer.
    pub async fn status(&self) -> Result<Answer, ControlError> {
        self.send(&Request::Status).await
    }

    async fn send(&self, request: &Request) -> Result<Answer, ControlError> {
        let path = socket_path(&self.key_file);
        let exchange = async {
            let mut stream = platform::connect(&self.key_file, &path).await?;
            stream.write_all(&request.to_line()).await?;
            let line = read_line(&mut stream).await?;
            Answer::parse(&line).map_err(|problem| io::Error::new(io::ErrorKind::InvalidData, problem))
        };
        match timeout(ANSWER_TIMEOUT, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if platform::is_not_running(&error) => Err(ControlError(Kind::NotRunning { path })),
            Ok(Err(source)) if source.kind() == io::ErrorKind::PermissionDenied => {
                Err(ControlError(Kind::Forbidden { path, source }))
            }
            Ok(Err(source)) => Err(ControlError(Kind::Failed { path, source })),
            Err(Elapsed { .. }) => Err(ControlError(Kind::Silent { path })),
        }
    }
}

/// Never waits long for a disk that hangs.
async fn resolved_text(path: &Path) -> String {
    let resolving = spawn_blocking({
        let path = path.to_owned();
        move || resolved(&path)
    });
    let resolved = timeout(RESOLVE_TIMEOUT, resolving).await.ok().and_then(|done| done.ok()?.ok());
    let written = || std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    resolved.unwrap_or_else(written).to_string_lossy().into_owned()
}

/// A funnel that was not asked.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ControlError(Kind);

#[derive(Debug, thiserror::Error)]
enum Kind {
    #[error("no funnel with this key is running: nothing answers at {}", .path.display())]
    NotRunning { path: PathBuf },
    #[error("the funnel cannot be asked at {}: {source}; run this command as the funnel's user, or as root", .path.display())]
    Forbidden { path: PathBuf, source: io::Error },
    #[error("the funnel cannot be asked at {}: {source}; look into its log, and start it again if it is gone", .path.display())]
    Failed { path: PathBuf, source: io::Error },
    #[error(
        "the funnel did not answer at {} within {} s: it may be stopped; let it go on, or end its process", .path.display(),
        ANSWER_TIMEOUT.as_secs()
    )]
    Silent { path: PathBuf },
}

impl ControlError {
    /// Returns whether no funnel with this key is running on this machine.
    pub fn is_not_running(&self) -> bool {
        matches!(self.0, Kind::NotRunning { .. })
    }
}
