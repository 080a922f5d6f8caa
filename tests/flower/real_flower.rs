//! What every test with the real Flower needs: its turn, and an environment.

use std::time::Duration;

use tokio::sync::Semaphore;

use crate::flower::{self, Error, Venv, Version};

/// So many runs of Flower go on at a time. Each starts about ten Python processes, and waits for most of its time: for
/// polls, heartbeats and what a test does to its network.
const AT_ONCE: usize = 3;
static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);
/// Above everything that is waited for in a test, each part of which has its own bound.
const TEST_TIMEOUT: Duration = Duration::from_secs(40 * 60);

/// Does the work of a test when few others are at work, within a bound.
pub(crate) async fn in_turn(work: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    in_turn_for(TEST_TIMEOUT, work).await
}

/// The same within a bound of its own.
pub(crate) async fn in_turn_for(limit: Duration, work: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let Ok(turn) = TURNS.acquire().await else { return Err(Error::new("interrupted before its turn")) };
    let finished = tokio::select! {
        finished = tokio::time::timeout(limit, work) => finished,
        _ = flower::interrupted() => {
            // By now the processes of the other branch are gone, and soon those of the tests beside it; libtest itself
            // would leave them behind.
            TURNS.close();
            drop(turn);
            while TURNS.available_permits() < AT_ONCE {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            std::process::exit(130)
        }
    };
    finished.unwrap_or_else(|_| Err(Error::new(format!("no result after {limit:?}"))))
}

/// The environment with `version`, or `None` where a missing Python lets the test skip.
pub(crate) async fn flower_venv(version: Version) -> Result<Option<Venv>, Error> {
    match Venv::prepare(version, |step| eprintln!("flwr {version}: {step}")).await {
        Ok(venv) => Ok(Some(venv)),
        Err(error) if error.is_missing_python() && std::env::var("CI").as_deref() != Ok("true") => {
            eprintln!("skipped: {error}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
