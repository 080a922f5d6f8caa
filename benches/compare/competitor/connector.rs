//! tonic over `IrohConnector` and `IrohIncoming`, in the processes of client and server.

use crate::{failure::Failure, rig::Rig};

pub(super) fn serve(rig: &mut Rig) -> Result<String, Failure> {
    rig.start_server("iroh")
}
