//! Whoever else is at the SuperLink's site while real Flower trains: a site whose uploads stand still, and strangers.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use flower_iroh_funnel::{
    ALPN, EndpointAddr, SecretKey,
    transport::{IrohConnector, IrohStream},
};
use futures_util::{StreamExt, future::join_all, stream};
use http::Request;
use http_body_util::StreamBody;
use hyper::{body::Frame, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::sleep;

use crate::raw_peer::on_loopback;

/// Uploads that are begun and left.
const UPLOADS: usize = 16;
const STRANGERS: usize = 4;
/// Until the same one comes again.
const AGAIN: Duration = Duration::from_millis(500);

/// Goes on until it is dropped.
pub(crate) async fn beside(funnel: EndpointAddr, stalled: SecretKey) {
    let strangers = join_all((0..STRANGERS).map(|_| come_and_go(funnel.clone())));
    tokio::join!(strangers, stall(funnel.clone(), stalled));
}

async fn come_and_go(funnel: EndpointAddr) {
    loop {
        // A key of its own each time.
        let endpoint = on_loopback(SecretKey::generate()).bind().await.expect("a socket on loopback");
        if let Ok(link) = endpoint.connect(funnel.clone(), ALPN).await {
            link.closed().await;
        }
        endpoint.close().await;
        sleep(AGAIN).await;
    }
}

async fn stall(funnel: EndpointAddr, key: SecretKey) {
    let endpoint = on_loopback(key).bind().await.expect("a socket on loopback");
    let connector = IrohConnector::new(endpoint, ALPN);
    connector.add_peer(funnel.clone());
    loop {
        // It is denied now and then, and the funnel is killed.
        if let Ok(stream) = connector.open(funnel.id).await {
            let _ = begin_and_leave(stream, &funnel).await;
        }
        sleep(AGAIN).await;
    }
}

async fn begin_and_leave(stream: IrohStream, funnel: &EndpointAddr) -> hyper::Result<()> {
    let (mut requests, session) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let calls = async move {
        let uri = format!("http://{}/v1/fleet/push-object", funnel.id);
        let begin = |_| {
            let first = stream::once(async { Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[7; 1024]))) });
            let body = StreamBody::new(Box::pin(first.chain(stream::pending())));
            requests.send_request(Request::post(&uri).body(body).expect("a valid request"))
        };
        let calls: Vec<_> = (0..UPLOADS).map(begin).collect();
        // Each ends by the funnel alone.
        join_all(calls).await
    };
    tokio::select! {
        ended = session => ended,
        _ = calls => Ok(()),
    }
}
