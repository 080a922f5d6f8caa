//! A real nginx.

// Several test files include this module by path, and each uses a part of it.
#![allow(dead_code)]

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{net::TcpStream, process::Child};

use crate::ports::free_addr;

/// Debian's package libnginx-mod-stream; elsewhere it may be built in.
const STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// A running nginx; killed when dropped.
pub(crate) struct Nginx {
    pub(crate) addr: SocketAddr,
    _child: Child,
    _folder: TempDir,
}

impl Nginx {
    /// Whether there is one.
    pub(crate) fn is_here() -> bool {
        let is_here = Command::new("nginx").arg("-V").output().is_ok();
        if !is_here {
            eprintln!("skipped: there is no nginx (Debian: nginx)");
        }
        is_here
    }

    /// Whether there is one, with its proxy of TCP.
    pub(crate) fn is_here_with_stream() -> bool {
        let version = Command::new("nginx").arg("-V").output();
        let built_in =
            version.as_ref().is_ok_and(|version| version.stderr.windows(13).any(|it| it == b"--with-stream"));
        let is_here = version.is_ok() && (Path::new(STREAM).exists() || built_in);
        if !is_here {
            eprintln!("skipped: there is no nginx with its stream module (Debian: nginx, libnginx-mod-stream)");
        }
        is_here
    }

    /// Starts one of these servers, in which LISTEN is its address and UPSTREAM the other.
    pub(crate) async fn start(servers: &str, upstream: SocketAddr) -> Self {
        let (folder, addr) = (tempfile::tempdir().unwrap(), free_addr());
        let servers = servers.replace("LISTEN", &addr.to_string()).replace("UPSTREAM", &upstream.to_string());
        let stream = if Path::new(STREAM).exists() { format!("load_module {STREAM};\n") } else { String::new() };
        let config = format!(
            "{stream}daemon off; master_process off; pid pid; error_log stderr error; worker_rlimit_nofile 8192;\nevents {{ \
             worker_connections 4096; }}{servers}\n"
        );
        fs::write(folder.path().join("nginx.conf"), config).unwrap();
        let mut command = tokio::process::Command::new("nginx");
        command.arg("-p").arg(folder.path()).args(["-e", "stderr", "-c", "nginx.conf"]).stdin(Stdio::null());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        while TcpStream::connect(addr).await.is_err() {
            assert_eq!(child.try_wait().unwrap(), None, "nginx has ended");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { addr, _child: child, _folder: folder }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}
