//! What every test with the real Flower needs: its turn, its versions, and the app.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::Mutex;

use crate::flower::{self, Error, Venv, Version};
use crate::flower_venv::flower_venv;

/// Every API over gRPC.
pub(crate) const V1_30: Version = Version::new(30, 0);
/// Fleet over gRPC, Control over HTTP.
pub(crate) const V1_39: Version = Version::new(39, 0);
/// Every API over HTTP.
pub(crate) const V1_41: Version = Version::new(41, 0);

/// Flower keeps two cores busy: tests take turns.
static TURN: Mutex<()> = Mutex::const_new(());
/// Above everything that is waited for in a test, each part of which has its own bound.
const TEST_TIMEOUT: Duration = Duration::from_secs(40 * 60);

/// Does the work of a test when no other one is at work, within a bound.
pub(crate) async fn in_turn(work: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let _turn = TURN.lock().await;
    let finished = tokio::select! {
        finished = tokio::time::timeout(TEST_TIMEOUT, work) => finished,
        _ = flower::interrupted() => {
            // By now the processes of the other branch are gone; libtest itself would leave them behind.
            std::process::exit(130)
        }
    };
    finished.unwrap_or_else(|_| Err(Error::new(format!("no result after {TEST_TIMEOUT:?}"))))
}

/// The environments of `versions`, or `None` where a missing Python lets the test skip.
pub(crate) async fn venvs<const N: usize>(versions: [Version; N]) -> Result<Option<[Venv; N]>, Error> {
    let mut venvs = Vec::with_capacity(N);
    for version in versions {
        let Some(venv) = flower_venv(version).await? else { return Ok(None) };
        venvs.push(venv);
    }
    Ok(venvs.try_into().ok())
}

pub(crate) fn app() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flower_quickstart/app")
}
