//! A reader that does not read: it costs itself nothing but time, and its neighbours nothing at all.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use flower_iroh_funnel::transport::IrohStream;
use futures_util::StreamExt;
use iroh::endpoint::{Builder, Connection, QuicTransportConfig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};

use crate::{
    hello::v1::HelloRequest,
    support::{Raw, TestClient, TestServer, greet, loopback, run, until},
};

/// More than noq keeps of one stream before it ends the link (2,048).
const WRITES: usize = 3_000;

/// Every byte tells its place.
fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|at| (at % 251) as u8).collect()
}

/// Writes so slowly that every write travels in a packet of its own.
async fn write_apart(stream: &mut IrohStream, connection: &Connection, size: usize, writes: usize) {
    for write in 0..writes {
        let sent = connection.stats().frame_tx.stream;
        stream.write_all(&pattern(write * size, size)).await.unwrap();
        stream.flush().await.unwrap();
        until(|| connection.stats().frame_tx.stream > sent || connection.close_reason().is_some()).await;
    }
}

async fn assert_works(dialled: &mut IrohStream, accepted: &mut IrohStream) {
    for (from, to) in [(0, 1), (1, 0)] {
        let ends = [&mut *dialled, &mut *accepted];
        ends[from].write_all(b"?").await.unwrap();
        ends[from].flush().await.unwrap();
        assert_eq!(ends[to].read_u8().await.unwrap(), b'?');
    }
}

/// The reader of a stream stalls under `WRITES` writes of `size` bytes; another stream goes on meanwhile.
async fn stall_under_small_writes(endpoint: fn() -> Builder, size: usize) {
    let mut raw = Raw::new(endpoint(), endpoint()).await;
    let connection = raw.connection().await;
    let (mut other, mut other_end) = raw.open().await;
    write_apart(&mut raw.dialled, &connection, size, WRITES).await;
    assert_works(&mut other, &mut other_end).await;
    let ending = tokio::spawn(async move {
        raw.dialled.shutdown().await.unwrap();
        raw.dialled
    });
    let mut received = Vec::new();
    raw.accepted.read_to_end(&mut received).await.unwrap();
    assert!(received == pattern(0, size * WRITES), "{size}");
    ending.await.unwrap();
    assert!(connection.close_reason().is_none());
    raw.client.endpoint.close().await;
    raw.server.close().await;
}

fn with_iroh_defaults() -> Builder {
    loopback().transport_config(QuicTransportConfig::default())
}

#[test]
fn a_reader_that_stalls_under_thousands_of_small_writes_does_not_cost_the_link() {
    run(async {
        for size in [1, 17, 150, 250, 400, 1000] {
            stall_under_small_writes(loopback, size).await;
            stall_under_small_writes(with_iroh_defaults, size).await;
        }
    });
}

/// An endpoint whose packets stay as small as QUIC allows.
fn with_smallest_packets() -> Builder {
    let mut config = QuicTransportConfig::builder();
    config = config.mtu_discovery_config(None).stream_receive_window(2_000_000u32.into());
    loopback().transport_config(config.build())
}

#[test]
fn a_reader_that_stalls_under_bulk_holds_the_writer_back_and_costs_nothing_else() {
    run(async {
        for endpoint in [loopback, with_iroh_defaults, with_smallest_packets] {
            for size in [16_393, 1 << 20] {
                stall_under_bulk(endpoint, size).await;
            }
        }
    });
}

async fn stall_under_bulk(endpoint: fn() -> Builder, size: usize) {
    let mut raw = Raw::new(endpoint(), endpoint()).await;
    let connection = raw.connection().await;
    let (mut other, mut other_end) = raw.open().await;
    let total = 32 << 20;
    let taken = Arc::new(AtomicUsize::new(0));
    let writing = tokio::spawn({
        let taken = Arc::clone(&taken);
        async move {
            while taken.load(SeqCst) < total {
                let from = taken.load(SeqCst);
                let part = pattern(from, size.min(total - from));
                taken.fetch_add(raw.dialled.write(&part).await.unwrap(), SeqCst);
            }
            raw.dialled.shutdown().await.unwrap();
        }
    });
    // The writer is held back once neither it nor a packet of it moves during many round trips of another stream.
    let mut before = None;
    loop {
        for _ in 0..100 {
            assert_works(&mut other, &mut other_end).await;
        }
        let now = Some((taken.load(SeqCst), connection.stats().frame_rx.max_stream_data));
        if before == now {
            break;
        }
        before = now;
    }
    assert!(taken.load(SeqCst) < total, "32 MiB are more than anybody keeps for a reader");
    let mut received = Vec::new();
    raw.accepted.read_to_end(&mut received).await.unwrap();
    assert!(received == pattern(0, total));
    writing.await.unwrap();
    raw.client.endpoint.close().await;
    raw.server.close().await;
}

