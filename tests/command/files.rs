//! The files of a funnel: their modes, and what stands in their place.
#![cfg(unix)]

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_flower-iroh-funnel");
const PEER: &str = "0ba2ff40c4d0b25bf5c26a13c0b3c2b6d8f79cc6a4d4a0c1a9a0a2b1a54d5e0c";
/// Neither the test's user nor root.
#[cfg(target_os = "linux")]
const USER: u32 = 54_321;

/// A folder for state, and the program in it.
struct State {
    folder: TempDir,
}

impl State {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("state").join(name)
    }

    /// Runs the program by a launcher.
    fn run_by(&self, launcher: &mut Command, arguments: &[&str]) -> Output {
        launcher.arg(PROGRAM).args(arguments).arg("--key-file").arg(self.file("secret.key")).output().unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.run_by(&mut Command::new("env"), arguments)
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn allow() -> [&'static str; 3] {
    ["peers", "allow", PEER]
}

#[test]
fn secrets_and_state_are_their_owners_alone_whatever_the_umask_is() {
    for umask in ["000", "277", "377", "777"] {
        let state = State::new();
        for arguments in [&["id"][..], &allow(), &allow()] {
            let output =
                state.run_by(Command::new("sh").args(["-c", &format!("umask {umask}; exec \"$@\""), "sh"]), arguments);
            assert!(output.status.success(), "{umask} {arguments:?}: {}", stderr(&output));
        }
        for name in ["secret.key", "peers.toml", "peers.toml.lock"] {
            assert_eq!(mode(&state.file(name)), 0o600, "{umask} {name}");
        }
        assert_eq!(mode(&state.file("")), 0o700, "{umask}: nobody else enters the folder");
    }
}

#[test]
fn a_change_of_the_roster_ends_while_another_process_holds_its_lock_and_names_it() {
    let state = State::new();
    assert!(state.run(&allow()).status.success());
    let mut lock = File::options().write(true).open(state.file("peers.toml.lock")).unwrap();
    lock.lock().unwrap();
    lock.set_len(0).unwrap();
    writeln!(lock, "{}", std::process::id()).unwrap();
    let output = state.run(&["peers", "deny", PEER]);
    let stderr = stderr(&output);
    assert!(!output.status.success());
    for part in [&format!("process {} of this machine", std::process::id()), "peers.toml.lock", "end it"] {
        assert!(stderr.contains(part), "{part} is not in:\n{stderr}");
    }
    drop(lock);
    assert!(state.run(&["peers", "deny", PEER]).status.success());
}

#[test]
fn a_pipe_in_the_place_of_a_key_or_a_roster_is_refused_and_named() {
    for name in ["secret.key", "peers.toml"] {
        let state = State::new();
        fs::create_dir(state.file("")).unwrap();
        assert!(Command::new("mkfifo").arg(state.file(name)).status().unwrap().success());
        let output = state.run(if name == "secret.key" { &["id"] } else { &["peers", "list"] });
        let stderr = stderr(&output);
        assert!(!output.status.success() && stderr.contains(name), "{stderr}");
        assert!(stderr.contains("a named pipe, not a regular file"), "{stderr}");
    }
}

/// As a service's user that may pass through folders and not list them, started where it may not be.
#[cfg(target_os = "linux")]
#[test]
fn folders_that_cannot_be_listed_and_a_working_folder_that_cannot_be_used_are_no_obstacle() {
    let (state, private) = (State::new(), tempfile::tempdir().unwrap());
    fs::create_dir(state.file("")).unwrap();
    fs::set_permissions(state.folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    fs::set_permissions(state.file(""), fs::Permissions::from_mode(0o333)).unwrap();
    let user = || {
        let mut launcher = Command::new("setpriv");
        launcher.args(["--reuid", &USER.to_string(), "--clear-groups", "--"]).current_dir(private.path());
        launcher
    };
    let is_possible = user().args([PROGRAM, "--version"]).output().is_ok_and(|output| output.status.success());
    if !is_possible {
        eprintln!("skipped: only root can run the program as another user");
        return;
    }
    for arguments in [&["id"][..], &allow(), &allow()] {
        let output = state.run_by(&mut user(), arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    }
}
