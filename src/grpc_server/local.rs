//! The local port, where Flower clients on this machine reach a peer.

use std::{convert::Infallible, fmt, io::ErrorKind, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::FutureExt;
use http::{HeaderValue, Request, Version, header::CONNECTION};
use hyper::{
    body::{Body, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{
    FirstCall, finish,
    half_close::{AnswerDue, HalfCloseStream},
    lingering::Lingering,
};
use crate::{
    call::{LocalNames, outbound, passthrough, redelivery::Redelivery},
    descriptors::Reserve,
    hop::{
        UnreadRequest, settings,
        tcp::{self, TcpConnection},
    },
    report::chain,
    tls::LocalTls,
    transport::RateLimit,
    tunnel::Tunnel,
};

/// The most local connections at once. A SuperNode needs about ten.
const MAX_LOCAL_CONNECTIONS: usize = 1024;
/// The pause after a failed accept, for instance when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The wait for the head of the next request over HTTP/1.1. An idle connection is closed after this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// The interval between two warnings about clients that cannot be served: they reconnect every few seconds.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// The protocol that local clients use on the port for a peer.
#[derive(Clone, Debug)]
pub(crate) enum LocalProtocol {
    /// HTTP without TLS.
    Plain,
    /// HTTP over TLS.
    Tls(LocalTls),
    /// Any protocol: the bytes are forwarded unread to the upstream at the other end.
    Passthrough,
}

/// Serves local Flower clients until `stop`, then lets the calls in progress finish. A client may pause for `max_pause` in the
/// middle of a request.
///
/// # Cancel safety
/// Dropping the future ends every connection.
pub(crate) async fn serve_local(
    listener: TcpListener,
    protocol: LocalProtocol,
    names: LocalNames,
    tunnel: Tunnel,
    max_pause: Duration,
    stop: CancellationToken,
) {
    let port = LocalPort {
        server: server(&protocol),
        tunnel,
        redelivery: Redelivery::outbound(),
        protocol,
        max_pause,
        names,
        stop: stop.clone(),
        warnings: Arc::new(RateLimit::every(WARNING_INTERVAL)),
    };
    let graceful = GracefulShutdown::new();
    let free = Arc::new(Semaphore::new(MAX_LOCAL_CONNECTIONS));
    let mut connections = JoinSet::new();
    let (crowded, starved) = (RateLimit::every(WARNING_INTERVAL), RateLimit::default());
    let mut reserve = Reserve::new(1);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((socket, from)) => {
                // Reset rather than left waiting: a silent socket makes a SuperNode hang.
                let Ok(permit) = Arc::clone(&free).try_acquire_owned() else {
                    tcp::reset(socket);
                    crowded.run(|| warn!(%from, limit = MAX_LOCAL_CONNECTIONS, "local connection refused: too many"));
                    continue;
                };
                let connection = port.clone().serve_socket(socket, from, graceful.watcher());
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            // The client has disconnected already.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => {
                let closed = close_waiting(&listener, &mut reserve);
                starved.run(|| warn!(%error, closed, "cannot accept local connections"));
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    finish(graceful, connections).await;
}

/// Accepts and resets the waiting connections with a descriptor of the reserve, and returns their number. A connection that is
/// never accepted stays silent, and makes a SuperNode hang.
fn close_waiting(listener: &TcpListener, reserve: &mut Reserve) -> usize {
    reserve.release_all();
    // tokio's cooperative budget for a task bounds the number.
    let waiting = || listener.accept().now_or_never()?.ok();
    let closed = std::iter::from_fn(waiting).map(|(socket, _)| tcp::reset(socket)).count();
    reserve.refill();
    closed
}

/// What the connections of one local port share.
#[derive(Clone)]
struct LocalPort {
    server: auto::Builder<TokioExecutor>,
    tunnel: Tunnel,
    redelivery: Redelivery,
    protocol: LocalProtocol,
    max_pause: Duration,
    names: LocalNames,
    stop: CancellationToken,
    warnings: Arc<RateLimit>,
}

impl LocalPort {
    async fn serve_socket(self, socket: TcpStream, from: SocketAddr, watcher: Watcher) {
        let socket = TcpConnection::new(socket, tcp::CLIENT);
        let answer = AnswerDue::default();
        let tls = match &self.protocol {
            LocalProtocol::Plain => {
                let stream = HalfCloseStream::new(socket, answer.clone());
                return self.serve_stream(stream, answer, from, watcher).await;
            }
            LocalProtocol::Passthrough => return self.pass_through(socket, from).await,
            LocalProtocol::Tls(tls) => tls,
        };
        // Flower takes a clean end in the handshake for a wrong certificate, and gives up.
        socket.reset_on_drop(true);
        let accepted = tokio::select! {
            accepted = tls.accept(socket) => accepted,
            () = self.stop.cancelled() => return,
        };
        match accepted {
            Ok(stream) => {
                stream.get_ref().0.reset_on_drop(false);
                self.serve_stream(stream, answer, from, watcher).await;
            }
            Err((problem, socket)) => {
                if let Some(socket) = socket {
                    socket.reset_on_drop(false);
                }
                self.warn_of(from, format_args!("no TLS with a local client: {problem}"));
            }
        }
    }

    async fn pass_through(&self, socket: TcpConnection, from: SocketAddr) {
        if let Err(error) = passthrough::forward(socket, &self.tunnel, &self.stop).await {
            self.warn_of(from, format_args!("no pass-through for a local client: {error}"));
        }
    }

    async fn serve_stream<S>(self, stream: S, answer: AnswerDue, from: SocketAddr, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let first_call = FirstCall::default();
        let missed = first_call.clone().missed(self.stop);
        let (tunnel, redelivery, names, max_pause) = (self.tunnel, self.redelivery, self.names, self.max_pause);
        let unread = UnreadRequest::default();
        let stream = Lingering::new(stream, unread.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            first_call.record();
            if request.version() < Version::HTTP_2 {
                unread.set(!request.body().is_end_stream());
                request.extensions_mut().insert(unread.clone());
            }
            answer.arrived(&request);
            let (tunnel, redelivery, names) = (tunnel.clone(), redelivery.clone(), names.clone());
            let (answer, unread) = (answer.clone(), unread.clone());
            async move {
                let mut response = outbound::handle(tunnel, redelivery, max_pause, &names, request).await;
                answer.begins();
                if unread.get() {
                    // The connection ends with this answer: a client that sends its next request on it would lose that.
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            }
        });
        let connection = self.server.serve_connection(TokioIo::new(stream), service).into_owned();
        tokio::select! {
            ended = watcher.watch(connection) => {
                if let Err(error) = ended {
                    debug!(%from, "local connection ended: {}", chain(&*error));
                }
            }
            () = missed => debug!(%from, "local connection ended: it sent no call"),
        }
    }

    fn warn_of(&self, from: SocketAddr, problem: impl fmt::Display) {
        if self.warnings.allow() {
            warn!(%from, "{problem}");
        } else {
            debug!(%from, "{problem}");
        }
    }
}

/// Creates the server. With TLS, a client that has ended its side counts as gone: its end stays unread in the socket.
fn server(protocol: &LocalProtocol) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .half_close(matches!(protocol, LocalProtocol::Plain))
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(settings::LOCAL_STREAM_WINDOW)
        .initial_connection_window_size(settings::LOCAL_CONNECTION_WINDOW)
        .max_frame_size(settings::FRAME_SIZE)
        .max_header_list_size(settings::LOCAL_MAX_HEADER_LIST)
        .max_concurrent_streams(settings::MAX_CALLS)
        .max_pending_accept_reset_streams(settings::MAX_EARLY_RESETS)
        .max_local_error_reset_streams(settings::MAX_BROKEN_CALLS);
    builder
}
