//! Output that nobody reads: stderr, stdout, and an audit log that is a pipe.
#![cfg(target_os = "linux")]

use std::{
    fs::File,
    io::{PipeReader, PipeWriter, Read, Write, pipe},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::watch, time::timeout};

use crate::{
    funnel_process::{FunnelProcess, endpoint_id, run},
    ports::free_addr,
    sides::{begin_call, begin_call_on, guarded, http_server, read_head, response_head, status, words},
};

/// What a pipe of Linux takes before it is full.
const PIPE: usize = 1 << 16;
/// How long a process may take to end: the limits of an audit log, of the links and of both outputs together.
const END: Duration = Duration::from_secs(15);

/// A pipe without any room.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().unwrap();
    writer.write_all(&vec![b'\n'; PIPE]).unwrap();
    (reader, writer)
}

/// Reads what comes, until all writers are gone.
fn read_on(mut reader: PipeReader) -> watch::Receiver<String> {
    let (sender, receiver) = watch::channel(String::new());
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = reader.read(&mut piece) {
            sender.send_modify(|text| text.push_str(&String::from_utf8_lossy(&piece[..length])));
        }
    });
    receiver
}

/// Waits for a text in what is read.
async fn read(text: &mut watch::Receiver<String>, part: &str) -> String {
    let read = timeout(Duration::from_secs(60), text.wait_for(|text| text.contains(part))).await;
    read.unwrap_or_else(|_| panic!("{part:?} is not written")).unwrap().clone()
}

/// The files of an `expose` and of a `join` that it admits.
struct Site {
    folder: TempDir,
    superlink: std::net::SocketAddr,
    id: String,
}

impl Site {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let superlink = http_server(async |mut socket, _| {
            let _ = socket.write_all(response_head(0).as_bytes()).await;
        })
        .await;
        let id = endpoint_id(&folder.path().join("join.key")).await.unwrap();
        Self { folder, superlink, id }
    }

    fn expose(&self, options: &[&str]) -> Vec<std::ffi::OsString> {
        let superlink = format!("http://{}", self.superlink);
        let expose = [&["expose", "--superlink", &superlink, "--allow", &self.id], options].concat();
        let (key, ticket) = (self.path("expose.key"), self.path("ticket"));
        words(&expose, &[("--key-file", &key), ("--ticket-file", &ticket)])
    }

    fn join(&self, listen: &str) -> Vec<std::ffi::OsString> {
        let ticket = format!("@{}", self.path("ticket").to_str().unwrap());
        words(&["join", &ticket, "--listen", listen], &[("--key-file", &self.path("join.key"))])
    }

    async fn joined(&self) -> FunnelProcess {
        self.has_ticket().await;
        FunnelProcess::start(self.join("127.0.0.1:0")).await.unwrap()
    }

    async fn has_ticket(&self) {
        while std::fs::read(self.path("ticket")).map_or(true, |ticket| ticket.is_empty()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn path(&self, name: &str) -> std::ffi::OsString {
        self.folder.path().join(name).into_os_string()
    }
}

async fn call(dial: std::net::SocketAddr) {
    let mut call = begin_call(dial, "/v1/fleet/pull-messages", 0).await;
    assert_eq!(status(&read_head(&mut call).await.unwrap()), "200");
}

async fn assert_ends_in_time(funnel: FunnelProcess) {
    let start = Instant::now();
    assert!(funnel.stop().await.unwrap().success());
    assert!(start.elapsed() < END, "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stderr_that_nobody_reads_delays_no_call_and_says_later_how_many_lines_were_dropped() {
    guarded(async {
        let site = Site::new().await;
        let (reader, writer) = full_pipe();
        let inbound = FunnelProcess::spawn_writing_to(site.expose(&["-vvv"]), Stdio::piped(), writer).unwrap();
        let inbound = inbound.ready().await.unwrap();
        let outbound = site.joined().await;
        // Each leaves about 100 lines: more than the queue takes.
        for _ in 0..300 {
            call(outbound.listen_addr().unwrap()).await;
        }
        let mut log = read_on(reader);
        let text = read(&mut log, "lines of the log were dropped").await;
        let lost = text.split("lines=").last().unwrap().split_whitespace().next().unwrap().parse::<u64>().unwrap();
        assert!(lost > 0 && text.len() > 1 << 20, "{lost} lines were dropped, and {} bytes read", text.len());
        // It goes on, to its last line.
        assert_ends_in_time(inbound).await;
        read(&mut log, "drained").await;
        outbound.stop().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_a_process_in_time_whose_outputs_nobody_reads() {
    guarded(async {
        let site = Site::new().await;
        let (_stderr, inbound_stderr) = full_pipe();
        let (_stdout, inbound_stdout) = full_pipe();
        let inbound = FunnelProcess::spawn_writing_to(site.expose(&[]), inbound_stdout, inbound_stderr).unwrap();
        site.has_ticket().await;
        let (_both, writer) = full_pipe();
        let listen = free_addr();
        let join = site.join(&listen.to_string());
        let outbound = FunnelProcess::spawn_writing_to(join, writer.try_clone().unwrap(), writer).unwrap();
        let socket = loop {
            match TcpStream::connect(listen).await {
                Ok(socket) => break socket,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let mut first = begin_call_on(socket, "/v1/fleet/pull-messages", 0).await;
        assert_eq!(status(&read_head(&mut first).await.unwrap()), "200");
        assert_ends_in_time(outbound).await;
        assert_ends_in_time(inbound).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_ends_a_process_is_written_for_a_slow_reader_and_waits_for_none_that_stands_still() {
    guarded(async {
        let wrong = || words(&["expose", "--superlink", "nonsense:nonsense"], &[]);
        for arguments in [wrong(), vec!["no-such-command".into()]] {
            let (reader, writer) = full_pipe();
            let refused = FunnelProcess::spawn_writing_to(arguments.clone(), Stdio::null(), writer).unwrap();
            assert_eq!(refused.ended().await.unwrap().code(), Some(64));
            drop(reader);

            let (reader, writer) = full_pipe();
            let refused = FunnelProcess::spawn_writing_to(arguments, Stdio::null(), writer).unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
            let mut text = read_on(reader);
            assert_eq!(refused.ended().await.unwrap().code(), Some(64));
            read(&mut text, "error: ").await;
        }
        let (status, stderr) = run(wrong()).await.unwrap();
        assert!(status.code() == Some(64) && stderr.contains("nonsense"), "{stderr}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_log_that_stands_still_delays_no_call_and_no_end() {
    guarded(async {
        let site = Site::new().await;
        let fifo = site.path("fifo");
        assert!(Command::new("mkfifo").args(["-m", "600"]).arg(&fifo).status().unwrap().success());
        let mut unread = File::options().read(true).write(true).open(Path::new(&fifo)).unwrap();
        unread.write_all(&vec![b'\n'; PIPE]).unwrap();
        let inbound = FunnelProcess::start(site.expose(&["--audit-log", fifo.to_str().unwrap()])).await.unwrap();
        let outbound = site.joined().await;
        call(outbound.listen_addr().unwrap()).await;
        let start = Instant::now();
        inbound.terminate().unwrap();
        inbound.logged("the audit log has stood still").await.unwrap();
        assert!(inbound.ended().await.unwrap().success());
        assert!(start.elapsed() < END, "{:?}", start.elapsed());
        outbound.stop().await.unwrap();
    })
    .await;
}
