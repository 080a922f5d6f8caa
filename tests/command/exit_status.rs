//! 64 is for text, what was typed or written; 1 for the world: a service manager tries again then.

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    funnel_process::{endpoint_id, run},
    sides::{LOOPBACK, guarded},
    small_disk::{is_possible, with_disk},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_flower-iroh-funnel");
const PEER: &str = "0ba2ff40c4d0b25bf5c26a13c0b3c2b6d8f79cc6a4d4a0c1a9a0a2b1a54d5e0c";
const WORLD: i32 = 1;
const TEXT: i32 = 64;
/// Neither the test's user nor root.
const USER: &str = "54321";

/// A folder with a key, and files for mistakes.
struct Office {
    folder: TempDir,
}

impl Office {
    async fn new() -> Self {
        let office = Self { folder: tempfile::tempdir().unwrap() };
        endpoint_id(&office.path("secret.key")).await.unwrap();
        office
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file for this user alone, and returns its path.
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), content).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
        self.text(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A command line in whose words `KEY` is the key file, and `DIR` the folder.
    fn words(&self, line: &str) -> Vec<OsString> {
        let line = line.replace("KEY", &self.text("secret.key")).replace("DIR", self.folder.path().to_str().unwrap());
        line.split_whitespace().map(Into::into).collect()
    }

    async fn check(&self, expected: i32, rows: &[(&str, &str)]) {
        for (line, part) in rows {
            let (status, stderr) = run(self.words(line)).await.unwrap();
            assert_eq!(status.code(), Some(expected), "{line}: {stderr}");
            assert!(stderr.contains(part), "{line}: {part} is not in:\n{stderr}");
        }
    }
}

#[tokio::test]
async fn what_is_typed_or_written_wrong_ends_with_64() {
    guarded(async {
        let office = Office::new().await;
        office.file("typo.toml", "key_file = ");
        office.file("unknown.toml", "key_file = \"KEY\"\ncolour = 1\n[expose]\n");
        office.file("peer.toml", "[[peer]]\npeer = \"nobody\"\n");
        office.file("latin.toml", b"# \xe4\n");
        office.file("both.toml", "key_file = \"/nonexistent/secret.key\"\ncolour = 1\n[expose]\n");
        office.file("no.key", "none\n");
        office.file("latin.key", b"\xe4\n");
        office.file("roster", "[[peer]]\nid = 1\n");
        office.file("latin.roster", b"\xe4 = 1\n");
        office.file("none.pem", "none\n");
        office.file("none.token", "two words\n");
        office.file("none.ticket", "endpointabc\n");
        let long = "x".repeat(300);
        office
            .check(
                TEXT,
                &[
                    ("expose --colour", "--colour"),
                    ("expose --key-file KEY --superlink ftp://x:1", "--superlink"),
                    ("join nobody --key-file KEY", "nobody"),
                    ("join @DIR/none.ticket --key-file KEY", "none.ticket"),
                    ("join @DIR/none.ticket --key-file DIR/none/secret.key", "none.ticket"),
                    ("run --config DIR/typo.toml", "line 1"),
                    ("run --config DIR/unknown.toml", "colour: no such key"),
                    ("run --config DIR/peer.toml --key-file KEY", "peer[0].peer"),
                    ("run --config DIR/latin.toml", "UTF-8"),
                    ("run --config DIR/both.toml", "colour: no such key"),
                    ("peers list --config DIR/unknown.toml", "colour: no such key"),
                    ("id --key-file DIR/no.key", "does not contain a key"),
                    ("id --key-file DIR/latin.key", "does not contain a key"),
                    (&format!("id --key-file DIR/{long}"), "File name too long"),
                    ("expose --key-file DIR/no.key", "does not contain a key"),
                    ("expose --key-file KEY --roster DIR/roster", "a mistake in the roster"),
                    ("expose --key-file KEY --roster DIR/latin.roster", "cannot read the roster"),
                    ("peers list --key-file KEY --roster DIR/roster", "a mistake in the roster"),
                    (
                        "expose --key-file KEY --superlink https://127.0.0.1:1 --superlink-ca DIR/none.pem",
                        "does not contain a certificate",
                    ),
                    ("expose --key-file KEY --relay-ca DIR/none.pem", "does not contain a certificate"),
                    ("expose --key-file KEY --relay https://x.example,@DIR/none.token", "does not contain a token"),
                    ("relay --http --listen 127.0.0.1:0 --token-file DIR/none.token", "does not contain a token"),
                    ("relay --open --tls-cert DIR/none.pem --tls-key DIR/none.pem", "does not contain a certificate"),
                    ("relay --http --listen 127.0.0.1:0 --roster DIR/roster", "a mistake in the roster"),
                ],
            )
            .await;
    })
    .await;
}

