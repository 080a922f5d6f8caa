//! Clocks that are wrong. Needs `faketime`.
#![cfg(target_os = "linux")]

use std::{ffi::OsString, fs, path::Path};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_cannot_be_true_is_refused_with_what_it_says_and_what_to_do() {
    guarded(async {
        let Some(library) = library().await else { return };
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).into_os_string();
        let peer = endpoint_id(Path::new(&file("other.key"))).await.unwrap();
        fs::write(file("funnel.toml"), format!("key_file = {:?}\n[expose]\n", file("secret.key"))).unwrap();
        let config = folder.path().join("funnel.toml");
        let commands: [&[&str]; 5] = [
            &["expose", "--superlink", "http://127.0.0.1:9"],
            &["join", &peer, "--listen", "127.0.0.1:0"],
            &["run", "--config", config.to_str().unwrap()],
            &["relay", "--http", "--open", "--listen", "127.0.0.1:0"],
            &["invite", "site"],
        ];
        for (date, part) in [("1970-01-01", "before this program was released"), ("2101-07-01", "after 2100")] {
            for arguments in commands {
                let stderr = refused(&library, date, words(arguments, &[("--key-file", &file("secret.key"))])).await;
                for part in [date, part, "NTP"] {
                    assert!(stderr.contains(part), "{arguments:?}: {part} is not in {stderr}");
                }
            }
        }
        assert!(!Path::new(&file("secret.key")).exists() && !Path::new(&file("peers.toml")).exists());
    })
    .await;
}

/// Runs the program at this date, and returns what it says when it ends with status 1: not a mistake of the operator.
async fn refused(library: &str, date: &str, arguments: Vec<OsString>) -> String {
    let mut launcher = command(&with_clock(library, &format!("@{date} 12:00:00")));
    launcher.arg(env!("CARGO_BIN_EXE_flower-iroh-funnel")).args(&arguments).kill_on_drop(true);
    let output = launcher.output().await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
    stderr
}
