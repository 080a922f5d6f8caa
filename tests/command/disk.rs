//! A state folder that is full or cannot be written.
#![cfg(target_os = "linux")]

use std::{ffi::OsString, fs, path::Path};

use flower_iroh_funnel::{
    Api,
    protocol::{Method, Wire},
};
use tokio::io::AsyncWriteExt;

use crate::{
    funnel_process::{FunnelProcess, endpoint_id, run_for_output},
    sides::{begin_call, guarded, http_server, read_head, response_head, status, words},
    small_disk::{Filling, command, is_possible, seen_by, with_disk},
};

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
        let expose = expose(
            &state,
            &["--superlink", &format!("http://{superlink}"), "--allow", &format!("{joiner}=fleet,control")],
            &ticket,
        );
        let inbound = FunnelProcess::start_by(command(&with_disk(&state, "rw")), expose).await.unwrap();
        let join = ["join", &format!("@{}", ticket.to_str().unwrap()), "--listen", "127.0.0.1:0"];
        let outbound = FunnelProcess::start(words(&join, &[("--key-file", &key)])).await.unwrap();
        let dial = outbound.listen_addr().unwrap();
        let call = async |path: &str| {
            let mut call = begin_call(dial, path, 0).await;
            assert_eq!(status(&read_head(&mut call).await.unwrap()), "200", "{path}");
        };

        call("/v1/fleet/pull-messages").await;
        let seen = seen_by(inbound.id().unwrap(), &state);
        let filling = Filling::new(&seen).unwrap();
        let is_failing = || inbound.stderr().contains("the audit log cannot be written");
        let is_written = |method: &Method| {
            let (path, log) = (method.path(Wire::Grpc), fs::read_to_string(seen.join("audit.jsonl")).unwrap());
            log.contains(&format!("{:?}", path.rsplit('/').next().unwrap()))
        };
        // Each is a line of the audit log, whose last page has room for some.
        let mut methods = Method::ALL.iter().filter(|method| [Api::Fleet, Api::Control].contains(&method.api()));
        while !is_failing() {
            let method = methods.next().expect("the audit log is written though there is no room");
            call(&method.path(Wire::Http)).await;
            while !is_written(method) && !is_failing() {
                tokio::task::yield_now().await;
            }
        }
        drop(filling);
        let last = methods.next_back().unwrap();
        call(&last.path(Wire::Http)).await;
        while !is_written(last) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrolment_that_a_full_disk_refuses_is_taken_when_there_is_room() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        if !is_possible(folder.path()).await {
            return;
        }
        let superlink = http_server(async |mut socket, _| {
            let _ = socket.write_all(response_head(0).as_bytes()).await;
        })
        .await;
        let options = ["--superlink", &format!("http://{superlink}")];
        let expose = expose(folder.path(), &options, &folder.path().join("ticket").into_os_string());
        let inbound = FunnelProcess::start_by(command(&with_disk(folder.path(), "rw")), expose).await.unwrap();
        let seen = seen_by(inbound.id().unwrap(), folder.path());
        let key = [("--key-file", &seen.join("secret.key").into_os_string())];
        // The address of the running funnel is known once it has told it.
        while !seen.join("peers.seen.json").exists() {
            tokio::task::yield_now().await;
        }
        let (invited, printed, stderr) = run_for_output(words(&["invite", "site"], &key)).await.unwrap();
        assert!(invited.success(), "{stderr}");
        let invitation = printed.lines().find_map(|line| line.strip_prefix("invitation ")).unwrap();

        let filling = Filling::new(&seen).unwrap();
        let site = tempfile::tempdir().unwrap();
        let join = ["join", invitation, "--listen", "127.0.0.1:0"];
        let join = words(&join, &[("--key-file", &site.path().join("secret.key").into_os_string())]);
        let outbound = FunnelProcess::spawn(join).unwrap();
        outbound.logged("cannot use its roster; the invitation was not used").await.unwrap();
        drop(filling);
        let outbound = outbound.ready().await.unwrap();
        let mut call = begin_call(outbound.listen_addr().unwrap(), "/v1/fleet/pull-messages", 0).await;
        assert_eq!(status(&read_head(&mut call).await.unwrap()), "200");
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
        let ticket = folder.path().join("ticket").into_os_string();
        let expose = expose(folder.path(), &["--superlink", "http://127.0.0.1:9"], &ticket);
        let refused = FunnelProcess::start_by(command(&with_disk(folder.path(), "ro")), expose).await.unwrap_err();
        assert!(refused.contains("Read-only file system") && refused.contains("secret.key"), "{refused}");
    })
    .await;
}

fn expose(state: &Path, options: &[&str], ticket: &OsString) -> Vec<OsString> {
    let key = state.join("secret.key").into_os_string();
    words(&[&["expose"], options].concat(), &[("--key-file", &key), ("--ticket-file", ticket)])
}
