//! Raw iroh streams: what the transport itself can do.

use crate::{failure::Failure, rig::Rig};

pub(super) fn serve(rig: &mut Rig) -> Result<String, Failure> {
    rig.start_server("raw")
}
