//! The roster's files under a running funnel: emptied, restored from an old copy, unreadable, or locked by a process that
//! stands still.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    process::Stdio,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{
    funnel_process::{FunnelProcess, endpoint_id, run_for_output},
    peers::{Office, call},
    sides::{guarded, http_server, response_head, words},
};

/// The user that a funnel runs as.
const OTHER: u32 = 54_321;

/// A site with its own key.
struct Site {
    folder: tempfile::TempDir,
    id: String,
}

impl Site {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let id = endpoint_id(&folder.path().join("secret.key")).await.unwrap();
        Self { folder, id }
    }

    async fn join(&self, peer: &str) -> FunnelProcess {
        self.begin_join(peer).ready().await.unwrap()
    }

    /// Does not wait until it is admitted.
    fn begin_join(&self, peer: &str) -> FunnelProcess {
        let key = self.folder.path().join("secret.key").into_os_string();
        let join = ["join", peer, "-v", "--listen", "127.0.0.1:0"];
        FunnelProcess::spawn(words(&join, &[("--key-file", &key)])).unwrap()
    }
}

/// Starts an exposing funnel with a ticket file, and returns it with the way to dial it.
async fn expose(office: &Office, allowed: &[&str]) -> (FunnelProcess, String) {
    let launched = Command::new("env");
    expose_by(launched, office, allowed).await
}

async fn expose_by(launcher: Command, office: &Office, allowed: &[&str]) -> (FunnelProcess, String) {
    let superlink = http_server(|mut socket, _| async move {
        let _ = socket.write_all(response_head(0).as_bytes()).await;
    });
    let (superlink, ticket) = (format!("http://{}", superlink.await), office.file("ticket"));
    let ticket = ticket.to_str().unwrap();
    let mut arguments = vec!["expose", "-v", "--superlink", &superlink, "--ticket-file", ticket];
    arguments.extend(allowed.iter().flat_map(|id| ["--allow", id]));
    let inbound = FunnelProcess::start_by(launcher, office.words(&arguments)).await.unwrap();
    while !office.file("peers.seen.json").exists() {
        tokio::task::yield_now().await;
    }
    (inbound, format!("@{ticket}"))
}

async fn until(site: &FunnelProcess, status: &str) {
    while call(site).await != status {
        tokio::task::yield_now().await;
    }
}

