//! A self-hosted relay, and funnels that have no direct path.

use std::{ffi::OsString, fs, net::SocketAddr, path::PathBuf};

use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use crate::{
    funnel_process::{FunnelProcess, endpoint_id, run_for_output},
    sides::{begin_call, http_server, read_head, response_head, status},
};

pub(crate) const TOKEN: &str = "open-sesame";

/// A folder with the files of the relay and the funnels.
pub(crate) struct Lab {
    pub(crate) folder: TempDir,
}

/// Two funnels, one with IPv4 and one with IPv6 only: packets between them pass only through a relay.
pub(crate) struct Apart {
    pub(crate) inbound: FunnelProcess,
    pub(crate) outbound: FunnelProcess,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A private file with a token.
    pub(crate) fn token(&self, name: &str, token: &str) -> String {
        let path = self.file(name);
        fs::write(&path, token).unwrap();
        #[cfg(unix)]
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn words(&self, line: &str, key: &str) -> Vec<OsString> {
        let mut words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        words.extend(["--key-file".into(), self.file(key).into_os_string()]);
        words
    }

    pub(crate) async fn id(&self, key: &str) -> String {
        endpoint_id(&self.file(key)).await.unwrap()
    }

    pub(crate) async fn relay(&self, line: &str) -> FunnelProcess {
        FunnelProcess::start(self.words(&format!("relay {line}"), "relay.key")).await.unwrap()
    }

    /// Runs a command that succeeds, and returns its output.
    pub(crate) async fn type_in(&self, line: &str, key: &str) -> String {
        let (status, stdout, stderr) = run_for_output(self.words(line, key)).await.unwrap();
        assert!(status.success(), "{line}: {stderr}");
        stdout
    }

    /// Starts a funnel, and waits until a relay has refused it.
    pub(crate) async fn refused(&self, relays: &str, key: &str) -> FunnelProcess {
        let line = format!("expose --bind 127.0.0.1:0 {relays}");
        let funnel = FunnelProcess::start(self.words(&line, key)).await.unwrap();
        funnel.logged("the relay refuses this funnel").await.unwrap();
        funnel
    }

    /// Starts both funnels, with these relays.
    pub(crate) async fn apart(&self, superlink: SocketAddr, relays: &str) -> Apart {
        let (site, ticket) = (self.id("join.key").await, self.file("ticket"));
        let ticket = ticket.to_str().unwrap();
        let line = format!("expose --superlink http://{superlink} --allow {site} --ticket-file {ticket}");
        let line = format!("{line} --bind 127.0.0.1:0 {relays}");
        let inbound = FunnelProcess::start(self.words(&line, "expose.key")).await.unwrap();
        self.joined(inbound, &format!("@{ticket}"), relays).await
    }

    /// Starts a funnel that joins another one through a relay.
    pub(crate) async fn joined(&self, inbound: FunnelProcess, peer: &str, relays: &str) -> Apart {
        let line = format!("join {peer} --listen 127.0.0.1:0 --bind [::1]:0 {relays}");
        let outbound = FunnelProcess::start(self.words(&line, "join.key")).await.unwrap();
        outbound.logged("path=relay").await.unwrap();
        Apart { inbound, outbound }
    }
}

impl Apart {
    pub(crate) async fn call(&self) -> String {
        let mut socket = begin_call(self.outbound.listen_addr().unwrap(), "/v1/fleet/pull-messages", 0).await;
        status(&read_head(&mut socket).await.unwrap()).to_owned()
    }

    /// Calls until one call is answered.
    pub(crate) async fn call_at_last(&self) {
        while self.call().await != "200" {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn stop(self) {
        self.outbound.stop().await.unwrap();
        self.inbound.stop().await.unwrap();
    }
}

pub(crate) async fn superlink() -> SocketAddr {
    http_server(|mut socket, _| async move {
        let _ = socket.write_all(response_head(0).as_bytes()).await;
    })
    .await
}

pub(crate) fn url(relay: &FunnelProcess) -> String {
    relay.stdout_line("ready ").unwrap()
}
