//! The control socket of a running funnel: a denial is in force when the command says so, whatever goes on.
#![cfg(unix)]

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpStream, UnixStream},
    sync::Notify,
};

use crate::{
    funnel_process::{FunnelProcess, endpoint_id, run_for_output},
    sides::{begin_call, guarded, http_server, read_head, response_head, status, words},
};

const POLL: &str = "/v1/fleet/pull-messages";
/// The SuperLink never answers it.
const STALLED: &str = "/v1/fleet/push-object";

/// A SuperLink with its funnel, and the folder of that funnel.
pub(crate) struct Office {
    folder: TempDir,
    state: PathBuf,
    pub(crate) inbound: FunnelProcess,
    /// Of each call that is not answered.
    pub(crate) arrived: Arc<Notify>,
}

/// A site whose peer the office is.
pub(crate) struct Site {
    pub(crate) id: String,
    pub(crate) funnel: FunnelProcess,
    _folder: TempDir,
}

impl Office {
    /// With these sites on the roster.
    pub(crate) async fn with_sites<const N: usize>(names: [&str; N]) -> (Self, [Site; N]) {
        Self::in_folder("state", names).await
    }

    async fn in_folder<const N: usize>(below: &str, names: [&str; N]) -> (Self, [Site; N]) {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join(below);
        let arrived = Arc::new(Notify::new());
        let arriving = Arc::clone(&arrived);
        let superlink = http_server(move |mut socket, head| {
            let arriving = Arc::clone(&arriving);
            async move {
                if head.contains(STALLED) {
                    arriving.notify_one();
                    let _ = socket.read(&mut [0]).await;
                }
                let _ = socket.write_all(response_head(0).as_bytes()).await;
            }
        })
        .await;
        let ticket = folder.path().join("ticket").into_os_string();
        let key = state.join("secret.key").into_os_string();
        let mut keys = Vec::new();
        for name in names {
            let site = tempfile::tempdir().unwrap();
            let id = endpoint_id(&site.path().join("secret.key")).await.unwrap();
            let allow = words(&["peers", "allow", &id, "--name", name], &[("--key-file", &key)]);
            let (status, stdout, stderr) = run_for_output(allow).await.unwrap();
            assert!(status.success(), "{stderr}");
            assert!(
                stdout.contains("no funnel with this key is running: it will be in force when it starts"),
                "{stdout}"
            );
            keys.push((site, id));
        }
        let superlink = format!("http://{superlink}");
        let expose = words(&["expose", "--superlink", &superlink], &[("--key-file", &key), ("--ticket-file", &ticket)]);
        let inbound = FunnelProcess::start(expose).await.unwrap();
        let at_ticket = format!("@{}", ticket.to_str().unwrap());
        let mut sites = Vec::new();
        for (folder, id) in keys {
            let key = folder.path().join("secret.key").into_os_string();
            let join = words(&["join", &at_ticket, "--listen", "127.0.0.1:0"], &[("--key-file", &key)]);
            sites.push(Site { id, funnel: FunnelProcess::start(join).await.unwrap(), _folder: folder });
        }
        (Self { folder, state, inbound, arrived }, sites.try_into().unwrap_or_else(|_| unreachable!()))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.state.join(name)
    }

    fn socket(&self) -> PathBuf {
        self.file("secret.key.control")
    }

    fn words(&self, arguments: &[&str]) -> Vec<std::ffi::OsString> {
        words(arguments, &[("--key-file", &self.file("secret.key").into_os_string())])
    }

    /// What a command prints that succeeds.
    pub(crate) async fn type_in(&self, arguments: &[&str]) -> String {
        let (status, stdout, stderr) = run_for_output(self.words(arguments)).await.unwrap();
        assert!(status.success(), "{arguments:?}: {stderr}");
        stdout
    }

    /// What a command says whose change is not in force.
    async fn fails(&self, arguments: &[&str]) -> String {
        let (status, _, stderr) = run_for_output(self.words(arguments)).await.unwrap();
        assert_eq!(status.code(), Some(1), "{arguments:?}: {stderr}");
        stderr
    }

