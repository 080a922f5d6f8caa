//! TCP connections to Flower's processes and from Flower's clients: how soon a dead host is noticed, and how a connection ends.

#[cfg(target_os = "linux")]
#[path = "tcp/linux.rs"]
mod platform;
#[cfg(not(target_os = "linux"))]
#[path = "tcp/other.rs"]
mod platform;

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::client::legacy::connect::{Connected, Connection};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use self::platform::HostWatch;

/// How soon TCP notices that the other host is dead. A host that acknowledges is alive, even if the process there does not
/// read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostTimeouts {
    /// The idle time after which the system probes the host.
    pub(crate) idle: Duration,
    /// The interval between two probes.
    pub(crate) interval: Duration,
    /// How long data may stay unacknowledged before the connection fails, where the system has such a limit.
    pub(crate) unacknowledged: Duration,
}

/// For upstreams. HTTP/2 pings would do as well, but a SuperLink closes connections that ping ("too many pings"), and a
/// process that is busy answers none.
pub(crate) const UPSTREAM: HostTimeouts = HostTimeouts {
    idle: Duration::from_secs(4),
    interval: Duration::from_secs(2),
    unacknowledged: Duration::from_secs(10),
};
/// For local clients.
pub(crate) const CLIENT: HostTimeouts = HostTimeouts {
    idle: Duration::from_secs(60),
    interval: Duration::from_secs(15),
    unacknowledged: Duration::from_secs(60),
};
/// The probes that go unanswered before a host counts as dead.
const PROBES: u32 = 3;

/// Resets a connection that cannot be served.
pub(crate) fn reset(socket: TcpStream) {
    // Fails only on a dead socket.
    let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
}

/// A TCP connection that fails if the other host is dead, and waits for a process that is only busy.
#[derive(Debug)]
pub(crate) struct TcpConnection {
    socket: TcpStream,
    watch: HostWatch,
}

impl TcpConnection {
    /// Takes a connection.
    pub(crate) fn new(socket: TcpStream, timeouts: HostTimeouts) -> Self {
        // Small messages must not wait for acknowledgements. Fails only on a dead socket.
        let _ = socket.set_nodelay(true);
        let probes = TcpKeepalive::new().with_time(timeouts.idle).with_interval(timeouts.interval);
        // Without probes, a dead host is noticed later.
        let _ = SockRef::from(&socket).set_tcp_keepalive(&probes.with_retries(PROBES));
        let watch = HostWatch::new(&socket, timeouts.unacknowledged);
        Self { socket, watch }
    }

    /// Sets whether dropping the connection resets it, instead of ending it cleanly. Flower's clients take a reset for a
    /// fault of the network and try again; they take a clean end in the middle of TLS's handshake for the server's last word.
    pub(crate) fn reset_on_drop(&self, reset: bool) {
        // Fails only on a dead socket.
        let _ = SockRef::from(&self.socket).set_linger(reset.then_some(Duration::ZERO));
    }

    /// Returns how many bytes the other side has sent that are not read yet, one at most; 0 if it has ended its data.
    pub(crate) fn poll_peek(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.socket.poll_peek(cx, &mut ReadBuf::new(&mut [0]))
    }

    /// Returns an error that the system has found and no read or write has reported: behind the other side's end, reading
    /// reports none.
    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.take_error()
    }

    /// Writes without waiting.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.try_write(bytes)
    }

    fn written(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.watch.written();
        }
        written
    }
}

impl AsyncRead for TcpConnection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.watch.poll(&this.socket, cx);
        Pin::new(&mut this.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for TcpConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = Pin::new(&mut this.socket).poll_write(cx, buf);
        let written = this.written(written);
        this.watch.poll(&this.socket, cx);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = Pin::new(&mut this.socket).poll_write_vectored(cx, bufs);
        let written = this.written(written);
        this.watch.poll(&this.socket, cx);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl Connection for TcpConnection {
    fn connected(&self) -> Connected {
        self.socket.connected()
    }
}
