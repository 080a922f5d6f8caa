//! SIGHUP: files are read and opened again; on a terminal, its end drains.
#![cfg(target_os = "linux")]

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File},
    net::SocketAddr,
    path::Path,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command, sync::Notify};

use crate::{
    funnel_process::{FunnelProcess, endpoint_id},
    relay_lab::{Lab, TOKEN, superlink, url},
    sides::{begin_call, guarded, http_server, read_head, response_head, status, words},
};

const AGAIN: &str = "SIGHUP: the roster is read again, and the audit log is opened again";

async fn call(dial: SocketAddr, method: &str) {
    let mut call = begin_call(dial, &format!("/v1/fleet/{method}"), 0).await;
    assert_eq!(status(&read_head(&mut call).await.unwrap()), "200", "{method}");
}

/// The methods in the lines of audit logs; each line is whole.
fn methods(logs: &[&Path]) -> BTreeSet<String> {
    let texts = logs.iter().map(|log| fs::read_to_string(log).unwrap_or_default());
    let lines: Vec<Value> = texts
        .flat_map(|text| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>())
        .collect();
    lines.iter().filter_map(|line| line["method"].as_str().map(str::to_owned)).collect()
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap_or_else(|_| panic!("not {what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_log_that_is_renamed_or_copied_away_loses_no_line() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).into_os_string();
        let superlink = http_server(async |mut socket, _| {
            let _ = socket.write_all(response_head(0).as_bytes()).await;
        })
        .await;
        let (ticket, key) = (file("ticket"), file("join.key"));
        let peer = endpoint_id(Path::new(&key)).await.unwrap();
        let superlink = format!("http://{superlink}");
        let expose = words(
            &["expose", "--superlink", &superlink, "--allow", &peer],
            &[("--key-file", &file("expose.key")), ("--ticket-file", &ticket)],
        );
        let inbound = FunnelProcess::start(expose).await.unwrap();
        let join = ["join", &format!("@{}", ticket.to_str().unwrap()), "--listen", "127.0.0.1:0"];
        let outbound = FunnelProcess::start(words(&join, &[("--key-file", &key)])).await.unwrap();
        let dial = outbound.listen_addr().unwrap();
        let [log, renamed, copied] =
            ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"].map(|name| folder.path().join(name));

        call(dial, "pull-messages").await;
        until("written", || methods(&[&log]).contains("PullMessages")).await;
        fs::rename(&log, &renamed).unwrap();
        // The renamed file takes the lines until the signal.
        call(dial, "get-run").await;
        until("written", || methods(&[&renamed]).contains("GetRun")).await;
        inbound.hang_up().unwrap();
        inbound.logged(AGAIN).await.unwrap();
        until("opened again", || log.exists()).await;
        call(dial, "push-messages").await;
        until("written", || methods(&[&log]).contains("PushMessages")).await;
        assert!(!methods(&[&log]).contains("GetRun"));

        fs::copy(&log, &copied).unwrap();
        File::options().write(true).open(&log).unwrap().set_len(0).unwrap();
        call(dial, "push-object").await;
        until("written", || methods(&[&log]).contains("PushObject")).await;
        assert!(!fs::read(&log).unwrap().contains(&0), "it begins at the start of the file");
        let all = methods(&[&log, &renamed, &copied]);
        assert_eq!(all, ["GetRun", "PullMessages", "PushMessages", "PushObject"].map(str::to_owned).into());

        // It is no end for the other side either.
        outbound.hang_up().unwrap();
        outbound.logged(AGAIN).await.unwrap();
        call(dial, "pull-messages").await;
        for funnel in [outbound, inbound] {
            assert!(funnel.stop().await.unwrap().success());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roster_with_a_mistake_is_reported_on_sighup_and_ends_nothing() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let (key, roster) = (folder.path().join("expose.key").into_os_string(), folder.path().join("peers.toml"));
        let expose = words(&["expose", "--superlink", "http://127.0.0.1:9"], &[("--key-file", &key)]);
        let inbound = FunnelProcess::start(expose).await.unwrap();
        fs::write(&roster, "[[peer]]\nnonsense").unwrap();
        inbound.hang_up().unwrap();
        inbound.logged("SIGHUP: the last valid roster stays in force").await.unwrap();
        fs::remove_file(&roster).unwrap();
        inbound.hang_up().unwrap();
        inbound.logged(AGAIN).await.unwrap();
        assert!(inbound.stop().await.unwrap().success());
    })
    .await;
}

#[tokio::test]
async fn a_relay_takes_another_token_on_sighup_and_disconnects_those_with_the_old_one() {
    guarded(async {
        let lab = Lab::new();
        let (old, new) = (lab.token("token", TOKEN), lab.token("new-token", "anotherToken4711"));
        let relay = lab.relay(&format!("--http --listen 127.0.0.1:0 --token-file {old} -v")).await;
        let relays = format!("--relay {},@{new}", url(&relay));
        let apart = lab.apart(superlink().await, &relays);
        tokio::pin!(apart);
        // Both funnels have the new token already.
        tokio::select! {
            _ = &mut apart => panic!("the relay admits a token that it does not know"),
            refused = relay.logged("the token is not the one of this relay") => refused.unwrap(),
        }
        fs::write(lab.file("token"), "anotherToken4711").unwrap();
        relay.hang_up().unwrap();
        relay.logged("SIGHUP: the token file, the certificate and the roster are read again").await.unwrap();
        let apart = apart.await;
        apart.call_at_last().await;

        fs::write(lab.file("token"), TOKEN).unwrap();
        relay.hang_up().unwrap();
        relay.logged("disconnected: it is no longer admitted").await.unwrap();
        fs::write(lab.file("token"), "").unwrap();
        relay.hang_up().unwrap();
        relay.logged("the token before stays in use").await.unwrap();
        assert!(!relay.stderr().contains(TOKEN));
        apart.stop().await;
        assert!(relay.stop().await.unwrap().success());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_its_terminal_drains_a_funnel() {
    guarded(async {
        if !Command::new("script").arg("--version").output().await.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: needs script (util-linux) to make a terminal");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).into_os_string();
        let (arrived, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let superlink = {
            let (arrived, answer) = (Arc::clone(&arrived), Arc::clone(&answer));
            http_server(move |mut socket, _| {
                let (arrived, answer) = (Arc::clone(&arrived), Arc::clone(&answer));
                async move {
                    arrived.notify_one();
                    answer.notified().await;
                    let _ = socket.write_all(response_head(0).as_bytes()).await;
                }
            })
            .await
        };
        let (ticket, key) = (file("ticket"), file("join.key"));
        let peer = endpoint_id(Path::new(&key)).await.unwrap();
        let superlink = format!("http://{superlink}");
        let expose = words(
            &["expose", "--superlink", &superlink, "--allow", &peer],
            &[("--key-file", &file("expose.key")), ("--ticket-file", &ticket)],
        );
        let expose: Vec<_> = expose.iter().map(|word| word.to_str().unwrap()).collect();
        let pid_file = folder.path().join("pid");
        let program = env!("CARGO_BIN_EXE_flower-iroh-funnel");
        let line = format!("echo $$ > {}; exec {program} {}", pid_file.display(), expose.join(" "));
        let mut terminal = Command::new("script");
        terminal.args(["--quiet", "--command", &line, "/dev/null"]).kill_on_drop(true);
        let mut terminal = terminal.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        until("ready", || fs::read(&ticket).is_ok_and(|ticket| !ticket.is_empty())).await;
        let join: Vec<OsString> = words(
            &["join", &format!("@{}", ticket.to_str().unwrap()), "--listen", "127.0.0.1:0"],
            &[("--key-file", &key)],
        );
        let outbound = FunnelProcess::start(join).await.unwrap();
        let mut call = begin_call(outbound.listen_addr().unwrap(), "/v1/fleet/push-object", 0).await;
        arrived.notified().await;

        terminal.start_kill().unwrap();
        terminal.wait().await.unwrap();
        // Its SIGHUP has come, and ends nobody in between.
        answer.notify_one();
        assert_eq!(status(&read_head(&mut call).await.unwrap()), "200");
        let pid = fs::read_to_string(&pid_file).unwrap();
        until("ended", || !Path::new(&format!("/proc/{}/exe", pid.trim())).exists()).await;
        outbound.stop().await.unwrap();
    })
    .await;
}
