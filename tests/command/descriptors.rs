//! A funnel that runs out of file descriptors.
#![cfg(target_os = "linux")]

use std::{fs, process::Command, sync::Arc};

use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    sync::{Notify, watch},
};

use crate::{
    funnel_process::FunnelProcess,
    sides::{Sides, begin_call, guarded, http_server, read_head, response_head, status},
};

/// More connections than the limit leaves room for.
const CONNECTIONS: usize = 64;

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_connections_are_closed_at_once_calls_go_on_and_with_descriptors_new_ones_are_served() {
    guarded(async {
        let (answer, released) = watch::channel(false);
        let arrived = Arc::new(Notify::new());
        let arriving = Arc::clone(&arrived);
        let superlink = http_server(move |mut socket, head| {
            let (mut released, arriving) = (released.clone(), Arc::clone(&arriving));
            async move {
                if head.starts_with("POST /v1/fleet/push-object") {
                    arriving.notify_one();
                    let _ = released.wait_for(|released| *released).await;
                }
                let _ = socket.write_all(response_head(0).as_bytes()).await;
            }
        })
        .await;
        let sides = Sides::start(superlink).await;
        limit(&sides.outbound, open(&sides.outbound) + 8);

        let mut held = exhaust(&sides, &arrived).await;
        for _ in 0..8 {
            assert!(is_closed(sides.dial).await, "who comes now is told at once");
        }
        sides.outbound.logged("cannot accept local connections").await.unwrap();
        let warnings = sides.outbound.stderr().matches("cannot accept local connections").count();
        assert!(warnings <= CONNECTIONS, "{warnings} warnings: it spins");

        limit(&sides.outbound, 1024);
        // One may still meet the closing of those before it.
        let head = loop {
            let mut call = begin_call(sides.dial, "/v1/fleet/pull-messages", 0).await;
            if let Some(head) = read_head(&mut call).await {
                break head;
            }
        };
        assert_eq!(status(&head), "200");
        answer.send_replace(true);
        for call in &mut held {
            assert_eq!(status(&read_head(call).await.expect("what was under way goes on")), "200");
        }
    })
    .await;
}

/// Begins calls that are not answered until one is refused; the others are returned.
async fn exhaust(sides: &Sides, arrived: &Notify) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut call = begin_call(sides.dial, "/v1/fleet/push-object", 0).await;
        // The SuperLink has it, or it ends.
        tokio::select! {
            head = read_head(&mut call) => {
                assert_eq!(head, None, "closed, and no answer");
                return held;
            }
            () = arrived.notified() => held.push(call),
        }
    }
    panic!("{CONNECTIONS} connections at a limit of fewer descriptors");
}

/// Whether a connection ends without an answer.
async fn is_closed(dial: std::net::SocketAddr) -> bool {
    let mut socket = TcpStream::connect(dial).await.unwrap();
    // The funnel may have closed it before.
    let _ = socket.write_all(b"POST /v1/fleet/pull-messages HTTP/1.1\r\n").await;
    read_head(&mut socket).await.is_none()
}

/// What the funnel has open.
fn open(funnel: &FunnelProcess) -> usize {
    fs::read_dir(format!("/proc/{}/fd", funnel.id().unwrap())).unwrap().count()
}

fn limit(funnel: &FunnelProcess, descriptors: usize) {
    let id = funnel.id().unwrap().to_string();
    let limit = format!("--nofile={descriptors}:");
    let done = Command::new("prlimit").args(["--pid", &id, &limit]).status().expect("prlimit is part of util-linux");
    assert!(done.success());
}
