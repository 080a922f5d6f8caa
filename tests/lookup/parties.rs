//! An `expose` and `join`s of it, that know each other by nothing but ids unless they are told.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use crate::{
    funnel_process::{FunnelProcess, endpoint_id},
    sides::{LOOPBACK, begin_call, http_server, read_head, response_head, status},
};

/// A folder with everybody's files.
pub(crate) struct Parties {
    folder: TempDir,
}

impl Parties {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The id of the funnel with that key.
    pub(crate) async fn id(&self, key: &str) -> String {
        endpoint_id(&self.file(key)).await.unwrap()
    }

    /// `line`, on loopback and without a relay, with a key of its own.
    pub(crate) fn words(&self, line: &str, key: &str) -> Vec<OsString> {
        self.words_with(line, key, &LOOPBACK)
    }

    pub(crate) fn words_with(&self, line: &str, key: &str, common: &[&str]) -> Vec<OsString> {
        let words = line.split_whitespace().chain(common.iter().copied()).map(OsString::from);
        words.chain(["--key-file".into(), self.file(key).into_os_string()]).collect()
    }

    /// An `expose` with a SuperLink behind it.
    pub(crate) async fn expose(&self, options: &str) -> FunnelProcess {
        FunnelProcess::start(self.words(&exposed(options).await, "expose.key")).await.unwrap()
    }

    /// A `join` that need not come up.
    pub(crate) fn join(&self, peer: &str, options: &str) -> FunnelProcess {
        let line = format!("join {peer} --listen 127.0.0.1:0 {options}");
        FunnelProcess::spawn(self.words(&line, "join.key")).unwrap()
    }
}

/// The beginning of a command line.
pub(crate) async fn exposed(options: &str) -> String {
    let superlink = http_server(|mut socket, _| async move {
        let _ = socket.write_all(response_head(0).as_bytes()).await;
    })
    .await;
    format!("expose --superlink http://{superlink} --allow-any {options}")
}

/// Waits until the funnel has reached its peer, and passes a call.
pub(crate) async fn reaches(outbound: FunnelProcess) -> FunnelProcess {
    let outbound = outbound.ready().await.unwrap();
    assert_eq!(call(&outbound).await, "200", "{}", outbound.stderr());
    outbound
}

/// The status of a call through a funnel.
pub(crate) async fn call(outbound: &FunnelProcess) -> String {
    let mut socket = begin_call(outbound.listen_addr().unwrap(), "/v1/fleet/pull-messages", 0).await;
    status(&read_head(&mut socket).await.unwrap()).to_owned()
}

/// Stops them all.
pub(crate) async fn stop<const N: usize>(funnels: [FunnelProcess; N]) {
    for funnel in funnels {
        funnel.stop().await.unwrap();
    }
}

/// The address at which an `expose` is, from its ticket.
pub(crate) fn direct_addr(exposed: &FunnelProcess) -> SocketAddr {
    let ticket = exposed.stdout_line("ticket ").unwrap();
    let ticket: iroh_tickets::endpoint::EndpointTicket = ticket.parse().unwrap();
    *ticket.endpoint_addr().ip_addrs().next().unwrap()
}

/// Runs the command to its end, which is to be a success.
pub(crate) async fn succeed(words: Vec<OsString>) {
    let (status, stderr) = crate::funnel_process::run(words).await.unwrap();
    assert!(status.success(), "{stderr}");
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