    pub(crate) fn in_force(&self) -> String {
        format!("in force in the running funnel (pid {})", self.inbound.id().unwrap())
    }

    /// Begins to deny a site, and waits until that is in force; the command may not end.
    async fn begin_to_deny(&self, name: &str) -> FunnelProcess {
        let command = FunnelProcess::spawn(self.words(&["peers", "deny", name])).unwrap();
        while command.stdout_line(&self.in_force()).is_none() {
            tokio::task::yield_now().await;
        }
        command
    }
}

impl Site {
    fn dial(&self) -> std::net::SocketAddr {
        self.funnel.listen_addr().unwrap()
    }

    /// Begins a call that is not answered.
    pub(crate) async fn stall(&self) -> TcpStream {
        begin_call(self.dial(), STALLED, 0).await
    }

    pub(crate) async fn call(&self) -> String {
        let mut socket = begin_call(self.dial(), POLL, 0).await;
        status(&read_head(&mut socket).await.unwrap()).to_owned()
    }
}

/// Waits until a call that was not answered is cut.
pub(crate) async fn cut(mut call: TcpStream) {
    let head = read_head(&mut call).await;
    assert!(head.is_none_or(|head| status(&head) == "503"));
}

async fn send(socket: &Path, line: &[u8]) -> UnixStream {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    // A funnel that has read enough may have closed it.
    let _ = stream.write_all(line).await;
    stream
}

