//! A message's size does not show in a funnel's memory.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::sides::{Sides, begin_call, guarded, http_server, read_head, response_head, status};

const MESSAGE: u64 = 1 << 30;
/// Enough to show in a memory of 96 MiB.
const TRANSLATED: u64 = 256 << 20;
const PIECE: usize = 256 << 10;
/// The most that a funnel may have held, in KiB.
const PEAK_RSS: u64 = 96 << 10;

#[cfg_attr(not(target_os = "linux"), ignore = "reads /proc")]
#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_each_way_leaves_both_processes_under_96_mib() {
    guarded(async {
        let sides = Sides::start(superlink(TRANSLATED, MESSAGE).await).await;

        // No request may be larger.
        for _ in 0..MESSAGE / TRANSLATED {
            let mut push = begin_call(sides.dial, "/v1/fleet/push-object", TRANSLATED).await;
            fill(&mut push, TRANSLATED).await;
            assert_eq!(status(&read_head(&mut push).await.unwrap()), "200");
        }

        let mut pull = begin_call(sides.dial, "/v1/fleet/pull-object", 0).await;
        assert_eq!(status(&read_head(&mut pull).await.unwrap()), "200");
        assert_eq!(drain(&mut pull, MESSAGE).await, MESSAGE);

        assert_small(&sides);
    })
    .await;
}

#[cfg_attr(not(target_os = "linux"), ignore = "reads /proc")]
#[tokio::test(flavor = "multi_thread")]
async fn a_quarter_of_a_gibibyte_each_way_translated_leaves_both_processes_under_96_mib() {
    guarded(async {
        let sides = Sides::start(superlink(TRANSLATED, TRANSLATED).await).await;
        let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        let call = |method: &str, body| {
            let call = Request::post(format!("http://{}/flwr.proto.Fleet/{method}", sides.dial));
            client.request(call.header("content-type", "application/grpc").header("te", "trailers").body(body).unwrap())
        };

        let header = [&[0], &u32::try_from(TRANSLATED).unwrap().to_be_bytes()[..]].concat();
        let piece = Bytes::from(vec![0x5a; PIECE]);
        let pieces = (0..TRANSLATED / PIECE as u64).map(move |_| piece.clone());
        let frames =
            std::iter::once(Bytes::from(header)).chain(pieces).map(|data| Ok::<_, Infallible>(Frame::data(data)));
        let pushed = call("PushObject", StreamBody::new(stream::iter(frames)).boxed()).await.unwrap();
        assert_eq!(received(pushed).await, (5, "0".to_owned()));

        let empty = Full::new(Bytes::from_static(&[0; 5])).boxed();
        let pulled = call("PullObject", empty).await.unwrap();
        assert_eq!(received(pulled).await, (TRANSLATED + 5, "0".to_owned()));
        assert_small(&sides);
    })
    .await;
}

/// The bytes of a gRPC response, and its status.
async fn received(response: Response<Incoming>) -> (u64, String) {
    let (mut body, mut bytes, mut status) = (response.into_body(), 0, String::new());
    while let Some(frame) = body.frame().await {
        match frame.unwrap().into_data() {
            Ok(data) => bytes += data.len() as u64,
            Err(frame) => status = frame.into_trailers().unwrap()["grpc-status"].to_str().unwrap().to_owned(),
        }
    }
    (bytes, status)
}

/// Takes objects of `taken` bytes and gives objects of `given`, over HTTP.
async fn superlink(taken: u64, given: u64) -> SocketAddr {
    http_server(move |mut socket, head| async move {
        if head.starts_with("POST /v1/fleet/push-object") {
            assert_eq!(drain(&mut socket, taken).await, taken);
            let _ = socket.write_all(response_head(0).as_bytes()).await;
        } else if head.starts_with("POST /v1/fleet/pull-object") {
            let _ = socket.write_all(response_head(given).as_bytes()).await;
            fill(&mut socket, given).await;
        }
    })
    .await
}

fn assert_small(sides: &Sides) {
    for funnel in [&sides.inbound, &sides.outbound] {
        let peak = funnel.peak_rss();
        assert!(peak < PEAK_RSS, "{peak} KiB at the peak");
        eprintln!("peak RSS {peak} KiB");
    }
}

async fn fill(socket: &mut TcpStream, length: u64) {
    let piece = vec![0x5a; PIECE];
    for _ in 0..length / PIECE as u64 {
        socket.write_all(&piece).await.unwrap();
    }
}

/// Reads what is there up to `length` bytes, and says how many they were.
async fn drain(socket: &mut TcpStream, length: u64) -> u64 {
    let mut piece = vec![0; PIECE];
    let mut read = 0;
    while read < length {
        match socket.read(&mut piece).await.unwrap() {
            0 => break,
            bytes => read += bytes as u64,
        }
    }
    read
}
