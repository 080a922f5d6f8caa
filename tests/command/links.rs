//! Links that break, between two hosts. Needs root on Linux, for emulated links.
#![cfg(target_os = "linux")]

use std::{ffi::OsString, net::SocketAddr, path::Path, time::Duration};

use lab::{Conditions, Host, Link};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Handle,
};

use crate::{
    funnel_process::{FunnelProcess, endpoint_id},
    sides::{begin_call_on, guarded, read_head, response_head, serve_on, status},
};

const POLL: &str = "/v1/fleet/pull-messages";
const PUSH: &str = "/v1/fleet/push-object";

/// A SuperLink and its funnel on the right host, another funnel on the left one.
struct Hosts {
    link: Link,
    folder: TempDir,
    superlink: SocketAddr,
    joiner: String,
    inbound: Option<FunnelProcess>,
    outbound: Option<FunnelProcess>,
    dial: SocketAddr,
}

impl Hosts {
    /// `None` where there are no emulated links.
    async fn start(rate: f64) -> Option<Self> {
        if let Err(unavailable) = lab::available() {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must have emulated links");
            eprintln!("skipped: {unavailable}");
            return None;
        }
        let delay = Duration::from_millis(20);
        let link = Link::new(Conditions { delay, loss: 0.0, rate, queue: Duration::from_millis(50) }).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let joiner = endpoint_id(Path::new(&folder.path().join("join.key"))).await.unwrap();
        let superlink = serve_on(listener(link.right()), serve);
        let dial = ([127, 0, 0, 1], 0).into();
        let mut hosts = Self { link, folder, superlink, joiner, inbound: None, outbound: None, dial };
        hosts.expose().await;
        let outbound = start(hosts.link.left(), hosts.join_words()).await;
        hosts.dial = outbound.listen_addr().unwrap();
        hosts.outbound = Some(outbound);
        Some(hosts)
    }

    /// Starts the inbound funnel, always with the same key and address.
    async fn expose(&mut self) {
        if let Some(before) = self.inbound.take() {
            before.kill().await.unwrap();
        }
        let addr = format!("{}:7000", self.link.right().addr());
        let superlink = format!("http://{}", self.superlink);
        let options = ["expose", "--superlink", &superlink, "--allow", &self.joiner, "--bind", &addr, "--relay", "off"];
        let files = [("--key-file", "expose.key"), ("--ticket-file", "ticket")];
        self.inbound = Some(start(self.link.right(), self.words(&options, &files)).await);
    }

    fn join_words(&self) -> Vec<OsString> {
        let ticket = format!("@{}", self.folder.path().join("ticket").display());
        let options = ["join", &ticket, "--listen", "127.0.0.1:0", "--bind", "0.0.0.0:0", "--relay", "off"];
        self.words(&options, &[("--key-file", "join.key")])
    }

    fn words(&self, options: &[&str], files: &[(&str, &str)]) -> Vec<OsString> {
        let files =
            files.iter().flat_map(|(option, file)| [option.into(), self.folder.path().join(file).into_os_string()]);
        options.iter().map(OsString::from).chain(files).collect()
    }

    fn outbound(&self) -> &FunnelProcess {
        self.outbound.as_ref().unwrap()
    }

    async fn begin(&self, path: &str, length: u64) -> TcpStream {
        let dial = self.dial;
        let socket = self.link.left().run(move || std::net::TcpStream::connect(dial)).unwrap();
        socket.set_nonblocking(true).unwrap();
        begin_call_on(TcpStream::from_std(socket).unwrap(), path, length).await
    }

    async fn poll(&self) -> String {
        let mut call = self.begin(POLL, 0).await;
        let head = read_head(&mut call).await.expect("every call is answered");
        status(&head).to_owned()
    }

    async fn poll_until(&self, wanted: &str) {
        while self.poll().await != wanted {}
    }
}

/// A Fleet API that takes whatever comes.
async fn serve(mut socket: TcpStream, head: String) {
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let taken = tokio::io::copy(&mut (&mut socket).take(length), &mut tokio::io::sink()).await;
    if taken.is_ok_and(|taken| taken == length) {
        let _ = socket.write_all(response_head(0).as_bytes()).await;
    }
}

fn listener(host: &Host) -> TcpListener {
    let listener = host.run(|| std::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    listener.set_nonblocking(true).unwrap();
    TcpListener::from_std(listener).unwrap()
}

/// Children have the network of the thread that starts them.
async fn start(host: &Host, words: Vec<OsString>) -> FunnelProcess {
    let runtime = Handle::current();
    let spawned = host.run(move || {
        let _entered = runtime.enter();
        FunnelProcess::spawn(words)
    });
    spawned.unwrap().ready().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_cut_for_longer_than_it_lives_is_found_again() {
    guarded(async {
        let Some(hosts) = Hosts::start(0.0).await else { return };
        assert_eq!(hosts.poll().await, "200");
        hosts.link.cut();
        hosts.poll_until("503").await;
        hosts.link.restore();
        hosts.poll_until("200").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_was_killed_and_restarted_is_found_again() {
    guarded(async {
        let Some(mut hosts) = Hosts::start(0.0).await else { return };
        assert_eq!(hosts.poll().await, "200");
        hosts.expose().await;
        hosts.poll_until("200").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_when_the_address_of_its_machine_changes() {
    guarded(async {
        let Some(hosts) = Hosts::start(40.0).await else { return };
        let length = 16 << 20;
        let explain = || hosts.outbound().error("lost the upload");
        let mut call = hosts.begin(PUSH, length as u64).await;
        call.write_all(&vec![7; length / 2]).await.unwrap();
        hosts.link.readdress_left().unwrap();
        call.write_all(&vec![7; length / 2]).await.unwrap_or_else(|error| panic!("{error}: {}", explain()));
        let head = read_head(&mut call).await.unwrap_or_else(|| panic!("no answer: {}", explain()));
        assert_eq!(status(&head), "200", "{}", explain());
    })
    .await;
}
