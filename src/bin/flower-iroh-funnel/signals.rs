//! Signals: those that stop the process, and the one that makes it read its files again.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::{io, process, sync::mpsc, thread, time::Duration};

use flower_iroh_funnel::Funnel;
use tokio::{
    runtime::{self, Handle},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};

#[cfg(unix)]
use self::unix::Signals;
#[cfg(unix)]
pub(crate) use self::unix::keep_running_on_hangup;
#[cfg(windows)]
use self::windows::Signals;
#[cfg(windows)]
pub(crate) use self::windows::keep_running_on_hangup;
use crate::output;

/// The exit status that shells report for a process ended by Ctrl-C.
const INTERRUPTED: i32 = 130;
/// The exit status of a process that could not stop in time.
const STOPPED_LATE: i32 = 1;
/// What a stop takes beyond the drain at most, if nothing stands still: closing links, files and output have limits of their own.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Stop,
    /// The end of the terminal.
    #[cfg_attr(windows, allow(dead_code, reason = "Windows stops for it"))]
    TerminalGone,
    #[cfg_attr(windows, allow(dead_code, reason = "it is a signal of Unix"))]
    Reload,
}

/// Drains the funnel at the first signal to stop and ends the process at the second. Reads files again when a signal asks for it.
pub(crate) fn follow_signals(funnel: &Funnel, drain_timeout: Duration) {
    let (stopping, reloading) = (funnel.clone(), funnel.clone());
    let stop = move || {
        info!("stopping: waiting for calls in progress; send the signal again to stop immediately");
        stopping.shutdown();
    };
    on_signal(drain_timeout, stop, move || {
        let funnel = reloading.clone();
        async move {
            match funnel.reload().await {
                Ok(()) => info!("SIGHUP: the roster is read again, and the audit log is opened again"),
                Err(error) => error!("SIGHUP: {error}"),
            }
        }
    });
}

/// Calls `stop` at the first signal to stop, and ends the process at the second, or when the stop takes longer than it may.
/// Calls `reload` when a signal asks for it.
///
/// It happens on a thread of its own: a runtime that stands still can be ended.
pub(crate) fn on_signal<F: Future<Output = ()> + Send + 'static>(
    drain_timeout: Duration,
    stop: impl FnOnce() + Send + 'static,
    reload: impl Fn() -> F + Send + 'static,
) {
    let serving = Handle::current();
    let (listening, is_listening) = mpsc::channel::<()>();
    let run = move || match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(async {
            let signals = Signals::listen();
            drop(listening);
            match signals {
                Ok(signals) => follow(signals, &serving, drain_timeout + STOP_TIMEOUT, stop, reload).await,
                Err(error) => warn_of(&error),
            }
        }),
        Err(error) => warn_of(&error),
    };
    match thread::Builder::new().name("signals".to_owned()).spawn(run) {
        // It listens, or never will, when the sender is dropped.
        Ok(_) => drop(is_listening.recv()),
        Err(error) => warn_of(&error),
    }
}

/// Ends the process at the first signal to stop, until the handle is dropped: for a process that serves nothing yet. Without it,
/// the first process of a container ignores signals.
pub(crate) fn end_on_signal() -> AbortOnDropHandle<()> {
    let signals = Signals::listen();
    AbortOnDropHandle::new(tokio::spawn(async move {
        match signals {
            Ok(mut signals) => {
                while signals.next().await == Signal::Reload {}
                info!("stopped before anything was started");
                output::flush();
                process::exit(0);
            }
            Err(error) => warn_of(&error),
        }
    }))
}

fn warn_of(error: &io::Error) {
    warn!(%error, "cannot handle signals: the first one ends the process immediately");
}

async fn follow<F: Future<Output = ()> + Send + 'static>(
    mut signals: Signals,
    serving: &Handle,
    stop_timeout: Duration,
    stop: impl FnOnce(),
    reload: impl Fn() -> F,
) {
    while signals.next().await == Signal::Reload {
        drop(serving.spawn(reload()));
    }
    stop();
    // A terminal that goes may send more than one signal, and asks for no haste.
    let again = async { while signals.next().await != Signal::Stop {} };
    let status = match timeout(stop_timeout, again).await {
        Ok(()) => {
            warn!("stopped immediately");
            INTERRUPTED
        }
        Err(_) => {
            error!("the stop has taken {} s: the process ends without the rest of it", stop_timeout.as_secs());
            STOPPED_LATE
        }
    };
    output::flush();
    process::exit(status);
}
