//! What an operator finds in the log.

use std::path::Path;

use tokio::io::AsyncWriteExt;

use crate::{
    funnel_process::{FunnelProcess, endpoint_id},
    sides::{Sides, begin_call, guarded, http_server, read_head, response_head, status, words},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_method_of_tomorrow_passes_and_is_logged_once() {
    guarded(async {
        let superlink = http_server(async |mut socket, _| {
            let _ = socket.write_all(response_head(0).as_bytes()).await;
        })
        .await;
        let sides = Sides::start(superlink).await;
        for method in ["of-tomorrow", "of-tomorrow", "of-the-day-after", "get-run"] {
            let mut call = begin_call(sides.dial, &format!("/v1/fleet/{method}"), 0).await;
            assert_eq!(status(&read_head(&mut call).await.unwrap()), "200", "{method}");
        }
        sides.inbound.logged("of-the-day-after").await.unwrap();
        let log = sides.inbound.stderr();
        let news: Vec<_> = log.lines().filter(|line| line.contains("does not know")).collect();
        assert_eq!(news.len(), 2, "{log}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_trusts_its_callers_is_opened_with_a_warning() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).into_os_string();
        let peer = endpoint_id(Path::new(&file("join.key"))).await.unwrap();
        let allow = format!("{peer}=fleet,runtime");
        let arguments = ["expose", "--superlink", "http://127.0.0.1:9", "--allow", &allow];
        let inbound = FunnelProcess::start(words(&arguments, &[("--key-file", &file("expose.key"))])).await.unwrap();
        inbound.logged("this API is open to a peer").await.unwrap();
        let log = inbound.stderr();
        assert_eq!(log.lines().filter(|line| line.contains("WARN")).count(), 1, "{log}");
    })
    .await;
}
