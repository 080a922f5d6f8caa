//! Files as platforms hand them out: keys of Kubernetes, systemd and Docker, files that are mounted one by one, and texts with a
//! byte order mark, other line ends and `~/`. In mount namespaces, as a user without rights: needs root.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
    process::Output,
};

use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    funnel_process::{FunnelProcess, endpoint_id, run_for_output},
    sides::{guarded, words},
    small_disk::{is_possible, seen_by},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_flower-iroh-funnel");
const PEER: &str = "0ba2ff40c4d0b25bf5c26a13c0b3c2b6d8f79cc6a4d4a0c1a9a0a2b1a54d5e0c";
/// The user and the group `nobody`, also in the group 2000.
const NOBODY: &str = "setpriv --reuid 65534 --regid 65534 --groups 2000 --";
/// A volume of Kubernetes, with `fsGroup: 2000`, and the links by which it replaces all files at once.
const KUBERNETES: &str = "mount -t tmpfs -o mode=3777,gid=2000 none mnt; mkdir mnt/..1; ln -s ..1 mnt/..data
    cp secret.key mnt/..1/secret.key; ln -s ..data/secret.key mnt/secret.key; chown 0:2000 mnt/..1/secret.key";
const READ_ONLY: &str = "mount -o remount,ro mnt";

/// A folder with a key of root, and places to mount something.
struct Machine {
    folder: TempDir,
    id: String,
}

