//! The environment of a test that needs the real Flower. Includes nothing: the test has the `flower` module.

use crate::flower::{Error, Venv, Version};

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
