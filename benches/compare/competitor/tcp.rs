//! tonic over TCP, without a tunnel.

use crate::{failure::Failure, rig::Rig};

pub(super) fn serve(rig: &mut Rig) -> Result<String, Failure> {
    rig.start_server("tcp")
}
