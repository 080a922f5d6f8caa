//! Terminates HTTP: the local port, which takes gRPC and Flower's HTTP API at once, and the sessions that come through
//! the tunnel.

mod descriptor_reserve;

use std::{
    convert::Infallible,
    fmt,
    io::ErrorKind,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
};
use iroh::EndpointId;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::descriptor_reserve::Reserve;
use crate::{
    call::permit::{Calls, CallsOfPeer, Counted, Place},
    call::{inbound::Inbound, outbound, passthrough, redelivery::Redelivery},
    hop::{self, chain, settings},
    protocol::{Failure, Wire},
    tls::LocalTls,
    transport::{Code, IrohIncoming, IrohStream, RateLimit},
    tunnel::Tunnel,
};

/// Local connections at once: SuperNodes of this machine, about ten each.
const MAX_LOCAL_CONNECTIONS: usize = 1024;
/// Before the next accept when this one failed, as it does when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// For the first whole request of a connection or session, which comes at once or never.
const FIRST_CALL: Duration = Duration::from_secs(10);
/// For the head of a further request over HTTP/1.1; an idle connection is closed after this.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Between two warnings of clients that cannot be served: they come back every few seconds.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// What a local port takes.
#[derive(Clone, Debug)]
pub(crate) enum Takes {
    /// Calls.
    Plain,
    /// Calls over TLS.
    Tls(LocalTls),
    /// Whatever comes, for the upstream at the other end.
    Bytes,
}

