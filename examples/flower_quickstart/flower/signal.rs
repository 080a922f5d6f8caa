//! The signals that ask this process to end.

use std::io;

/// Waits for Ctrl-C, SIGTERM or a closed terminal.
///
/// Raced against the work in a `select!`, it makes the work's values drop, and with them every child process.
///
/// # Errors
///
/// If the signal handlers cannot be installed.
#[cfg(unix)]
pub async fn interrupted() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = hangup.recv() => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Waits for Ctrl-C.
///
/// Raced against the work in a `select!`, it makes the work's values drop, and with them every child process.
///
/// # Errors
///
/// If the handler cannot be installed.
#[cfg(not(unix))]
pub async fn interrupted() -> io::Result<()> {
    tokio::signal::ctrl_c().await
}
