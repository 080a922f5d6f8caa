//! The modes of every file and folder, whatever the umask is.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
};

use tokio::process::Command;

use crate::{
    funnel_process::FunnelProcess,
    peers::Office,
    sides::{guarded, words},
};

/// The modes below a folder, by path.
fn modes(folder: &Path, prefix: &str, modes: &mut BTreeMap<String, u32>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        let found = entry.metadata().unwrap();
        modes.insert(name.clone(), found.permissions().mode() & 0o7777);
        if found.is_dir() {
            self::modes(&entry.path(), &format!("{name}/"), modes);
        }
        assert!(found.is_dir() || found.is_file() || found.file_type().is_socket(), "{name}");
    }
}

/// As the launcher of a service with this umask.
fn launcher(umask: &str) -> Command {
    let mut launcher = Command::new("sh");
    launcher.args(["-c", &format!("umask {umask}; exec \"$@\""), "sh"]);
    launcher
}

#[tokio::test]
async fn every_file_and_folder_has_its_mode_whatever_the_umask_is() {
    guarded(async {
        for umask in ["000", "022", "277", "377", "777"] {
            let office = Office::new();
            let file = |name: &str| office.file(name).into_os_string();
            let start = async |arguments: Vec<OsString>| {
                FunnelProcess::start_by(launcher(umask), arguments)
                    .await
                    .unwrap_or_else(|error| panic!("{umask}: {error}"))
            };
            let expose = words(
                &["expose", "--superlink", "http://127.0.0.1:9", "--allow-any"],
                &[("--key-file", &file("state/expose/secret.key")), ("--ticket-file", &file("ticket"))],
            );
            let inbound = start(expose).await;
            let at_ticket = format!("@{}", office.file("ticket").display());
            let join = words(
                &["join", &at_ticket, "--listen", "127.0.0.1:0", "--tls"],
                &[("--key-file", &file("state/join/secret.key"))],
            );
            let outbound = start(join).await;
            outbound.stop().await.unwrap();
            let mut found = BTreeMap::new();
            modes(office.folder.path(), "", &mut found);
            inbound.stop().await.unwrap();
            assert!(found.len() > 12, "{found:?}");
            for (name, mode) in &found {
                let is_folder = office.file(name).is_dir();
                let is_public = name == "ticket" || name.ends_with("ca.pem");
                let expected = if is_folder {
                    0o700
                } else if is_public {
                    0o644
                } else {
                    0o600
                };
                assert_eq!(*mode, expected, "umask {umask}: {name} has mode {mode:o}; {found:?}");
            }
            for name in
                ["state", "state/expose/secret.key.port", "state/expose/audit.jsonl", "state/join/secret.key", "ticket"]
            {
                assert!(found.contains_key(name), "{name} is not in {found:?}");
            }
        }
    })
    .await;
}