/// The answer to a line.
async fn ask(socket: &Path, line: &[u8]) -> Value {
    let mut answer = String::new();
    BufReader::new(send(socket, line).await).read_line(&mut answer).await.unwrap();
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{answer:?}: {error}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_is_in_force_when_the_command_says_so_and_outlives_an_old_copy_of_the_roster() {
    guarded(async {
        let (office, [mary, john]) = Office::with_sites(["st. mary", "st. john"]).await;
        let (under_way, other) = (mary.stall().await, john.stall().await);
        assert_eq!(mary.call().await, "200");
        let before = fs::read(office.file("peers.toml")).unwrap();
        let said = office.type_in(&["peers", "deny", "st. mary"]).await;
        assert!(said.contains(&office.in_force()) && said.contains("st. mary is denied"), "{said}");
        assert_eq!(mary.call().await, "503");
        cut(under_way).await;
        while !fs::read_to_string(office.file("audit.jsonl"))
            .unwrap()
            .contains(r#""event":"standing","outcome":"denied""#)
        {
            tokio::task::yield_now().await;
        }

        fs::write(office.file("peers.toml"), before).unwrap();
        let said = office.type_in(&["peers", "rename", "st. john", "john"]).await;
        assert!(said.contains(&office.in_force()), "{said}");
        assert_eq!(mary.call().await, "503");

        let said = office.type_in(&["peers", "allow", "st. mary"]).await;
        assert!(said.contains(&office.in_force()), "{said}");
        while mary.call().await != "200" {
            tokio::task::yield_now().await;
        }
        let said = office.type_in(&["peers", "remove", "st. mary"]).await;
        assert!(said.contains(&office.in_force()), "{said}");
        assert_eq!(mary.call().await, "503");
        assert!(office.type_in(&["invite", "new"]).await.contains(&office.in_force()));
        assert_eq!(john.call().await, "200");
        drop(other);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_waits_neither_for_a_roster_that_cannot_be_read_nor_for_its_lock() {
    guarded(async {
        let (office, [mary, john]) = Office::with_sites(["st. mary", "st. john"]).await;
        let (of_mary, of_john) = (mary.stall().await, john.stall().await);
        let lock =
            File::options().write(true).create(true).truncate(false).open(office.file("peers.toml.lock")).unwrap();
        lock.lock().unwrap();
        let command = office.begin_to_deny("st. mary").await;
        cut(of_mary).await;
        drop(lock);
        assert!(command.ended().await.unwrap().success());

        fs::remove_file(office.file("peers.toml")).unwrap();
        assert!(Command::new("mkfifo").arg(office.file("peers.toml")).status().unwrap().success());
        let command = office.begin_to_deny("st. john").await;
        cut(of_john).await;
        command.kill().await.unwrap();
        for site in [&mary, &john] {
            assert_eq!(site.call().await, "503");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_not_in_force_says_so_and_why() {
    guarded(async {
        let (office, [mary]) = Office::with_sites(["st. mary"]).await;
        let other = office.file("other.toml");
        let said = office.fails(&["peers", "deny", &mary.id, "--roster", other.to_str().unwrap()]).await;
        assert!(said.contains("NOT in force: the running funnel (pid") && said.contains("peers.toml, not"), "{said}");
        assert_eq!(mary.call().await, "200");

        let key = mary._folder.path().join("secret.key").into_os_string();
        let deny = words(&["peers", "deny", &mary.id], &[("--key-file", &key)]);
        let (status, stdout, stderr) = run_for_output(deny).await.unwrap();
        assert!(status.success() && stdout.contains("exposes nothing"), "{stdout}{stderr}");

        office.inbound.freeze().unwrap();
        let said = office.fails(&["peers", "deny", "st. mary"]).await;
        assert!(said.contains("NOT in force: the funnel did not answer"), "{said}");
        office.inbound.thaw().unwrap();
        // The roster has it, and the request waited in the socket.
        while mary.call().await != "503" {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_a_killed_funnel_left_is_replaced_even_if_its_path_is_longer_than_an_address() {
    guarded(async {
        let (office, []) = Office::in_folder(&"long/".repeat(40), []).await;
        let Office { folder, state, inbound, arrived } = office;
        let is_socket = |path: &Path| fs::symlink_metadata(path).unwrap().file_type().is_socket();
        inbound.kill().await.unwrap();
        let key = state.join("secret.key").into_os_string();
        assert!(is_socket(&state.join("secret.key.control")));
        let peer = endpoint_id(&folder.path().join("other.key")).await.unwrap();
        let deny = || words(&["peers", "deny", &peer], &[("--key-file", &key)]);
        let (status, stdout, stderr) = run_for_output(deny()).await.unwrap();
        assert!(status.success() && stdout.contains("no funnel with this key is running"), "{stdout}{stderr}");

        let expose = words(&["expose", "--superlink", "http://127.0.0.1:9"], &[("--key-file", &key)]);
        let office = Office { folder, state, inbound: FunnelProcess::start(expose).await.unwrap(), arrived };
        let (status, stdout, stderr) = run_for_output(deny()).await.unwrap();
        assert!(status.success() && stdout.contains(&office.in_force()), "{stdout}{stderr}");
        let mode = fs::symlink_metadata(office.socket()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let socket = office.socket();
        office.inbound.stop().await.unwrap();
        assert!(!socket.exists());
        let left: Vec<_> = fs::read_dir(socket.parent().unwrap()).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(left.iter().all(|path| !path.to_str().unwrap().contains("control")), "{left:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_not_understood_is_answered_with_the_reason() {
    guarded(async {
        let (office, [mary]) = Office::with_sites(["st. mary"]).await;
        let socket = office.socket();
        let long = [b" ".repeat(1 << 20), b"\n".to_vec()].concat();
        for (line, reason) in [
            (&b"{\"version\":1,\"request\":\"dance\"}\n"[..], "does not know the request \"dance\""),
            (b"{\"version\":9,\"request\":\"status\"}\n", "version 9"),
            (b"GET / HTTP/1.1\r\n", "not a message"),
            (b"\xff\n", "not a message"),
            (&long, "more than 65536 bytes"),
        ] {
            let answer = ask(&socket, line).await;
            assert_eq!(answer["outcome"], "invalid", "{answer}");
            assert!(answer["reason"].as_str().unwrap().contains(reason), "{answer}");
        }
        let answer = ask(&socket, b"{\"version\":1,\"request\":\"status\",\"of\":[\"a newer release\"]}\n").await;
        assert_eq!(answer["pid"], office.inbound.id().unwrap());
        assert_eq!((&answer["roster_health"], &answer["outcome"]), (&json!("ok"), &json!("status")));
        assert_eq!(answer["roster"], office.file("peers.toml").canonicalize().unwrap().to_str().unwrap());
        let answer =
            ask(&mary._folder.path().join("secret.key.control"), b"{\"version\":1,\"request\":\"status\"}\n").await;
        assert_eq!((&answer["endpoint_id"], &answer["roster"]), (&json!(mary.id), &Value::Null));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_connect_and_say_nothing_do_not_keep_a_denial_waiting() {
    guarded(async {
        let (office, [mary]) = Office::with_sites(["st. mary"]).await;
        let under_way = mary.stall().await;
        let socket = office.socket();
        // Each comes back as soon as it is closed.
        let silent: Vec<_> = (0..200)
            .map(|_| {
                let socket = socket.clone();
                tokio::spawn(async move {
                    loop {
                        if let Ok(mut stream) = UnixStream::connect(&socket).await {
                            let _ = stream.read(&mut [0]).await;
                        }
                    }
                })
            })
            .collect();
        let status = json!({ "version": 1, "request": "status" }).to_string() + "\n";
        let start = Instant::now();
        let connecting = async {
            loop {
                match UnixStream::connect(&socket).await {
                    Ok(stream) => break stream,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        let mut stream = connecting.await;
        stream.write_all(status.as_bytes()).await.unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).await.unwrap();
        assert!(answer.contains("status"), "{answer}");
        eprintln!("answered beside 200 silent connections in {:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(10));
        let said = office.type_in(&["peers", "deny", "st. mary"]).await;
        assert!(said.contains(&office.in_force()), "{said}");
        cut(under_way).await;
        silent.iter().for_each(tokio::task::JoinHandle::abort);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_cannot_use_the_control_socket() {
    guarded(async {
        let as_other = |arguments: &[&OsStr]| {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--clear-groups", "perl", "-MIO::Socket::UNIX", "-e"]).args(arguments);
            command
        };
        if !as_other(&["".as_ref()]).status().is_ok_and(|status| status.success()) {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must be able to connect as another user");
            eprintln!("skipped: needs root, setpriv and perl to connect as another user");
            return;
        }
        let (office, [mary]) = Office::with_sites(["st. mary"]).await;
        for folder in [office.folder.path(), &office.state] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let roster = office.file("peers.toml").canonicalize().unwrap();
        let deny = json!({ "version": 1, "request": "deny", "peer": mary.id, "roster": roster }).to_string();
        let connect = || {
            const SCRIPT: &str = "$s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or print($!), exit; $SIG{PIPE} = 'IGNORE'; \
                                  syswrite($s, \"$ARGV[1]\\n\"); sysread($s, $answer, 99); print(\"answer: $answer\")";
            let output = as_other(&[SCRIPT.as_ref(), office.socket().as_ref(), deny.as_ref()]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        assert!(connect().contains("Permission denied"), "the mode keeps others away");
        // As on a system that does not look at the mode of a socket.
        fs::set_permissions(office.socket(), fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(connect(), "answer: ");
        assert_eq!(mary.call().await, "200");

        // In a folder that others can write to, another user takes the place of a funnel.
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let key = folder.path().join("secret.key");
        endpoint_id(&key).await.unwrap();
        let socket = folder.path().join("secret.key.control");
        const LISTEN: &str = "$s = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1); chmod(0777, $ARGV[0]); \
                              $c = $s->accept; sleep(60)";
        let mut impostor = as_other(&[LISTEN.as_ref(), socket.as_ref()]).spawn().unwrap();
        while !socket.exists() {
            tokio::task::yield_now().await;
        }
        let deny = words(&["peers", "deny", &mary.id], &[("--key-file", &key.into_os_string())]);
        let (status, _, stderr) = run_for_output(deny).await.unwrap();
        assert!(!status.success() && stderr.contains("it belongs to user 65534"), "{stderr}");
        impostor.kill().unwrap();
        impostor.wait().unwrap();
    })
    .await;
}
