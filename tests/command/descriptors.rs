//! A funnel that runs out of file descriptors.
#![cfg(target_os = "linux")]

use std::{fs, process::Command, sync::Arc};

use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    sync::{Notify, watch},
};

use crate::{
    control::{Office, Site, cut},
    funnel_process::FunnelProcess,
    sides::{Sides, begin_call_on, guarded, http_server, read_head, response_head, status, words},
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
            let Ok(socket) = TcpStream::connect(sides.dial).await else { continue };
            let mut call = begin_call_on(socket, "/v1/fleet/pull-messages", 0).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_is_in_force_and_the_roster_is_read_while_calls_have_taken_every_descriptor() {
    guarded(async {
        let (office, [greedy, neighbour]) = Office::with_sites(["greedy", "neighbour"]).await;
        let under_way = neighbour.stall().await;
        office.arrived.notified().await;
        assert_eq!(greedy.call().await, "200");
        limit(&office.inbound, open(&office.inbound) + 8);
        let mut held = Vec::new();
        take_all(&office, &greedy, &mut held).await;

        let said = office.type_in(&["peers", "deny", "neighbour"]).await;
        assert!(said.contains(&office.in_force()), "{said}");
        cut(under_way).await;
        // More often than there are descriptors in reserve, and each time what has become free is taken.
        for _ in 0..12 {
            for command in [["peers", "allow", "neighbour"], ["peers", "deny", "neighbour"]] {
                take_all(&office, &greedy, &mut held).await;
                let said = office.type_in(&command).await;
                assert!(said.contains(&office.in_force()), "{said}");
            }
        }
        office.type_in(&["peers", "deny", "greedy"]).await;
        for call in held {
            cut(call).await;
        }
    })
    .await;
}

/// Begins calls that are not answered until one is refused.
async fn take_all(office: &Office, site: &Site, held: &mut Vec<TcpStream>) {
    while held.len() < CONNECTIONS {
        let mut call = site.stall().await;
        tokio::select! {
            head = read_head(&mut call) => return assert_eq!(status(&head.expect("it is answered")), "503"),
            () = office.arrived.notified() => held.push(call),
        }
    }
    panic!("{CONNECTIONS} calls at a limit of fewer descriptors");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_soft_limit_of_open_files_is_raised_to_the_hard_one() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let mut launcher = tokio::process::Command::new("prlimit");
        launcher.arg("--nofile=300:2000");
        let key = folder.path().join("secret.key").into_os_string();
        let expose = words(&["expose", "--superlink", "http://127.0.0.1:9"], &[("--key-file", &key)]);
        let funnel = FunnelProcess::start_by(launcher, expose).await.unwrap();
        let limits = fs::read_to_string(format!("/proc/{}/limits", funnel.id().unwrap())).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        assert_eq!(line.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["2000", "2000"], "{line}");
    })
    .await;
}

/// Begins calls that are not answered until one is refused; the others are returned.
async fn exhaust(sides: &Sides, arrived: &Notify) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let Ok(socket) = TcpStream::connect(sides.dial).await else { return held };
        let mut call = begin_call_on(socket, "/v1/fleet/push-object", 0).await;
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
    let Ok(mut socket) = TcpStream::connect(dial).await else { return true };
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