#[tokio::test]
async fn what_the_machine_refuses_now_ends_with_1() {
    guarded(async {
        let office = Office::new().await;
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = taken.local_addr().unwrap();
        let peer = endpoint_id(&office.path("other.key")).await.unwrap();
        office.file("open.key", fs::read(office.path("secret.key")).unwrap());
        fs::set_permissions(office.path("open.key"), fs::Permissions::from_mode(0o644)).unwrap();
        office.file("open.token", "opensesame\n");
        fs::set_permissions(office.path("open.token"), fs::Permissions::from_mode(0o644)).unwrap();
        office.file("config.toml", "key_file = \"/proc/nonexistent/secret.key\"\n[expose]\n");
        let safe = LOOPBACK.join(" ");
        let expose = format!("expose --key-file KEY --superlink http://127.0.0.1:9 {safe}");
        let over_tls = format!("expose --key-file KEY --superlink https://127.0.0.1:9 {safe}");
        // Not even root makes a folder in /proc.
        office
            .check(
                WORLD,
                &[
                    ("run --config /nonexistent/funnel.toml", "cannot read --config /nonexistent/funnel.toml"),
                    ("run --config DIR", "cannot read --config"),
                    ("run --config DIR/config.toml", "/proc/nonexistent/secret.key"),
                    ("peers list --config /nonexistent/funnel.toml", "cannot read --config"),
                    ("id --key-file /proc/nonexistent/secret.key", "cannot use the key file"),
                    ("id --key-file DIR", "it is a folder"),
                    ("id --key-file DIR/open.key", "mode 644"),
                    ("expose --key-file DIR/open.key", "mode 644"),
                    ("peers allow x --key-file KEY --roster /proc/nonexistent/peers.toml", "cannot change the roster"),
                    ("peers list --key-file KEY --roster DIR", "it is a folder"),
                    (&format!("{expose} --roster DIR"), "it is a folder"),
                    (&format!("{expose} --audit-log DIR"), "cannot write the audit log"),
                    (&format!("{expose} --audit-log /proc/nonexistent/audit"), "cannot write the audit log"),
                    (&format!("{expose} --ticket-file /proc/nonexistent/ticket"), "cannot write --ticket-file"),
                    (&format!("{expose} --ticket-file DIR"), "cannot write --ticket-file"),
                    ("expose --key-file KEY --superlink http://127.0.0.1:9 --relay off --bind 192.0.2.1:0", "cannot bind the iroh endpoint"),
                    (&format!("{over_tls} --superlink-ca DIR/missing.pem"), "cannot use the CA file"),
                    (&format!("{over_tls} --superlink-ca DIR"), "cannot use the CA file"),
                    ("expose --key-file KEY --relay-ca DIR/missing.pem", "cannot use the CA file"),
                    ("expose --key-file KEY --relay https://x.example,@DIR/missing.token", "cannot be read"),
                    ("expose --key-file KEY --relay https://x.example,@DIR/open.token", "mode 644"),
                    ("relay --http --listen 127.0.0.1:0 --token-file DIR/missing.token", "cannot be read"),
                    ("relay --open --tls-cert DIR/missing.pem --tls-key DIR/missing.pem", "missing.pem"),
                    ("relay --http --listen 127.0.0.1:0 --roster DIR", "it is a folder"),
                    (&format!("relay --http --open --listen {listen}"), "cannot run a relay"),
                    ("relay --open --tls-local localhost --key-file /proc/nonexistent/x", "relay.tls.pem"),
                    ("join @DIR --key-file KEY", "cannot be read"),
                    ("join nobody --key-file KEY --config /nonexistent/funnel.toml", "cannot be read"),
                    ("join nobody --key-file KEY --roster DIR", "it is a folder"),
                    (&format!("join {peer} --key-file KEY {safe} --listen {listen}"), "choose another port"),
                    (&format!("join {peer} --key-file DIR/other/secret.key --state-dir /proc/nonexistent --tls {safe} --listen 127.0.0.1:0"), "secret.tls.pem"),
                ],
            )
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_full_disk_and_a_file_of_another_user_end_with_1() {
    guarded(async {
        let office = Office::new().await;
        let state = office.path("state");
        fs::create_dir(&state).unwrap();
        if !is_possible(&state).await {
            return;
        }
        let config = office.file("funnel.toml", "[expose]\n");
        fs::set_permissions(office.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let filled = || {
            let script = format!("head -c 1M /dev/zero > {}/filling 2>/dev/null; exec \"$@\"", state.display());
            [with_disk(&state, "rw"), ["sh", "-c", &script, "sh"].map(str::to_owned).into()].concat()
        };
        let key = office.text("secret.key");
        let user = ["setpriv", "--reuid", USER, "--clear-groups", "--"].map(str::to_owned).to_vec();
        let in_state = |name: &str| state.join(name).to_str().unwrap().to_owned();
        for (launcher, line, part) in [
            (filled(), format!("id --key-file {}", in_state("secret.key")), "No space left"),
            (
                filled(),
                format!("expose --key-file {key} --superlink http://127.0.0.1:9 --ticket-file {}", in_state("ticket")),
                "cannot write --ticket-file",
            ),
            (
                filled(),
                format!("peers allow {PEER} --key-file {key} --roster {}", in_state("peers.toml")),
                "No space left",
            ),
            (user.clone(), format!("run --config {config} --key-file {key}"), "cannot read --config"),
            (user.clone(), format!("id --key-file {key}"), "Permission denied"),
            (user, format!("id --key-file {}", office.text("new/secret.key")), "Permission denied"),
        ] {
            let (status, stderr) = run_by(&launcher, &line).await;
            assert_eq!(status, Some(WORLD), "{line}: {stderr}");
            assert!(stderr.contains(part), "{line}: {part} is not in:\n{stderr}");
        }
    })
    .await;
}

async fn run_by(launcher: &[String], line: &str) -> (Option<i32>, String) {
    let mut command = Command::new(&launcher[0]);
    command.args(&launcher[1..]).arg(PROGRAM).args(line.split_whitespace());
    if !line.starts_with("id") {
        command.args(LOOPBACK);
    }
    let output = command.kill_on_drop(true).output().await.unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_unit_in_the_documents_never_restarts_on_64_alone() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md")).unwrap();
    assert!(text.contains("Restart=always\nRestartSec=2\nRestartPreventExitStatus=64\n"), "{text}");
}
