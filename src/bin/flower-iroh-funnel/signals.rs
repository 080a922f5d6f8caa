//! When the operator or the system wants the funnel to end.

use std::process;

use flower_iroh_funnel::Funnel;
use tracing::{info, warn};

/// As shells report a process that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// The first signal drains the funnel, the second ends the process.
pub(crate) fn drain_on_signal(funnel: Funnel) {
    on_signal(move || {
        info!("stopping: calls under way are finished; signal again to stop at once");
        funnel.shutdown();
    });
}

/// The first signal calls `stop`, the second ends the process.
pub(crate) fn on_signal(stop: impl FnOnce() + Send + 'static) {
    let signals = Signals::listen();
    tokio::spawn(async move {
        let mut signals = match signals {
            Ok(signals) => signals,
            Err(error) => return warn!(%error, "cannot listen for signals: they end the process at once"),
        };
        signals.next().await;
        stop();
        signals.next().await;
        warn!("stopped at once");
        process::exit(INTERRUPTED);
    });
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(windows)]
struct Signals {
    c: tokio::signal::windows::CtrlC,
    brk: tokio::signal::windows::CtrlBreak,
    close: tokio::signal::windows::CtrlClose,
    shutdown: tokio::signal::windows::CtrlShutdown,
}

#[cfg(windows)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown};
        Ok(Self { c: ctrl_c()?, brk: ctrl_break()?, close: ctrl_close()?, shutdown: ctrl_shutdown()? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.c.recv() => {}
            _ = self.brk.recv() => {}
            _ = self.close.recv() => {}
            _ = self.shutdown.recv() => {}
        }
    }
}
