//! A program on this machine that dials the local port and does not mean to call.

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    frames::{CONTINUATION, END_STREAM, HEADERS, PREFACE, RST_STREAM, SETTINGS, call, call_head, frame},
    honest::Scene,
    support::guarded,
};

/// What the funnel sent until it ended the connection.
async fn answer(scene: &Scene, beginning: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(scene.honest.dial()).await.unwrap();
    // The funnel may have ended it before all was written.
    let _ = socket.write_all(beginning).await;
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_connection_that_never_gets_to_a_call_is_closed() {
    guarded(async {
        let scene = Scene::start().await;
        let begun = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        let beginnings: [&[u8]; 6] = [
            b"",
            &PREFACE[..12],
            &begun,
            &[&begun, &frame(HEADERS, END_STREAM, 1, &call_head("/v1/fleet/get-run"))[..]].concat(),
            b"POST /v1/fleet/get-run",
            b"POST /v1/fleet/get-run HTTP/1.1\r\nhost: funnel\r\nx-endless: ",
        ];
        for answer in join_all(beginnings.map(|beginning| answer(&scene, beginning))).await {
            assert!(!answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
        }
        scene.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_at_the_local_port_end_their_connections() {
    guarded(async {
        let scene = Scene::start().await;
        let begun = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        let endless = [
            frame(HEADERS, END_STREAM, 1, &call_head("/v1/fleet/get-run")),
            frame(CONTINUATION, 0, 1, &[]).repeat(1000),
        ];
        let pair = |index: u32| {
            let stream = 2 * index + 1;
            [call(stream, "/v1/fleet/get-run"), frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())].concat()
        };
        let resets: Vec<u8> = (0..20_000).flat_map(pair).collect();
        let broken: Vec<u8> = (0..1000).flat_map(|index| frame(HEADERS, 5, 2 * index + 1, &[0x83])).collect();
        for flood in [endless.concat(), resets, broken] {
            answer(&scene, &[&begun[..], &flood].concat()).await;
        }
        let long = [b"POST /".to_vec(), b"v".repeat(1 << 20)].concat();
        let refused = answer(&scene, &long).await;
        assert!(refused.is_empty() || refused.starts_with(b"HTTP/1.1 4"), "{refused:?}");
        scene.end().await;
    })
    .await;
}
