//! Whatever fails first, the caller gets the reason that the peer gave.

use std::{
    error::Error,
    io,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use flower_iroh_funnel::transport::{
    Code, ConnectError, IncomingLimits, IrohConnector, IrohStream, LostLinkLayer, SessionError,
};
use http::{Request, Uri};
use hyper_util::rt::TokioIo;
use iroh::{EndpointId, endpoint::Connection};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    task::JoinHandle,
};
use tonic::{Status, body::Body};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::{
    hello::v1::hello_client::HelloClient,
    support::{Raw, TestClient, TestServer, loopback, named, run, target, until},
};

/// A stream as the connector gives it to tonic.
async fn http_stream(connector: &IrohConnector, peer: EndpointId) -> Result<IrohStream, ConnectError> {
    let uri: Uri = format!("iroh://{peer}").parse().unwrap();
    Ok(connector.clone().call(uri).await?.into_inner())
}

/// A client and a server that refuses all sessions, with their connection.
async fn refusing_server() -> (TestServer, TestClient, Connection) {
    let limits = {
        let mut limits = IncomingLimits::default();
        limits.max_sessions = 0;
        limits
    };
    let server = TestServer::with(loopback(), limits).await;
    let mut client = TestClient::knowing(&server).await;
    client.connector.link(server.id()).await.unwrap();
    let connection = client.links.recv().await.unwrap().upgrade().unwrap();
    (server, client, connection)
}

/// Opens a session that the peer has refused by the time this returns, and of which nothing was read yet.
async fn refused_stream(
    connector: &IrohConnector,
    peer: EndpointId,
    connection: &Connection,
) -> Result<IrohStream, ConnectError> {
    let before = connection.stats().frame_rx.stop_sending;
    let mut stream = http_stream(connector, peer).await?;
    // The peer sees a stream with its first byte.
    stream.write_all(b"!").await.unwrap();
    stream.flush().await.unwrap();
    until(|| connection.stats().frame_rx.stop_sending > before).await;
    Ok(stream)
}

fn session_error(error: &io::Error) -> &SessionError {
    error.get_ref().and_then(|inner| inner.downcast_ref()).expect("the peer ended the session")
}

/// Writes fail before anything is read; the read has the reason, and so have all writes after it.
async fn assert_reason_is_read(stream: &mut IrohStream, code: Code, words: &str) {
    stream.write_all(b"more").await.expect("the next read reports the failure");
    stream.flush().await.expect("the next read reports the failure");
    for _ in 0..2 {
        let error = stream.read(&mut [0; 1]).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(session_error(&error).code(), Some(code));
    }
    let _ = stream.write(b"more").await;
    let error = stream.flush().await.unwrap_err();
    assert_eq!(session_error(&error).code(), Some(code));
    assert!(stream.shutdown().await.is_err());
}

#[test]
fn a_write_that_fails_first_leaves_the_reason_to_the_next_read() {
    run(async {
        let (server, client, connection) = refusing_server().await;
        let mut refused = refused_stream(&client.connector, server.id(), &connection).await.unwrap();
        assert_reason_is_read(&mut refused, Code::OVERLOADED, "ended by the peer: overloaded (code 2)").await;
        server.close().await;

        let raw = Raw::new(loopback(), loopback()).await;
        let mut open = http_stream(&raw.client.connector, raw.server.id()).await.unwrap();
        raw.accepted.link().close(Code::SHUTDOWN, "for the night");
        raw.dialled.link().closed().await;
        assert_reason_is_read(&mut open, Code::SHUTDOWN, "shutdown (code 1): for the night").await;
        raw.close().await;
    });
}

/// The frame type HEADERS of HTTP/2.
const HEADERS: u8 = 1;
/// The bytes before the first frame: what [`refused_stream`] wrote comes not this way.
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

/// A stream that is read only after a request was written to it and flushed.
struct WriteFirst {
    stream: IrohStream,
    written: Vec<u8>,
    is_flushed: bool,
    reader: Option<Waker>,
}

impl WriteFirst {
    fn has_request(&self) -> bool {
        let mut rest = self.written.get(PREFACE..).unwrap_or_default();
        while let [a, b, c, kind, ..] = *rest {
            if kind == HEADERS {
                return true;
            }
            let frame = 9 + u32::from_be_bytes([0, a, b, c]) as usize;
            rest = rest.get(frame..).unwrap_or_default();
        }
        false
    }
}

impl AsyncRead for WriteFirst {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.is_flushed {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for WriteFirst {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.written.extend_from_slice(&buf[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.has_request() {
            return Poll::Ready(Ok(()));
        }
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        self.is_flushed = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// An error and its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}

#[test]
fn a_call_in_flight_has_the_reason_when_a_write_fails_first() {
    run(async {
        let (server, client, connection) = refusing_server().await;
        let (connector, peer) = (client.connector.clone(), server.id());
        let write_first = service_fn(move |_: Uri| {
            let (connector, connection) = (connector.clone(), connection.clone());
            async move {
                let stream = refused_stream(&connector, peer, &connection).await?;
                let stream = WriteFirst { stream, written: Vec::new(), is_flushed: false, reader: None };
                Ok::<_, ConnectError>(TokioIo::new(stream))
            }
        });
        // Without `LostLinkLayer`: the reason is in the error that HTTP/2 gives to each call.
        let channel = target(peer).connect_with_connector_lazy(write_first);
        let status = HelloClient::new(channel).unary(named("peer to peer")).await.unwrap_err();
        let text = chain(&status);
        assert!(text.contains("ended by the peer: overloaded (code 2)"), "{text}");
        server.close().await;
    });
}

/// Spawns the session's own task, and tells when it has ended.
#[derive(Clone)]
struct Sessions(tokio::sync::mpsc::UnboundedSender<JoinHandle<()>>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Sessions {
    fn execute(&self, task: F) {
        let _ = self.0.send(tokio::spawn(task));
    }
}

#[test]
fn a_call_that_was_not_sent_has_the_reason_too() {
    run(async {
        let (server, client, connection) = refusing_server().await;
        let lost_link = LostLinkLayer::new();
        let connector = client.connector.reporting_to(&lost_link);
        let stream = refused_stream(&connector, server.id(), &connection).await.unwrap();
        let (sender, mut tasks) = tokio::sync::mpsc::unbounded_channel();
        let (requests, session) =
            hyper::client::conn::http2::handshake(Sessions(sender), TokioIo::new(stream)).await.unwrap();
        tasks.recv().await.unwrap().await.unwrap();
        // HTTP/2 knows of the refusal, and hyper takes requests until it is polled.
        let channel = service_fn(move |request: Request<Body>| requests.clone().send_request(request));
        let call = lost_link.layer(channel).oneshot(Request::new(Body::empty()));
        let (outcome, ended) = tokio::join!(call, session);
        assert!(ended.is_err());
        let status = outcome.unwrap_err().downcast::<Status>().expect("the loss of a link is a status");
        assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
        assert!(status.message().contains("before the call was sent"), "{status:?}");
        assert!(status.message().contains("ended by the peer: overloaded (code 2)"), "{status:?}");
        let source = status.source().and_then(|source| source.downcast_ref::<SessionError>()).unwrap();
        assert_eq!((source.peer(), source.code()), (server.id(), Some(Code::OVERLOADED)));
        server.close().await;
    });
}
