//! A state folder that is full or cannot be written. Needs root on Linux, `unshare` and `mount`.
#![cfg(target_os = "linux")]

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{ErrorKind, Write},
    path::Path,
};

use tokio::{io::AsyncWriteExt, process::Command};

use crate::{
    funnel_process::{FunnelProcess, endpoint_id},
    sides::{begin_call, guarded, http_server, read_head, response_head, status, words},
};

/// A file system of its own at `folder`, for the command line that follows.
fn with_state(folder: &Path, options: &str) -> Command {
    let mut command = Command::new("unshare");
    let script = format!("mount -t tmpfs -o size=64k,mode=700,{options} state \"$0\" && exec \"$@\"");
    command.args(["--mount", "sh", "-c", &script]).arg(folder);
    command
}

async fn is_possible(folder: &Path) -> bool {
    let possible = with_state(folder, "rw").arg("true").output().await.is_ok_and(|output| output.status.success());
    if !possible {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must be able to mount a file system");
        eprintln!("skipped: needs root, unshare and mount to make a small file system");
    }
    possible
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_state_folder_costs_no_call_and_the_audit_log_goes_on_when_there_is_room() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).into_os_string();
        let state = folder.path().join("state");
        fs::create_dir(&state).unwrap();
        if !is_possible(&state).await {
            return;
        }
        let superlink = http_server(async |mut socket, _| {
            let _ = socket.write_all(response_head(0).as_bytes()).await;
        })
        .await;
        let (ticket, key) = (file("ticket"), file("join.key"));
        let joiner = endpoint_id(Path::new(&key)).await.unwrap();
        let expose = expose(&state, &["--superlink", &format!("http://{superlink}"), "--allow", &joiner], &ticket);
        let inbound = FunnelProcess::start_by(with_state(&state, "rw"), expose).await.unwrap();
        let join = ["join", &format!("@{}", ticket.to_str().unwrap()), "--listen", "127.0.0.1:0"];
        let outbound = FunnelProcess::start(words(&join, &[("--key-file", &key)])).await.unwrap();
        let dial = outbound.listen_addr().unwrap();
        let call = async |method: &str| {
            let mut call = begin_call(dial, &format!("/v1/fleet/{method}"), 0).await;
            assert_eq!(status(&read_head(&mut call).await.unwrap()), "200", "{method}");
        };

        call("pull-messages").await;
        // The folder as the funnel sees it.
        let seen = format!("/proc/{}/root{}", inbound.id().unwrap(), state.display());
        let fill = Path::new(&seen).join("fill");
        fill_up(&fill);
        // Each is a line of the audit log, whose last page has room for some.
        for number in 0.. {
            assert!(number < 64, "the audit log is written though there is no room");
            call(&format!("of-tomorrow-{number}")).await;
            if inbound.stderr().contains("the audit log cannot be written") {
                break;
            }
        }
        fs::remove_file(fill).unwrap();
        call("activate-node").await;
        let log = Path::new(&seen).join("audit.jsonl");
        while !fs::read_to_string(&log).unwrap().contains("activate-node") {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_folder_that_cannot_be_written_ends_the_start_with_the_name_of_the_file() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        if !is_possible(folder.path()).await {
            return;
        }
        let expose = expose(folder.path(), &["--superlink", "http://127.0.0.1:9"], &OsString::from("/dev/null"));
        let refused = FunnelProcess::start_by(with_state(folder.path(), "ro"), expose).await.unwrap_err();
        assert!(refused.contains("Read-only file system") && refused.contains("secret.key"), "{refused}");
    })
    .await;
}

fn expose(state: &Path, options: &[&str], ticket: &OsString) -> Vec<OsString> {
    let key = state.join("secret.key").into_os_string();
    words(&[&["expose"], options].concat(), &[("--key-file", &key), ("--ticket-file", ticket)])
}

fn fill_up(path: &Path) {
    let mut file = File::create(path).unwrap();
    loop {
        match file.write(&[0; 512]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => return,
            Err(error) => panic!("{error}"),
        }
    }
}
