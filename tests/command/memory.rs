//! A message's size does not show in a funnel's memory.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    funnel_process::FunnelProcess,
    sides::{Sides, begin_call, guarded, http_server, read_head, response_head, status},
};

const MESSAGE: u64 = 1 << 30;
const PIECE: usize = 256 << 10;
/// The most that a funnel may have held, in KiB.
const PEAK_RSS: u64 = 96 << 10;

#[cfg_attr(not(target_os = "linux"), ignore = "reads /proc")]
#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_each_way_leaves_both_processes_under_96_mib() {
    guarded(async {
        let superlink = http_server(|mut socket, head| async move {
            if head.starts_with("POST /v1/fleet/push-object") {
                assert_eq!(drain(&mut socket, MESSAGE).await, MESSAGE);
                let _ = socket.write_all(response_head(0).as_bytes()).await;
            } else if head.starts_with("POST /v1/fleet/pull-object") {
                let _ = socket.write_all(response_head(MESSAGE).as_bytes()).await;
                fill(&mut socket, MESSAGE).await;
            }
        })
        .await;
        let sides = Sides::start(superlink).await;

        let mut push = begin_call(sides.dial, "/v1/fleet/push-object", MESSAGE).await;
        fill(&mut push, MESSAGE).await;
        assert_eq!(status(&read_head(&mut push).await.unwrap()), "200");

        let mut pull = begin_call(sides.dial, "/v1/fleet/pull-object", 0).await;
        assert_eq!(status(&read_head(&mut pull).await.unwrap()), "200");
        assert_eq!(drain(&mut pull, MESSAGE).await, MESSAGE);

        for funnel in [&sides.inbound, &sides.outbound] {
            let peak = peak_rss(funnel);
            assert!(peak < PEAK_RSS, "{peak} KiB at the peak");
            eprintln!("peak RSS {peak} KiB");
        }
    })
    .await;
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

fn peak_rss(funnel: &FunnelProcess) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", funnel.id().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