/// Serves local Flower clients until `stop`, then lets the calls under way finish.
///
/// Dropping the future ends every connection.
pub(crate) async fn serve_local(listener: TcpListener, takes: Takes, tunnel: Tunnel, stop: CancellationToken) {
    let port = LocalPort {
        server: local_server(),
        tunnel,
        redelivery: Redelivery::outbound(),
        takes,
        stop: stop.clone(),
        warnings: Arc::new(RateLimit::every(WARNING_INTERVAL)),
    };
    let graceful = GracefulShutdown::new();
    let free = Arc::new(Semaphore::new(MAX_LOCAL_CONNECTIONS));
    let mut connections = JoinSet::new();
    let (crowded, starved) = (RateLimit::every(WARNING_INTERVAL), RateLimit::default());
    let mut reserve = Reserve::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((socket, from)) => {
                // Closed at once rather than kept waiting: a silent socket makes a SuperNode hang.
                let Ok(permit) = Arc::clone(&free).try_acquire_owned() else {
                    crowded.run(|| warn!(%from, limit = MAX_LOCAL_CONNECTIONS, "local connection refused: too many"));
                    continue;
                };
                let connection = port.clone().serve_socket(socket, from, graceful.watcher());
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            // Its client has gone.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => {
                let closed = reserve.turn_away(&listener);
                starved.run(|| warn!(%error, closed, "cannot accept local connections"));
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    finish(graceful, connections).await;
}

/// What the connections of one local port share.
#[derive(Clone)]
struct LocalPort {
    server: auto::Builder<TokioExecutor>,
    tunnel: Tunnel,
    redelivery: Redelivery,
    takes: Takes,
    stop: CancellationToken,
    warnings: Arc<RateLimit>,
}

impl LocalPort {
    async fn serve_socket(self, socket: TcpStream, from: SocketAddr, watcher: Watcher) {
        // Small answers must not wait for the client's acknowledgement. It fails only on a dead socket.
        let _ = socket.set_nodelay(true);
        let tls = match &self.takes {
            Takes::Plain => return self.serve_stream(socket, from, watcher).await,
            Takes::Bytes => return self.pass_through(socket, from).await,
            Takes::Tls(tls) => tls,
        };
        let accepted = tokio::select! {
            accepted = tls.accept(socket) => accepted,
            () = self.stop.cancelled() => return,
        };
        match accepted {
            Ok(stream) => self.serve_stream(stream, from, watcher).await,
            Err(complaint) => self.warn_of(from, format_args!("no TLS with a local client: {complaint}")),
        }
    }

    async fn pass_through(&self, socket: TcpStream, from: SocketAddr) {
        if let Err(failure) = passthrough::carry(socket, &self.tunnel, &self.stop).await {
            self.warn_of(from, format_args!("no pass-through for a local client: {failure}"));
        }
    }

    async fn serve_stream<S>(self, stream: S, from: SocketAddr, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let called = Arc::new(AtomicBool::new(false));
        let nobody_calls = nobody_calls(Arc::clone(&called), self.stop);
        let (tunnel, redelivery) = (self.tunnel, self.redelivery);
        let service = service_fn(move |request| {
            called.store(true, Ordering::Relaxed);
            let (tunnel, redelivery) = (tunnel.clone(), redelivery.clone());
            async move { Ok::<_, Infallible>(outbound::answer(tunnel, redelivery, request).await) }
        });
        let connection = self.server.serve_connection(TokioIo::new(stream), service).into_owned();
        tokio::select! {
            ended = watcher.watch(connection) => {
                if let Err(error) = ended {
                    debug!(%from, "local connection ended: {}", chain(&*error));
                }
            }
            () = nobody_calls => debug!(%from, "local connection ended: it carried no call"),
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

fn local_server() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(settings::LOCAL_STREAM_WINDOW)
        .initial_connection_window_size(settings::LOCAL_CONNECTION_WINDOW)
        .max_frame_size(settings::FRAME_SIZE)
        .max_header_list_size(settings::MAX_HEADER_LIST)
        .max_concurrent_streams(settings::MAX_CALLS)
        .max_pending_accept_reset_streams(settings::MAX_EARLY_RESETS)
        .max_local_error_reset_streams(settings::MAX_BROKEN_CALLS);
    builder
}

/// Serves the sessions of admitted peers until `stop` or until the endpoint closes, then lets the calls under way
/// finish. Gives `incoming` back, which keeps idle links open.
///
/// Dropping the future ends every session.
pub(crate) async fn serve_sessions(
    mut incoming: IrohIncoming,
    inbound: Inbound,
    stop: CancellationToken,
) -> IrohIncoming {
    let graceful = GracefulShutdown::new();
    let calls = Calls::default();
    let mut sessions = JoinSet::new();
    loop {
        let stream = tokio::select! {
            stream = incoming.next() => stream,
            Some(_) = sessions.join_next() => continue,
            () = stop.cancelled() => break,
        };
        let Some(Ok(stream)) = stream else { break };
        let calls = calls.of(stream.link().peer());
        sessions.spawn(serve_session(stream, inbound.clone(), calls, graceful.watcher(), stop.clone()));
    }
    tokio::select! {
        () = finish(graceful, sessions) => {}
        () = refuse(&mut incoming) => {}
    }
    incoming
}

async fn serve_session(
    stream: IrohStream,
    inbound: Inbound,
    calls: CallsOfPeer,
    watcher: Watcher,
    stop: CancellationToken,
) {
    let peer = stream.link().peer();
    let inbound = inbound.for_session(stop.clone());
    let called = Arc::new(AtomicBool::new(false));
    let nobody_calls = nobody_calls(Arc::clone(&called), stop);
    let service = service_fn(move |request: Request<Incoming>| {
        called.store(true, Ordering::Relaxed);
        let (inbound, place) = (inbound.clone(), calls.take(request.uri().path()));
        async move { Ok::<_, Infallible>(answer(inbound, peer, request, place).await) }
    });
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(settings::STREAM_WINDOW)
        .initial_connection_window_size(settings::CONNECTION_WINDOW)
        .max_frame_size(settings::FRAME_SIZE)
        .max_header_list_size(settings::MAX_HEADER_LIST)
        .max_concurrent_streams(settings::MAX_CALLS_OF_SESSION)
        .max_pending_accept_reset_streams(settings::MAX_EARLY_RESETS)
        .max_local_error_reset_streams(settings::MAX_BROKEN_CALLS)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        ended = watcher.watch(connection) => {
            if let Err(error) = ended {
                debug!(peer = %peer.fmt_short(), "session ended: {}", chain(&error));
            }
        }
        () = nobody_calls => debug!(peer = %peer.fmt_short(), "session ended: it carried no call"),
    }
}

async fn answer(
    inbound: Inbound,
    peer: EndpointId,
    mut request: Request<Incoming>,
    place: Result<Option<Place>, Failure>,
) -> Response<Counted> {
    if let Ok(Some(place)) = &place {
        request.extensions_mut().insert(place.clone());
    }
    match place {
        Ok(place) => inbound.answer(peer, request).await.map(|body| Counted::new(body, place)),
        Err(failure) => {
            let response = failure.response(Wire::of_request(&request));
            response.map(|body| Counted::new(hop::full(body), None))
        }
    }
}

/// Completes when a connection or session is in the way: it was opened, perhaps with half a preface, and carries nothing.
async fn nobody_calls(called: Arc<AtomicBool>, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = sleep(FIRST_CALL) => {}
    }
    if called.load(Ordering::Relaxed) {
        std::future::pending().await
    }
}

/// Turns away the sessions that still come, for ever.
async fn refuse(incoming: &mut IrohIncoming) {
    while let Some(Ok(stream)) = incoming.next().await {
        stream.reset(Code::SHUTDOWN);
    }
    std::future::pending().await
}

/// Says GOAWAY and waits for the calls under way.
async fn finish(graceful: GracefulShutdown, mut connections: JoinSet<()>) {
    graceful.shutdown().await;
    while connections.join_next().await.is_some() {}
}
