//! One key file, and the processes that would run with it.

use std::{ffi::OsString, fs, path::PathBuf};

use flower_iroh_funnel::Invitation;
use tempfile::TempDir;

use crate::{
    funnel_process::{FunnelProcess, endpoint_id, run, run_for_output},
    sides::{guarded, words},
};

/// A folder with a key file, and commands that use it.
struct Office {
    folder: TempDir,
}

impl Office {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn words(&self, arguments: &[&str]) -> Vec<OsString> {
        words(arguments, &[("--key-file", &self.file("secret.key").into_os_string())])
    }

    async fn expose(&self) -> FunnelProcess {
        FunnelProcess::start(self.words(&["expose", "--superlink", "http://127.0.0.1:9"])).await.unwrap()
    }

    async fn invite(&self, name: &str) -> String {
        let (status, stdout, stderr) = run_for_output(self.words(&["invite", name])).await.unwrap();
        assert!(status.success(), "{stderr}");
        stdout.lines().find_map(|line| line.strip_prefix("invitation ")).unwrap().to_owned()
    }

    async fn ticket(&self) -> String {
        loop {
            if let Ok(text) = fs::read_to_string(self.file("peers.seen.json"))
                && let Ok(status) = serde_json::from_str::<serde_json::Value>(&text)
                && let Some(ticket) = status["ticket"].as_str()
            {
                return ticket.to_owned();
            }
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_second_process_with_one_key_file_is_refused_and_later_invitations_lead_to_the_first() {
    guarded(async {
        let office = Office::new();
        let first = office.expose().await;
        let ticket = office.ticket().await;
        let config = office.file("funnel.toml");
        fs::write(&config, format!("key_file = {:?}\n[expose]\n", office.file("secret.key"))).unwrap();
        let id = endpoint_id(&office.file("other.key")).await.unwrap();
        for command in [
            office.words(&["expose", "--superlink", "http://127.0.0.1:9"]),
            office.words(&["join", &id, "--listen", "127.0.0.1:0"]),
            vec!["run".into(), "--config".into(), config.into_os_string()],
        ] {
            let (status, stderr) = run(command).await.unwrap();
            assert_eq!(status.code(), Some(1), "a service manager tries again: {stderr}");
            let pid = first.id().unwrap();
            for part in ["secret.key is in use", &format!("the funnel of process {pid} runs with it"), "--key-file"] {
                assert!(stderr.contains(part), "{part} is not in:\n{stderr}");
            }
        }
        assert_eq!(office.ticket().await, ticket);

        let invitation = office.invite("site").await;
        assert_eq!(endpoint_id(&office.file("secret.key")).await.unwrap(), invited_to(&invitation));
        let site = words(
            &["join", &invitation, "--listen", "127.0.0.1:0"],
            &[("--key-file", &office.file("site.key").into_os_string())],
        );
        FunnelProcess::start(site).await.unwrap().stop().await.unwrap();
        let (status, listed, _) = run_for_output(office.words(&["peers"])).await.unwrap();
        assert!(status.success() && listed.contains("site"), "{listed}");
        first.stop().await.unwrap();
        assert!(!office.file("secret.key.pid").exists());
    })
    .await;
}

fn invited_to(invitation: &str) -> String {
    invitation.parse::<Invitation>().unwrap().addr().id.to_string()
}

#[tokio::test]
async fn a_key_file_is_free_once_its_process_was_killed_or_stopped() {
    guarded(async {
        let office = Office::new();
        office.expose().await.kill().await.unwrap();
        let second = office.expose().await;
        let (status, stderr) = run(office.words(&["expose", "--superlink", "http://127.0.0.1:9"])).await.unwrap();
        let pid = second.id().unwrap();
        assert!(!status.success() && stderr.contains(&format!("process {pid}")), "not of the one killed: {stderr}");
        second.stop().await.unwrap();
        office.expose().await.stop().await.unwrap();
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_key_in_a_read_only_folder_is_locked_itself() {
    use std::os::unix::fs::PermissionsExt;
    guarded(async {
        let office = Office::new();
        let id = endpoint_id(&office.file("secret.key")).await.unwrap();
        let peer = endpoint_id(&office.file("other.key")).await.unwrap();
        fs::set_permissions(office.folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
        if fs::write(office.file("probe"), "").is_ok() {
            eprintln!("skipped: root writes to read-only folders");
            return;
        }
        let arguments = office.words(&["join", &peer, "--listen", "127.0.0.1:0"]);
        let first = FunnelProcess::spawn(arguments.clone()).unwrap();
        while !first.stderr().contains(&peer[..10]) {
            tokio::task::yield_now().await;
        }
        let (_, stderr) = run(arguments).await.unwrap();
        assert!(stderr.contains("in use: another funnel runs with it"), "{stderr}");
        assert_eq!(endpoint_id(&office.file("secret.key")).await.unwrap(), id);
        first.stop().await.unwrap();
    })
    .await;
}

/// Each start finds the links of the ones before, of which the other side does not know yet that they are dead.
#[tokio::test]
async fn a_process_that_is_killed_and_restarted_in_quick_succession_gets_a_link_each_time() {
    guarded(async {
        let (office, site) = (Office::new(), Office::new());
        let id = endpoint_id(&site.file("secret.key")).await.unwrap();
        let expose = office.words(&["expose", "-v", "--superlink", "http://127.0.0.1:9", "--allow", &id]);
        let inbound = FunnelProcess::start(expose).await.unwrap();
        let ticket = inbound.stdout_line("ticket ").unwrap();
        for _ in 0..8 {
            let join = site.words(&["join", &ticket, "--listen", "127.0.0.1:0"]);
            FunnelProcess::start(join).await.unwrap().kill().await.unwrap();
        }
        inbound.logged("a silent link gives way to a new one of its peer").await.unwrap();
        inbound.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn of_five_processes_with_copies_of_one_key_both_ends_report_why_the_fifth_has_no_link() {
    guarded(async {
        let office = Office::new();
        let sites: Vec<_> = (0..5).map(|_| Office::new()).collect();
        let id = endpoint_id(&sites[0].file("secret.key")).await.unwrap();
        for site in &sites[1..] {
            fs::copy(sites[0].file("secret.key"), site.file("secret.key")).unwrap();
        }
        let expose = office.words(&["expose", "--superlink", "http://127.0.0.1:9", "--allow", &id]);
        let inbound = FunnelProcess::start(expose).await.unwrap();
        let ticket = inbound.stdout_line("ticket ").unwrap();
        let mut running = Vec::new();
        for site in &sites {
            let join = FunnelProcess::spawn(site.words(&["join", &ticket, "--listen", "127.0.0.1:0"])).unwrap();
            running.push(if running.len() < 4 { join.ready().await.unwrap() } else { join });
        }
        running[4].logged("overloaded (code 2): too many links of one peer: 4 others have its key").await.unwrap();
        inbound.logged("link refused: its peer has 4 others that are in use").await.unwrap();
        for site in &running[..4] {
            assert!(!site.stderr().contains("closed by the peer"), "{}", site.stderr());
        }
        for process in running.into_iter().chain([inbound]) {
            process.stop().await.unwrap();
        }
    })
    .await;
}
