//! Terminates HTTP: the local port, which takes gRPC and Flower's HTTP API at once, and the sessions that come through
//! the tunnel.

use std::{
    convert::Infallible,
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
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    forward::{Body, chain},
    http2,
    inbound::Inbound,
    outbound,
    transport::{Code, IrohIncoming, IrohStream},
    tunnel::Tunnel,
};

/// Local connections at once: SuperNodes of this machine, about ten each.
const MAX_LOCAL_CONNECTIONS: usize = 1024;
/// Before the next accept when this one failed, as it does when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A request's head comes at once or never; an idle connection is closed after this.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Serves local Flower clients until `stop`, then lets the calls under way finish.
///
/// Dropping the future ends every connection.
pub(crate) async fn serve_local(listener: TcpListener, tunnel: Tunnel, stop: CancellationToken) {
    let server = local_server();
    let graceful = GracefulShutdown::new();
    let free = Arc::new(Semaphore::new(MAX_LOCAL_CONNECTIONS));
    let mut connections = JoinSet::new();
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
                    warn!(%from, limit = MAX_LOCAL_CONNECTIONS, "local connection refused: too many");
                    continue;
                };
                let connection =
                    serve_socket(socket, from, server.clone(), tunnel.clone(), graceful.watcher(), stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept a local connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    finish(graceful, connections).await;
}

async fn serve_socket(
    socket: TcpStream,
    from: SocketAddr,
    server: auto::Builder<TokioExecutor>,
    tunnel: Tunnel,
    watcher: Watcher,
    stop: CancellationToken,
) {
    // Nothing is lost with a client that says nothing.
    let mut first = [0];
    let spoke = tokio::select! {
        spoke = timeout(HEAD_TIMEOUT, socket.peek(&mut first)) => matches!(spoke, Ok(Ok(1))),
        () = stop.cancelled() => false,
    };
    if !spoke {
        return;
    }
    // Small answers must not wait for the client's acknowledgement. It fails only on a dead socket.
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |request| {
        let tunnel = tunnel.clone();
        async move { Ok::<_, Infallible>(outbound::answer(tunnel, request).await) }
    });
    let connection = server.serve_connection(TokioIo::new(socket), service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        debug!(%from, "local connection ended: {}", chain(&*error));
    }
}

fn local_server() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(http2::LOCAL_STREAM_WINDOW)
        .initial_connection_window_size(http2::LOCAL_CONNECTION_WINDOW)
        .max_frame_size(http2::FRAME_SIZE)
        .max_header_list_size(http2::MAX_HEADER_LIST)
        .max_concurrent_streams(http2::MAX_CALLS);
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
    let mut sessions = JoinSet::new();
    loop {
        let stream = tokio::select! {
            stream = incoming.next() => stream,
            Some(_) = sessions.join_next() => continue,
            () = stop.cancelled() => break,
        };
        let Some(Ok(stream)) = stream else { break };
        sessions.spawn(serve_session(stream, inbound.clone(), graceful.watcher(), stop.clone()));
    }
    tokio::select! {
        () = finish(graceful, sessions) => {}
        () = refuse(&mut incoming) => {}
    }
    incoming
}

async fn serve_session(stream: IrohStream, inbound: Inbound, watcher: Watcher, stop: CancellationToken) {
    let peer = stream.link().peer();
    let inbound = inbound.for_session();
    let called = Arc::new(AtomicBool::new(false));
    let nobody_calls = nobody_calls(Arc::clone(&called), stop);
    let service = service_fn(move |request: Request<Incoming>| {
        called.store(true, Ordering::Relaxed);
        let inbound = inbound.clone();
        async move { Ok::<Response<Body>, Infallible>(inbound.answer(peer, request).await) }
    });
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(http2::STREAM_WINDOW)
        .initial_connection_window_size(http2::CONNECTION_WINDOW)
        .max_frame_size(http2::FRAME_SIZE)
        .max_header_list_size(http2::MAX_HEADER_LIST)
        .max_concurrent_streams(http2::MAX_CALLS)
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

/// Completes when a session is in the way: it was opened, perhaps with half a preface, and carries nothing.
async fn nobody_calls(called: Arc<AtomicBool>, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = sleep(HEAD_TIMEOUT) => {}
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
