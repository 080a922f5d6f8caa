//! When the operator or the system wants the funnel to end.

use std::process;

use flower_iroh_funnel::Funnel;
use tracing::{info, warn};

/// As shells report a process that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// The first signal drains the funnel, the second ends the process.
pub(crate) fn drain_on_signal(funnel: Funnel) {
    tokio::spawn(async move {
        signal().await;
        info!("stopping: calls under way are finished; signal again to stop at once");
        funnel.shutdown();
        signal().await;
        warn!("stopped at once");
        process::exit(INTERRUPTED);
    });
}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(windows)]
async fn signal() {
    use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown};
    let (Ok(mut c), Ok(mut brk), Ok(mut close), Ok(mut shutdown)) =
        (ctrl_c(), ctrl_break(), ctrl_close(), ctrl_shutdown())
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = c.recv() => {}
        _ = brk.recv() => {}
        _ = close.recv() => {}
        _ = shutdown.recv() => {}
    }
}
