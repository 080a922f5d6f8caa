//! On which host something is done.

use lab::Host;
use tokio::{runtime::Handle, task::block_in_place};

/// Does `work` on `host`, if one is named: the processes and sockets that it makes are there.
pub(crate) async fn on<T: Send>(host: Option<&Host>, work: impl Future<Output = T> + Send) -> T {
    match host {
        None => work.await,
        Some(host) => {
            let runtime = Handle::current();
            block_in_place(|| host.run(|| runtime.block_on(work)))
        }
    }
}
