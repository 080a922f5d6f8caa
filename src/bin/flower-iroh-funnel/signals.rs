//! Signals that stop the process.

use std::process;

use flower_iroh_funnel::Funnel;
use tokio::task::JoinHandle;
use tracing::{info, warn};

/// The exit status that shells report for a process ended by Ctrl-C.
const INTERRUPTED: i32 = 130;

/// Drains the funnel at the first signal and ends the process at the second.
pub(crate) fn drain_on_signal(funnel: Funnel) {
    on_signal(move || {
        info!("stopping: waiting for calls in progress; send the signal again to stop immediately");
        funnel.shutdown();
    });
}

/// Calls `stop` at the first signal and ends the process at the second.
pub(crate) fn on_signal(stop: impl FnOnce() + Send + 'static) {
    let signals = Signals::listen();
    tokio::spawn(async move {
        let mut signals = match signals {
            Ok(signals) => signals,
            Err(error) => return warn!(%error, "cannot handle signals: the first one ends the process immediately"),
        };
        signals.next().await;
        stop();
        signals.next().await;
        warn!("stopped immediately");
        process::exit(INTERRUPTED);
    });
}

/// Ends the process at the first signal, until the handle is dropped: for a process that serves nothing yet. Without it, the
/// first process of a container ignores signals.
pub(crate) fn end_on_signal() -> AbortOnDrop {
    let signals = Signals::listen();
    AbortOnDrop(tokio::spawn(async move {
        if let Ok(mut signals) = signals {
            signals.next().await;
            info!("stopped before anything was started");
            process::exit(0);
        }
    }))
}

/// Ends its task when it is dropped.
pub(crate) struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
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