impl Machine {
    /// `None` where nothing can be mounted.
    async fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        if !is_possible(folder.path()).await {
            return None;
        }
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let id = endpoint_id(&folder.path().join("secret.key")).await.unwrap();
        for name in ["mnt", "state", "other", "rw", "ro"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        for name in ["state", "other"] {
            std::os::unix::fs::chown(folder.path().join(name), Some(65_534), Some(65_534)).unwrap();
        }
        Some(Self { folder, id })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command by `user` in a namespace in which the script has run.
    fn after(&self, script: &str, user: &str) -> Command {
        let mut command = Command::new("unshare");
        let script = format!("cd \"$0\"; {script}; exec {user} \"$@\"");
        command.args(["--mount", "sh", "-ec", &script]).arg(self.folder.path()).current_dir(self.folder.path());
        command
    }

    async fn run_after(&self, script: &str, user: &str, line: &str) -> Output {
        let mut command = self.after(script, user);
        command.arg(PROGRAM).args(line.split_whitespace()).kill_on_drop(true).output().await.unwrap()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_key_that_a_platform_hands_to_this_process_is_taken_and_one_that_others_can_read_is_not() {
    guarded(async {
        let Some(machine) = Machine::new().await else { return };
        let acl = "python3 -c \"import os, struct; os.setxattr('mnt/secret.key', 'system.posix_acl_access', \
            struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *entry) for entry in \
            [(1, 4, 2**32 - 1), (2, 4, 65534), (4, 0, 2**32 - 1), (16, 4, 2**32 - 1), (32, 0, 2**32 - 1)]))\"";
        let memory = "mount -t tmpfs -o mode=755 none mnt; cp secret.key mnt/secret.key";
        for (script, refused) in [
            // Kubernetes: a Secret, with defaultMode 0400, 0440, 0640 and the default, 0644.
            (format!("{KUBERNETES}; chmod 0440 mnt/..1/secret.key; {READ_ONLY}"), None),
            (format!("{KUBERNETES}; chmod 0640 mnt/..1/secret.key; {READ_ONLY}"), None),
            (format!("{KUBERNETES}; chmod 0644 mnt/..1/secret.key; {READ_ONLY}"), None),
            // Kubernetes: a volume in which the funnel made the key, mounted again.
            (format!("{memory}; chown 65534:2000 mnt mnt/secret.key; chmod 2770 mnt; chmod 660 mnt/secret.key"), None),
            // systemd: LoadCredential, with an access list, and of the user.
            (format!("{memory}; chmod 0400 mnt/secret.key; {acl}; {READ_ONLY}"), None),
            (
                "mount -t ramfs none mnt; cp secret.key mnt/secret.key; chown 65534 mnt mnt/secret.key; chmod 500 mnt; chmod 400 \
                 mnt/secret.key; mount -o remount,ro mnt"
                    .to_owned(),
                None,
            ),
            // Docker: a secret, mounted by itself.
            (
                format!("{memory}; chmod 0444 mnt/secret.key; {READ_ONLY}; touch single; mount --bind mnt/secret.key single"),
                None,
            ),
            // Others can read these.
            (format!("{memory}; chmod 0444 mnt/secret.key"), Some("mode 444")),
            (format!("{memory}; chown 65534 mnt/secret.key; chmod 0644 mnt/secret.key; {READ_ONLY}"), Some("mode 644")),
            (format!("{memory}; chown 65534:2000 mnt/secret.key; chmod 0640 mnt/secret.key"), Some("mode 640")),
            (format!("{memory}; chmod 0666 mnt/secret.key; {READ_ONLY}"), Some("mode 666")),
            (format!("{memory}; chown 0:3000 mnt/secret.key; chmod 0440 mnt/secret.key"), Some("Permission denied")),
        ] {
            let name = if script.contains("single") { "single" } else { "mnt/secret.key" };
            let output = machine.run_after(&script, NOBODY, &format!("id --key-file {name}")).await;
            let stderr = stderr(&output);
            match refused {
                None => assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), machine.id, "{script}: {stderr}"),
                Some(part) => {
                    assert_eq!(output.status.code(), Some(1), "{script}: {stderr}");
                    assert!(stderr.contains(part), "{script}: {part} is not in:\n{stderr}");
                }
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_funnel_whose_key_cannot_be_written_beside_keeps_its_state_in_another_folder() {
    guarded(async {
        let Some(machine) = Machine::new().await else { return };
        let script = format!(
            "{KUBERNETES}; chmod 0440 mnt/..1/secret.key; {READ_ONLY}; touch ticket; chown 65534 ticket; mount --bind ticket \
             ticket"
        );
        let key = machine.path("mnt/secret.key").into_os_string();
        let expose = |state: &str| {
            let files = [
                ("--key-file", &key),
                ("--state-dir", &machine.path(state).into_os_string()),
                ("--ticket-file", &machine.path("ticket").into_os_string()),
            ];
            words(&["expose", "--superlink", "http://127.0.0.1:9"], &files)
        };
        let funnel = FunnelProcess::start_by(machine.after(&script, NOBODY), expose("state")).await.unwrap();
        assert!(!funnel.stderr().contains("no control socket"), "{}", funnel.stderr());
        for name in ["secret.key.lock", "secret.key.pid", "secret.key.control", "audit.jsonl"] {
            assert_eq!(fs::symlink_metadata(machine.path("state").join(name)).expect(name).uid(), 65_534, "{name}");
        }
        let ticket = fs::read_to_string(machine.path("ticket")).unwrap();
        assert_eq!(Some(ticket.trim()), funnel.stdout_line("ticket ").as_deref());

        // A command of root, and another funnel with the same key, elsewhere.
        let own = [
            ("--key-file", &machine.path("secret.key").into_os_string()),
            ("--state-dir", &machine.path("state").into_os_string()),
        ];
        let (status, stdout, stderr) = run_for_output(words(&["peers", "allow", PEER], &own)).await.unwrap();
        assert!(status.success() && stdout.contains("in force"), "{stdout}{stderr}");
        assert_eq!(fs::metadata(machine.path("state/peers.toml")).unwrap().uid(), 65_534);
        let mut inside = Command::new("nsenter");
        inside.args(["--mount", "--target", &funnel.id().unwrap().to_string(), "--"]).args(NOBODY.split_whitespace());
        let second = inside.arg(PROGRAM).args(expose("other")).kill_on_drop(true).output().await.unwrap();
        assert_eq!(second.status.code(), Some(1));
        assert!(self::stderr(&second).contains("is in use"), "{}", self::stderr(&second));
        let seen = seen_by(funnel.id().unwrap(), &machine.path("mnt"));
        assert_eq!(fs::read_dir(seen).unwrap().count(), 3, "nothing is written beside the key");
        assert!(funnel.stop().await.unwrap().success());
    })
    .await;
}

#[tokio::test]
async fn a_roster_that_is_mounted_by_itself_is_changed_where_it_is() {
    guarded(async {
        let Some(machine) = Machine::new().await else { return };
        let in_writable = "touch peers.toml; mount --bind peers.toml peers.toml";
        let in_read_only = "touch rw/peers.toml rw/peers.revoked.toml ro/peers.toml ro/peers.revoked.toml; mount --bind ro ro; \
             mount -o remount,bind,ro ro; mount --bind rw/peers.toml ro/peers.toml; mount --bind rw/peers.revoked.toml \
             ro/peers.revoked.toml";
        for (script, used, kept) in
            [(in_writable, "peers.toml", "peers.toml"), (in_read_only, "ro/peers.toml", "rw/peers.toml")]
        {
            let names: Vec<_> = [PEER].into_iter().map(str::to_owned).collect();
            let mut before = None;
            // It grows, shrinks and grows.
            for action in [
                format!("allow {} --name a-name-that-is-long", names[0]),
                format!("remove {PEER}"),
                format!("allow {PEER}"),
                format!("deny {PEER}"),
            ] {
                let line = format!("peers {action} --key-file secret.key --roster {used}");
                let output = machine.run_after(script, "env", &line).await;
                assert!(output.status.success(), "{script}: {line}: {}", stderr(&output));
                let inode = fs::metadata(machine.path(kept)).unwrap().ino();
                assert_eq!(*before.get_or_insert(inode), inode, "it was replaced");
                assert!(!machine.path("peers.toml.tmp").exists());
            }
            let (status, stdout, stderr) = run_for_output(words(
                &["peers", "list"],
                &[
                    ("--roster", &machine.path(kept).into_os_string()),
                    ("--key-file", &machine.path("secret.key").into_os_string()),
                ],
            ))
            .await
            .unwrap();
            assert!(status.success() && stdout.contains("denied"), "{stdout}{stderr}");
        }
        let full = "mount -t tmpfs -o size=64k none rw; touch rw/peers.toml; head -c 1M /dev/zero > rw/filling || true; touch \
             ro/peers.toml; mount --bind ro ro; mount -o remount,bind,ro ro; mount --bind rw/peers.toml ro/peers.toml";
        let check = "sh -c '\"$@\" || { status=$?; test ! -s rw/peers.toml; exit $status; }' sh";
        let line = format!("peers allow {PEER} --key-file secret.key --roster ro/peers.toml");
        let output = machine.run_after(full, check, &line).await;
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains("No space left"), "{}", stderr(&output));
    })
    .await;
}

#[tokio::test]
async fn a_byte_order_mark_other_line_ends_and_a_tilde_are_read_as_they_are_meant() {
    guarded(async {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        let id = endpoint_id(&path("secret.key")).await.unwrap();
        let own = fs::read_to_string(path("secret.key")).unwrap();
        let write = |name: &str, content: String| {
            fs::write(path(name), content).unwrap();
            fs::set_permissions(path(name), fs::Permissions::from_mode(0o600)).unwrap();
        };
        write("marked.key", format!("\u{feff}{}\r\n\r\n", own.trim()));
        write("token", "\u{feff}opensesame\r\n".to_owned());
        write("peers.toml", "\u{feff}# mine\r\n".to_owned());
        write(
            "funnel.toml",
            "\u{feff}key_file = \"~/marked.key\"\r\nrelay_mode = \"http://127.0.0.1:9,@~/token\"\r\n[expose]\r\nroster = \
             \"~/peers.toml\"\r\n"
                .to_owned(),
        );
        let run = async |line: &str| {
            let mut command = Command::new(PROGRAM);
            command.args(line.split_whitespace()).env("HOME", home.path()).current_dir("/");
            let output = command.kill_on_drop(true).output().await.unwrap();
            assert!(output.status.success(), "{line}: {}", stderr(&output));
            String::from_utf8(output.stdout).unwrap()
        };
        for line in ["id --key-file=~/marked.key", "id --config=~/funnel.toml"] {
            assert_eq!(run(line).await.trim(), id, "{line}");
        }
        run(&format!("peers allow {PEER} --config=~/funnel.toml")).await;
        assert!(fs::read_to_string(path("peers.toml")).unwrap().contains(PEER));
    })
    .await;
}
