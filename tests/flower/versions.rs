//! The versions of Flower that the tests are about.

use crate::flower::{Error, Venv, Version};
use crate::real_flower::flower_venv;

/// Every API over gRPC.
pub(crate) const V1_30: Version = Version::new(30, 0);
/// Fleet over gRPC, Control over HTTP.
pub(crate) const V1_39: Version = Version::new(39, 0);
/// Every API over HTTP.
pub(crate) const V1_41: Version = Version::new(41, 0);
/// The newest, every API over HTTP.
pub(crate) const V1_42: Version = Version::new(42, 0);

/// The environments of `versions`, or `None` where a missing Python lets the test skip.
pub(crate) async fn venvs<const N: usize>(versions: [Version; N]) -> Result<Option<[Venv; N]>, Error> {
    let mut venvs = Vec::with_capacity(N);
    for version in versions {
        let Some(venv) = flower_venv(version).await? else { return Ok(None) };
        venvs.push(venv);
    }
    Ok(venvs.try_into().ok())
}
