//! Gateways before a SuperLink that answer before they have read the request, and close the connection.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use flower_iroh_funnel::{Api, Exposed};
use futures_util::future::join_all;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    certificates::{Ca, Certificate, LOCAL_NAMES},
    secure::acceptor,
    support::{LocalClient, Pair, grpc_call, guarded},
    translation::frame,
};

const PAGE: &str = "<html><body>the gateway refuses this</body></html>";
/// The sizes of nine uploads at once, in bytes.
const UPLOADS: [usize; 9] =
    [40_000_000, 40_000_000, 20_000_000, 10_000_000, 5_000_000, 1_000_000, 300_000, 100_000, 20_000];
const ROUNDS: usize = 3;

/// What a gateway does once it has answered.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// It closes the connection; the system resets it, since there are data that were not read.
    Close,
    /// It resets the connection.
    Reset,
    /// It says that the answer ends with the connection, and closes it.
    CloseWithoutLength,
    /// It reads what remains.
    ReadOn,
    /// It ends the answer and reads nothing, for a while.
    Stall,
}

/// A gateway that answers each POST over HTTP/1.1 after its head.
struct Gateway {
    addr: SocketAddr,
    _serving: AbortOnDropHandle<()>,
}

impl Gateway {
    async fn over_http(status: u16, then: Then) -> Self {
        Self::serving(move |mut socket: TcpStream| async move {
            serve_http(&mut socket, status, then).await;
            if let Then::Reset = then {
                socket.set_zero_linger().unwrap();
            }
        })
        .await
    }

    /// The same with TLS.
    async fn over_https(certificate: &Certificate, status: u16, then: Then) -> Self {
        let acceptor = acceptor(certificate);
        Self::serving(move |socket: TcpStream| {
            let acceptor = acceptor.clone();
            async move {
                // Otherwise the answer waits for an acknowledgement in the socket, and is lost when that is closed.
                socket.set_nodelay(true).unwrap();
                let Ok(mut stream) = acceptor.accept(socket).await else { return };
                serve_http(&mut stream, status, then).await;
            }
        })
        .await
    }

    /// The same over HTTP/2, in HTTP's own form, which is not gRPC's.
    async fn over_grpc(status: u16, is_abrupt: bool) -> Self {
        Self::serving(move |socket| serve_grpc(socket, status, is_abrupt)).await
    }

    async fn serving<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(socket));
            }
        });
        Self { addr, _serving: AbortOnDropHandle::new(serving) }
    }

    fn exposed(&self, scheme: &str) -> Exposed {
        Exposed::new().upstream(Api::Fleet, format!("{scheme}://{}", self.addr).parse().unwrap())
    }
}

