//! Clocks that are wrong. Needs `faketime`.
#![cfg(target_os = "linux")]

use std::path::Path;

use tokio::io::AsyncWriteExt;

use crate::{
    funnel_process::{FunnelProcess, endpoint_id},
    sides::{begin_call, guarded, http_server, read_head, response_head, status, words},
    small_disk::command,
    wrong_clock::{library, with_clock},
};

#[tokio::test(flavor = "multi_thread")]
async fn funnels_with_clocks_two_hours_apart_carry_calls() {
    guarded(async {
        let Some(library) = library().await else { return };
        let off_by = |offset| command(&with_clock(&library, offset));
        let superlink = http_server(async |mut socket, _| {
            let _ = socket.write_all(response_head(0).as_bytes()).await;
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).into_os_string();
        let (ticket, key) = (file("ticket"), file("join.key"));
        let id = endpoint_id(Path::new(&key)).await.unwrap();
        let expose = ["expose", "--superlink", &format!("http://{superlink}"), "--allow", &id];
        let expose = words(&expose, &[("--key-file", &file("expose.key")), ("--ticket-file", &ticket)]);
        let _inbound = FunnelProcess::start_by(off_by("+1h"), expose).await.unwrap();
        let join = ["join", &format!("@{}", ticket.to_str().unwrap()), "--listen", "127.0.0.1:0"];
        let join = words(&join, &[("--key-file", &key)]);
        let outbound = FunnelProcess::start_by(off_by("-1h"), join).await.unwrap();
        let mut call = begin_call(outbound.listen_addr().unwrap(), "/v1/fleet/pull-messages", 0).await;
        assert_eq!(status(&read_head(&mut call).await.unwrap()), "200");
    })
    .await;
}
