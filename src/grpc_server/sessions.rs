//! The sessions of admitted peers, which arrive through the tunnel.

use std::convert::Infallible;

use futures_util::StreamExt;
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{FirstCall, finish};
use crate::{
    call::{
        inbound::Inbound,
        permit::{PeerCalls, Permits},
    },
    hop::settings,
    report::chain,
    transport::{Code, IrohIncoming, IrohStream},
};

/// Serves the sessions of admitted peers until `stop` or until the endpoint closes, then lets the calls in
/// progress finish. Returns `incoming`, which keeps idle links open. Each call takes one of the `permits`.
///
/// # Cancel safety
/// Dropping the future ends every session.
pub(crate) async fn serve_sessions(
    mut incoming: IrohIncoming,
    inbound: Inbound,
    permits: Permits,
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
        let calls = permits.of(stream.link().peer());
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
    calls: PeerCalls,
    watcher: Watcher,
    stop: CancellationToken,
) {
    let peer = stream.link().peer();
    let inbound = inbound.for_session(stop.clone());
    let first_call = FirstCall::default();
    let missed = first_call.clone().missed(stop);
    let service = service_fn(move |request: Request<Incoming>| {
        first_call.record();
        let (inbound, calls) = (inbound.clone(), calls.clone());
        async move { Ok::<_, Infallible>(inbound.handle(peer, request, calls).await) }
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
        () = missed => debug!(peer = %peer.fmt_short(), "session ended: it sent no call"),
    }
}

/// Refuses new sessions, indefinitely.
async fn refuse(incoming: &mut IrohIncoming) {
    while let Some(Ok(stream)) = incoming.next().await {
        stream.reset(Code::SHUTDOWN);
    }
    std::future::pending().await
}