/// Reads a request's head, and what has come with it.
async fn head(socket: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if socket.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

async fn serve_http(socket: &mut (impl AsyncRead + AsyncWrite + Unpin), status: u16, then: Then) {
    while let Some(head) = head(socket).await {
        if head.starts_with(b"GET") {
            let answer =
                "HTTP/1.1 405 Method Not Allowed\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
            socket.write_all(answer.as_bytes()).await.unwrap();
            continue;
        }
        let length = match then {
            Then::CloseWithoutLength => String::new(),
            _ => format!("content-length: {}\r\n", PAGE.len()),
        };
        let answer =
            format!("HTTP/1.1 {status} Refused\r\ncontent-type: text/html\r\nconnection: close\r\n{length}\r\n{PAGE}");
        socket.write_all(answer.as_bytes()).await.unwrap();
        socket.flush().await.unwrap();
        match then {
            Then::Close | Then::CloseWithoutLength | Then::Reset => {}
            Then::ReadOn => {
                socket.shutdown().await.unwrap();
                tokio::io::copy(socket, &mut tokio::io::sink()).await.ok();
            }
            Then::Stall => {
                socket.shutdown().await.unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        return;
    }
}

async fn serve_grpc(socket: TcpStream, status: u16, is_abrupt: bool) {
    let Ok(mut connection) = h2::server::handshake(socket).await else { return };
    let mut is_closing = false;
    loop {
        let request = async {
            if is_closing {
                timeout(Duration::from_millis(50), connection.accept()).await.ok()?
            } else {
                connection.accept().await
            }
        };
        // At last it closes the connection with data that nobody has read.
        let Some(Ok((request, mut respond))) = request.await else { return };
        if request.uri().path().ends_with("/FunnelProbe") {
            let answer = Response::builder().header("content-type", "application/grpc").header("grpc-status", "12");
            respond.send_response(answer.body(()).unwrap(), true).unwrap();
            continue;
        }
        let answer = Response::builder().status(status).header("content-type", "text/html").body(()).unwrap();
        let mut body = respond.send_response(answer, false).unwrap();
        body.send_data(Bytes::from_static(PAGE.as_bytes()), true).unwrap();
        if is_abrupt && !is_closing {
            connection.graceful_shutdown();
            is_closing = true;
        }
    }
}

/// Uploads as Python's clients do, which read nothing until all is written, and returns the answer.
async fn upload(dial: SocketAddr, length: usize) -> (u16, String) {
    let mut socket = TcpStream::connect(dial).await.unwrap();
    let head = format!(
        "POST /v1/fleet/push-object HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/protobuf\r\n\
         content-length: {length}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let piece = vec![7; 64 << 10];
    let mut left = length;
    while left > 0 {
        let written = left.min(piece.len());
        socket.write_all(&piece[..written]).await.expect("the client may write all of its request");
        left -= written;
    }
    let mut answer = Vec::new();
    let mut piece = vec![0; 4096];
    while !String::from_utf8_lossy(&answer).contains("</html>") {
        let read = socket.read(&mut piece).await.expect("the answer is read before a reset");
        assert!(read > 0, "the connection ended in {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..read]);
        if answer.starts_with(b"HTTP/1.1 5") {
            panic!("{}", String::from_utf8_lossy(&answer));
        }
    }
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.rsplit("\r\n\r\n").next().unwrap().to_owned())
}

/// The gRPC status of an upload.
async fn grpc_status(client: &LocalClient, length: usize) -> String {
    let call = grpc_call("/flwr.proto.Fleet/PushObject", frame(&vec![7; length]));
    let response = client.send(call).await.unwrap();
    let (parts, body) = response.into_parts();
    let trailers = body.collect().await.unwrap().trailers().cloned().unwrap_or_default();
    let status = parts.headers.get("grpc-status").or_else(|| trailers.get("grpc-status"));
    status.expect("every gRPC answer has a status").to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateways_answer_to_an_upload_over_http_reaches_the_caller() {
    guarded(async {
        for then in [Then::Close, Then::Reset, Then::CloseWithoutLength, Then::ReadOn, Then::Stall] {
            for status in [401, 413] {
                let gateway = Gateway::over_http(status, then).await;
                let pair = Pair::start(gateway.exposed("http"), &[Api::Fleet]).await;
                for round in 0..ROUNDS {
                    let answers = join_all(UPLOADS.map(|length| upload(pair.dial, length))).await;
                    for (answer, length) in answers.into_iter().zip(UPLOADS) {
                        assert_eq!(answer, (status, PAGE.to_owned()), "{then:?}, round {round}, {length} bytes");
                    }
                }
                pair.stop().await;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateways_answer_to_an_upload_over_tls_reaches_the_caller() {
    guarded(async {
        let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, ca.pem()).unwrap();
        let gateway = Gateway::over_https(&ca.sign(&LOCAL_NAMES), 413, Then::Close).await;
        let pair = Pair::start(gateway.exposed("https").superlink_ca(ca_file), &[Api::Fleet]).await;
        for round in 0..ROUNDS {
            let answers = join_all(UPLOADS.map(|length| upload(pair.dial, length))).await;
            let refused = answers.iter().all(|answer| *answer == (413, PAGE.to_owned()));
            assert!(refused, "round {round}: {answers:?}");
        }
        pair.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateways_answer_to_an_upload_over_grpc_reaches_the_caller() {
    guarded(async {
        for is_abrupt in [false, true] {
            for (status, grpc) in [(401, "16"), (413, "8")] {
                let gateway = Gateway::over_grpc(status, is_abrupt).await;
                let pair = Pair::start(gateway.exposed("grpc"), &[Api::Fleet]).await;
                for round in 0..ROUNDS {
                    let client = LocalClient::grpc(pair.dial);
                    let answers = join_all(UPLOADS.map(|length| grpc_status(&client, length))).await;
                    assert_eq!(answers, [grpc; 9], "abrupt: {is_abrupt}, round {round}");
                }
                pair.stop().await;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateways_answer_is_translated_for_a_caller_of_the_other_wire() {
    guarded(async {
        let gateway = Gateway::over_http(413, Then::Close).await;
        let pair = Pair::start(gateway.exposed("http"), &[Api::Fleet]).await;
        let client = LocalClient::grpc(pair.dial);
        let answers = join_all(UPLOADS.map(|length| grpc_status(&client, length))).await;
        assert_eq!(answers, ["8"; 9]);
        pair.stop().await;

        let gateway = Gateway::over_grpc(401, true).await;
        let pair = Pair::start(gateway.exposed("grpc"), &[Api::Fleet]).await;
        let client = LocalClient::http(pair.dial);
        for length in UPLOADS {
            let call = super::support::http_call("/v1/fleet/push-object", vec![7; length]);
            let answer = client.send(call).await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{length} bytes");
            // Otherwise the next request may go to a connection that ends.
            let closes = answer.headers().get("connection").is_some_and(|value| value == "close");
            assert!(closes || length < 40_000_000, "{length} bytes: {:?}", answer.headers());
        }
        pair.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_cut_without_an_answer_is_an_error() {
    guarded(async {
        let gateway = Gateway::serving(async |mut socket: TcpStream| {
            while let Some(head) = head(&mut socket).await {
                if !head.starts_with(b"GET") {
                    return socket.set_zero_linger().unwrap();
                }
                let answer =
                    "HTTP/1.1 405 Not Allowed\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        })
        .await;
        let pair = Pair::start(gateway.exposed("http"), &[Api::Fleet]).await;
        for length in UPLOADS {
            let call = super::support::http_call("/v1/fleet/push-object", vec![7; length]);
            let response = LocalClient::http(pair.dial).send(call).await.unwrap();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{length} bytes");
            let detail = super::support::detail(response).await;
            assert!(detail.contains("broke off the call"), "{detail}");
        }
        pair.stop().await;
    })
    .await;
}
