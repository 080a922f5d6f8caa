//! Letting peers in and out, with the real command on both sides.

use std::{ffi::OsString, path::PathBuf};

use flower_iroh_funnel::Invitation;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use crate::{
    funnel_process::{FunnelProcess, endpoint_id, run, run_for_output},
    sides::{begin_call, guarded, http_server, read_head, response_head, status, words},
};

/// The folder of an operator beside a SuperLink, and what he types there.
pub(crate) struct Office {
    pub(crate) folder: TempDir,
}

impl Office {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn words(&self, arguments: &[&str]) -> Vec<OsString> {
        words(arguments, &[("--key-file", &self.file("secret.key").into_os_string())])
    }

    /// What a command prints that succeeds.
    pub(crate) async fn type_in(&self, arguments: &[&str]) -> String {
        let (status, stdout, stderr) = run_for_output(self.words(arguments)).await.unwrap();
        assert!(status.success(), "{arguments:?}: {stderr}");
        stdout
    }

    /// What a command says that fails, which must be the operator's mistake.
    async fn mistype(&self, arguments: &[&str]) -> String {
        let (status, stderr) = run(self.words(arguments)).await.unwrap();
        assert_eq!(status.code(), Some(64), "{arguments:?}: {stderr}");
        stderr
    }

    pub(crate) async fn invite(&self, name: &str) -> String {
        let printed = self.type_in(&["invite", name]).await;
        printed.lines().find_map(|line| line.strip_prefix("invitation ")).unwrap().to_owned()
    }

    pub(crate) async fn peers(&self) -> Vec<Value> {
        serde_json::from_str(&self.type_in(&["peers", "list", "--json"]).await).unwrap()
    }
}

pub(crate) async fn call(site: &FunnelProcess) -> String {
    let mut socket = begin_call(site.listen_addr().unwrap(), "/v1/fleet/pull-messages", 0).await;
    status(&read_head(&mut socket).await.unwrap()).to_owned()
}

#[tokio::test]
async fn an_operator_invites_lists_shuts_out_lets_in_and_removes_without_a_restart() {
    guarded(async {
        let superlink = http_server(|mut socket, _| async move {
            socket.write_all(response_head(0).as_bytes()).await.unwrap();
        });
        let office = Office::new();
        let site_folder = tempfile::tempdir().unwrap();
        let site_key = site_folder.path().join("secret.key").into_os_string();
        let inbound = office.words(&["expose", "-vvv", "--superlink", &format!("http://{}", superlink.await)]);
        let inbound = FunnelProcess::start(inbound).await.unwrap();
        while !office.file("peers.seen.json").exists() {
            tokio::task::yield_now().await;
        }
        let invitation = office.invite("st. mary").await;
        assert_eq!(office.peers().await[0]["standing"], "invited");
        let join = words(&["join", &invitation, "-vvv", "--listen", "127.0.0.1:0"], &[("--key-file", &site_key)]);
        let site = FunnelProcess::start(join).await.unwrap();
        assert_eq!(call(&site).await, "200");
        let listed = office.peers().await;
        assert_eq!(listed.len(), 1);
        assert_eq!((&listed[0]["name"], &listed[0]["standing"]), (&"st. mary".into(), &"allowed".into()));
        let id = endpoint_id(site_key.as_ref()).await.unwrap();
        assert_eq!(listed[0]["id"], *id);
        while !office.peers().await[0]["path"].as_str().is_some_and(|path| path.starts_with("direct 127.0.0.1")) {
            tokio::task::yield_now().await;
        }
        assert!(office.peers().await[0]["received"].as_u64().unwrap() > 0);

        let count = |process: &FunnelProcess, text| process.stderr().matches(text).count();
        let counts =
            || (count(&inbound, "link ended: the peer is denied"), count(&site, "closed by the peer: refused"));
        let (ended, refused) = counts();
        office.type_in(&["peers", "deny", "st. mary"]).await;
        while counts().0 == ended || counts().1 == refused {
            tokio::task::yield_now().await;
        }
        assert_eq!(call(&site).await, "503");
        office.type_in(&["peers", "rename", "st. mary", "mary"]).await;
        office.type_in(&["peers", "allow", "mary"]).await;
        while call(&site).await != "200" {
            tokio::task::yield_now().await;
        }
        office.type_in(&["peers", "remove", &id]).await;
        while call(&site).await != "503" {
            tokio::task::yield_now().await;
        }
        assert!(office.type_in(&["peers"]).await.contains("the roster is empty"));

        let secret = &invitation["invite".len() + 2..][..48];
        for log in [inbound.stderr(), site.stderr()] {
            assert!(!log.contains(secret), "{log}");
        }
        site.stop().await.unwrap();
        inbound.stop().await.unwrap();
        for file in std::fs::read_dir(office.folder.path()).unwrap() {
            assert!(!std::fs::read_to_string(file.unwrap().path()).unwrap().contains(secret));
        }
    })
    .await;
}