#[test]
fn megabytes_of_small_writes_that_nobody_reads_cost_their_stream_and_not_the_link() {
    run(async {
        let mut raw = Raw::new(loopback(), loopback()).await;
        let connection = raw.connection().await;
        let (mut other, mut other_end) = raw.open().await;
        let err = loop {
            let sent = connection.stats().frame_tx.stream;
            if let Err(err) = raw.dialled.write_all(&[7; 900]).await {
                break err;
            }
            until(|| connection.stats().frame_tx.stream > sent).await;
        };
        assert!(err.to_string().contains("overloaded (code 2)"), "{err}");
        assert_works(&mut other, &mut other_end).await;
        let mut received = Vec::new();
        let err = raw.accepted.read_to_end(&mut received).await.unwrap_err();
        assert!(err.to_string().contains("left unread"), "{err}");
        assert!(received.len() >= 4 << 20 && received.iter().all(|byte| *byte == 7));
        raw.close().await;
    });
}

#[test]
fn what_a_link_keeps_for_stalled_readers_is_bounded_whatever_the_number_of_its_streams() {
    run(async {
        let mut raw = Raw::new(loopback(), loopback()).await;
        let (mut other, mut other_end) = raw.open().await;
        // Each may keep 4 MiB, all together 64.
        let (streams, kept) = (24, 16);
        let (mut writers, mut stalled) = (JoinSet::new(), Vec::new());
        for _ in 0..streams {
            let (mut dialled, accepted) = raw.open().await;
            stalled.push(accepted);
            writers.spawn(async move {
                loop {
                    if let Err(error) = dialled.write_all(&[7; 64 << 10]).await {
                        break error;
                    }
                }
            });
        }
        for _ in kept..streams {
            let error = writers.join_next().await.unwrap().unwrap();
            assert!(error.to_string().contains("overloaded (code 2)"), "{error}");
        }
        assert_works(&mut other, &mut other_end).await;
        let (mut read, mut given_up) = (0, 0);
        for mut accepted in stalled {
            let mut first = vec![0; 4 << 20];
            match accepted.read_exact(&mut first).await {
                Ok(_) => read += 1,
                Err(error) => {
                    assert!(error.to_string().contains("left unread"), "{error}");
                    given_up += 1;
                }
            }
        }
        assert!(read > 0 && given_up >= streams - kept, "{read} of {streams} streams were kept, {given_up} given up");
        raw.close().await;
    });
}

#[test]
fn tasks_that_read_and_write_the_same_streams_wake_each_other() {
    run(async {
        for _ in 0..20 {
            let raw = Raw::new(loopback(), loopback()).await;
            let sent = Arc::new(pattern(0, 8 << 20));
            let mut ends = JoinSet::new();
            for stream in [raw.dialled, raw.accepted] {
                let (mut read, mut write) = tokio::io::split(stream);
                let (sent, expected) = (Arc::clone(&sent), Arc::clone(&sent));
                ends.spawn(async move {
                    write.write_all(&sent).await.unwrap();
                    write.shutdown().await.unwrap();
                });
                ends.spawn(async move {
                    let mut received = Vec::new();
                    read.read_to_end(&mut received).await.unwrap();
                    assert!(received == *expected);
                });
            }
            while let Some(ended) = ends.join_next().await {
                ended.unwrap();
            }
            raw.client.endpoint.close().await;
            raw.server.close().await;
        }
    });
}

#[test]
fn a_caller_that_does_not_read_its_replies_delays_no_other_call() {
    run(async {
        let server = TestServer::start().await;
        let client = TestClient::knowing(&server).await;
        let mut hello = client.hello(server.id());
        let count = 50_000;
        for size in [1, 150, 1000] {
            let request = HelloRequest { name: "s".to_owned(), count, payload: pattern(0, size) };
            let mut replies = hello.server_stream(request).await.unwrap().into_inner();
            for _ in 0..100 {
                greet(&mut hello).await.unwrap();
            }
            let mut received = 0;
            while let Some(reply) = replies.next().await {
                assert!(reply.unwrap().payload == pattern(0, size));
                received += 1;
            }
            assert_eq!(received, count);
        }
        assert_eq!(server.watch.handshakes(), 1);
        server.close().await;
    });
}