/// Waits until `peers` warns of this, or warns of nothing any more.
async fn until_peers_warns(office: &Office, of: Option<&str>) {
    loop {
        let (status, _, stderr) = run_for_output(office.words(&["peers"])).await.unwrap();
        assert!(status.success(), "{stderr}");
        match of {
            Some(text) if stderr.contains("warning: the funnel has not followed") && stderr.contains(text) => return,
            None if !stderr.contains("warning") => return,
            _ => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
}

#[tokio::test]
async fn an_empty_roster_drops_nobody_and_an_old_copy_brings_nobody_back() {
    guarded(async {
        let (office, site, stranger) = (Office::new(), Site::new().await, Site::new().await);
        let denied = Site::new().await;
        let (inbound, dial) = expose(&office, &[&denied.id]).await;
        let invitation = office.invite("site").await;
        let old = fs::read(office.file("peers.toml")).unwrap();
        let outbound = site.join(&invitation).await;
        assert_eq!(call(&outbound).await, "200");
        let out = denied.join(&dial).await;
        assert_eq!(call(&out).await, "200", "--allow names it");
        office.type_in(&["peers", "deny", &denied.id]).await;
        until(&out, "503").await;

        fs::write(office.file("peers.toml"), "").unwrap();
        inbound.logged("peers.toml is empty: put a copy of it back").await.unwrap();
        until_peers_warns(&office, Some("peers.toml is empty")).await;
        assert_eq!((call(&outbound).await, call(&out).await), ("200".to_owned(), "503".to_owned()));

        fs::write(office.file("peers.toml"), &old).unwrap();
        let reports = ["does not deny peers any more", "has invitations that were used or revoked"];
        for report in reports {
            inbound.logged(report).await.unwrap();
        }
        let second = stranger.begin_join(&invitation);
        second.logged("refuses the invitation").await.unwrap();
        second.stop().await.unwrap();
        assert_eq!(call(&out).await, "503");
        until_peers_warns(&office, None).await;
        let log = inbound.stderr();
        assert!(reports.iter().all(|report| log.matches(report).count() == 1), "{log}");
        for process in [out, outbound, inbound] {
            process.stop().await.unwrap();
        }

        // The same after a restart, without a roster at all.
        fs::remove_file(office.file("peers.toml")).unwrap();
        let (inbound, dial) = expose(&office, &[&denied.id]).await;
        let out = denied.begin_join(&dial);
        inbound
            .logged(&format!("not admitted; to admit it: flower-iroh-funnel peers allow {}", denied.id))
            .await
            .unwrap();
        assert!(!inbound.stderr().contains("ERROR"), "a start without a roster is no error: {}", inbound.stderr());
        office.type_in(&["peers", "remove", &denied.id]).await;
        let out = out.ready().await.unwrap();
        assert_eq!(call(&out).await, "200");
        out.stop().await.unwrap();
        inbound.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_pipe_in_place_of_the_roster_is_reported_and_followed_no_longer_than_it_is_there() {
    guarded(async {
        let (office, site, other) = (Office::new(), Site::new().await, Site::new().await);
        let (inbound, dial) = expose(&office, &[]).await;
        office.type_in(&["peers", "allow", &site.id]).await;
        let outbound = site.join(&dial).await;
        until(&outbound, "200").await;
        let (roster, kept) = (office.file("peers.toml"), office.file("kept.toml"));
        fs::rename(&roster, &kept).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&roster).status().unwrap().success());
        inbound.logged("peers.toml: it is not a regular file").await.unwrap();
        assert_eq!(call(&outbound).await, "200");

        fs::rename(&kept, &roster).unwrap();
        inbound.logged("the roster is in force again").await.unwrap();
        office.type_in(&["peers", "allow", &other.id]).await;
        office.type_in(&["peers", "deny", &site.id]).await;
        stop_after_exchange(inbound, outbound, other.join(&dial).await).await;
    })
    .await;
}

/// Waits until `next` is admitted in place of `outbound`, and stops all.
async fn stop_after_exchange(inbound: FunnelProcess, outbound: FunnelProcess, next: FunnelProcess) {
    until(&next, "200").await;
    until(&outbound, "503").await;
    for process in [outbound, next, inbound] {
        process.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_stopped_process_that_holds_the_lock_delays_an_enrolment_and_no_denial() {
    guarded(async {
        let (office, site, guest) = (Office::new(), Site::new().await, Site::new().await);
        let (inbound, dial) = expose(&office, &[]).await;
        office.type_in(&["peers", "allow", &site.id]).await;
        let invitation = office.invite("guest").await;
        let outbound = site.join(&dial).await;
        until(&outbound, "200").await;

        let mut command = Command::new("flock");
        command.arg("--no-fork").arg(office.file("peers.toml.lock"));
        let mut holder =
            command.args(["cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        // It answers, so it has the lock.
        holder.stdin.as_mut().unwrap().write_all(b"x").await.unwrap();
        tokio::io::AsyncReadExt::read_u8(holder.stdout.as_mut().unwrap()).await.unwrap();
        kill(Pid::from_raw(holder.id().unwrap().try_into().unwrap()), Signal::SIGSTOP).unwrap();

        let waiting = guest.begin_join(&invitation);
        waiting.logged("could not take the invitation: the other side cannot use its roster").await.unwrap();
        let text = fs::read_to_string(office.file("peers.toml")).unwrap();
        fs::write(office.file("peers.toml"), text.replacen("\"allowed\"", "\"denied\"", 1)).unwrap();
        until(&outbound, "503").await;

        holder.kill().await.unwrap();
        let waiting = waiting.ready().await.unwrap();
        until(&waiting, "200").await;
        while !office.file("peers.revoked.toml").exists() {
            tokio::task::yield_now().await;
        }
        for process in [outbound, waiting, inbound] {
            process.stop().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_roster_that_the_funnels_user_cannot_read_is_reported_and_the_last_one_stays_in_force() {
    guarded(async {
        let (office, site, other) = (Office::new(), Site::new().await, Site::new().await);
        if chown(office.folder.path(), Some(OTHER), Some(OTHER)).is_err() {
            eprintln!("skipped: only root can run a funnel as another user");
            return;
        }
        let mut launcher = Command::new("setpriv");
        let user = OTHER.to_string();
        launcher.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
        office.type_in(&["peers", "allow", &site.id]).await;
        let (inbound, dial) = expose_by(launcher, &office, &[]).await;
        let outbound = site.join(&dial).await;
        until(&outbound, "200").await;

        let roster = office.file("peers.toml");
        chown(&roster, Some(0), Some(0)).unwrap();
        fs::set_permissions(&roster, fs::Permissions::from_mode(0o600)).unwrap();
        inbound.logged("it must belong to the user of the funnel").await.unwrap();
        until_peers_warns(&office, Some("cannot read the roster")).await;
        assert_eq!(call(&outbound).await, "200");

        chown(&roster, Some(OTHER), Some(OTHER)).unwrap();
        inbound.logged("the roster is in force again").await.unwrap();
        office.type_in(&["peers", "allow", &other.id]).await;
        office.type_in(&["peers", "deny", &site.id]).await;
        stop_after_exchange(inbound, outbound, other.join(&dial).await).await;
    })
    .await;
}

#[tokio::test]
async fn a_damaged_ledger_keeps_funnel_and_commands_from_starting() {
    guarded(async {
        let office = Office::new();
        office.invite("site").await;
        fs::write(office.file("peers.revoked.toml"), "format = 1\nentries = 1\n").unwrap();
        let roster = office.file("peers.toml");
        let relay = ["relay", "--http", "--roster", roster.to_str().unwrap()];
        for arguments in [&["expose"][..], &["invite", "other"], &["peers"], &["peers", "deny", "site"], &relay] {
            let (status, _, stderr) = run_for_output(office.words(arguments)).await.unwrap();
            assert_eq!(status.code(), Some(64), "{arguments:?}: {stderr}");
            assert!(stderr.contains("peers.revoked.toml is damaged"), "{arguments:?}: {stderr}");
            assert!(stderr.contains("restore it from a copy"), "{arguments:?}: {stderr}");
        }
    })
    .await;
}