#[tokio::test]
async fn what_an_operator_mistypes_about_peers_is_said_and_changes_nothing() {
    guarded(async {
        let office = Office::new();
        office.invite("site").await;
        let before = std::fs::read_to_string(office.file("peers.toml")).unwrap();
        for (arguments, reason) in [
            (&["invite", "site"][..], "another peer's or invitation's name"),
            (&["invite", "", "--apis", "fleet"], "1 to 64 characters"),
            (&["invite", "other", "--apis", "simulation"], "\"simulation\" is not a Flower API"),
            (&["peers", "deny", "nobody"], "\"nobody\" is not on the roster"),
            (&["peers", "remove", "nobody"], "\"nobody\" is not on the roster"),
            (&["peers", "rename", "nobody", "somebody"], "\"nobody\" is not on the roster"),
        ] {
            let said = office.mistype(arguments).await;
            assert!(said.contains(reason), "{arguments:?}: {said}");
        }
        assert_eq!(std::fs::read_to_string(office.file("peers.toml")).unwrap(), before);
        office.type_in(&["peers", "remove", "site"]).await;
        std::fs::write(office.file("peers.toml"), "[[peer").unwrap();
        let roster = office.file("peers.toml");
        let relay = ["relay", "--http", "--roster", roster.to_str().unwrap()];
        for arguments in [&["expose"][..], &["invite", "site"], &["peers"], &["peers", "deny", "site"], &relay] {
            let said = office.mistype(arguments).await;
            assert!(said.contains("a mistake in the roster"), "{arguments:?}: {said}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_configuration_file_names_the_key_and_the_roster_that_a_command_is_about() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let (key, roster, config) = (file("funnel.key"), file("sites.toml"), file("funnel.toml").into_os_string());
        let text = format!("key_file = {key:?}\n[expose]\nroster = {roster:?}\n");
        std::fs::write(&config, &text).unwrap();
        let type_in = async |arguments: &[&str]| {
            let (status, stdout, stderr) = run_for_output(words(arguments, &[("--config", &config)])).await.unwrap();
            (status.code(), stdout, stderr)
        };
        let (status, id, stderr) = type_in(&["id"]).await;
        assert_eq!((status, id.trim()), (Some(0), &*endpoint_id(&key).await.unwrap()), "{stderr}");
        let (_, invited, stderr) = type_in(&["invite", "site"]).await;
        let invitation = invited.lines().find_map(|line| line.strip_prefix("invitation ")).expect(&stderr);
        assert_eq!(invitation.parse::<Invitation>().unwrap().addr().id.to_string(), id.trim());
        assert!(std::fs::read_to_string(&roster).unwrap().contains("name = \"site\""));
        assert!(type_in(&["peers"]).await.1.contains("site"));

        let other = file("other.toml");
        let (_, listed, _) = type_in(&["peers", "--roster", other.to_str().unwrap()]).await;
        assert!(listed.contains("the roster is empty"), "{listed}");

        std::fs::write(&config, text.replace("roster", "rooster")).unwrap();
        let (status, _, stderr) = type_in(&["peers", "remove", "site"]).await;
        assert_eq!(status, Some(64));
        assert!(stderr.contains("funnel.toml") && stderr.contains("rooster: no such key"), "{stderr}");
        assert!(!file("peers.toml").exists());
    })
    .await;
}

#[tokio::test]
async fn an_audit_log_that_cannot_be_written_keeps_the_funnel_from_starting() {
    guarded(async {
        let office = Office::new();
        let folder = office.folder.path().to_str().unwrap();
        let (status, stderr) = run(office.words(&["expose", "--audit-log", folder])).await.unwrap();
        assert_eq!(status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("cannot write the audit log"), "{stderr}");
        let inbound = FunnelProcess::start(office.words(&["expose", "--audit-log", "off"])).await.unwrap();
        inbound.stop().await.unwrap();
        assert!(!office.file("audit.jsonl").exists());
    })
    .await;
}
