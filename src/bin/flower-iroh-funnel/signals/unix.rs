//! Signals of Unix.

use std::io::{self, IsTerminal};

use tokio::signal::unix::{self, SignalKind, signal};

use super::Signal;

pub(super) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
    /// Asked at the start: a terminal that is gone is none.
    has_terminal: bool,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            has_terminal: has_terminal(),
        })
    }

    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.hangup.recv() => if self.has_terminal { Signal::TerminalGone } else { Signal::Reload },
        }
    }
}

/// Without a terminal, SIGHUP asks for files to be read again. While the process starts it reads them anyway, so it is ignored
/// until [`Signals::listen`].
pub(crate) fn keep_running_on_hangup() -> io::Result<()> {
    if !has_terminal() {
        // The handler of the process stays, also without a stream.
        drop(signal(SignalKind::hangup())?);
    }
    Ok(())
}

fn has_terminal() -> bool {
    io::stdin().is_terminal() || io::stderr().is_terminal()
}
