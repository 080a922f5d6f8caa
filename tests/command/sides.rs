//! Two funnel processes that stay on loopback, and servers and clients around them.

// Several test files include this module by path, and each uses a part of it.
#![allow(dead_code)]

use std::{ffi::OsString, net::SocketAddr, path::Path, time::Duration};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::funnel_process::{FunnelProcess, endpoint_id};

/// Nothing here takes as long: what does, hangs.
const GUARD: Duration = Duration::from_secs(180);

/// Bounds a whole test.
pub(crate) async fn guarded<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(GUARD, test).await.expect("the test hangs")
}

pub(crate) const LOOPBACK: [&str; 4] = ["--bind", "127.0.0.1:0", "--relay", "off"];

/// An `expose` and a `join` that is let in.
pub(crate) struct Sides {
    pub(crate) inbound: FunnelProcess,
    pub(crate) outbound: FunnelProcess,
    pub(crate) dial: SocketAddr,
    _folder: TempDir,
}

impl Sides {
    pub(crate) async fn start(superlink: SocketAddr) -> Self {
        Self::allowing(superlink, &[]).await
    }

    /// With more peers that are let in.
    pub(crate) async fn allowing(superlink: SocketAddr, others: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).into_os_string();
        let (ticket, key) = (file("ticket"), file("join.key"));
        let id = endpoint_id(Path::new(&key)).await.unwrap();
        let superlink = format!("http://{superlink}");
        let allowed = others.iter().chain([&id]).flat_map(|id| ["--allow", id]);
        let expose: Vec<_> = ["expose", "--superlink", &superlink].into_iter().chain(allowed).collect();
        let inbound =
            FunnelProcess::start(words(&expose, &[("--key-file", &file("expose.key")), ("--ticket-file", &ticket)]))
                .await
                .unwrap();
        let at_ticket = format!("@{}", ticket.to_str().unwrap());
        let outbound =
            FunnelProcess::start(words(&["join", &at_ticket, "--listen", "127.0.0.1:0"], &[("--key-file", &key)]))
                .await
                .unwrap();
        let dial = outbound.listen_addr().unwrap();
        Self { inbound, outbound, dial, _folder: folder }
    }
}

/// A command line that stays on loopback.
pub(crate) fn words(words: &[&str], files: &[(&str, &OsString)]) -> Vec<OsString> {
    let words = words.iter().chain(&LOOPBACK).map(OsString::from);
    words.chain(files.iter().flat_map(|(option, file)| [OsString::from(option), (*file).clone()])).collect()
}

/// A server for one kind of HTTP/1.1 exchange: it reads a head and lets `serve` do the rest, for each connection.
pub(crate) async fn http_server<F>(serve: impl Fn(TcpStream, String) -> F + Clone + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    serve_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), serve)
}

/// The same on a socket that is there, perhaps on another host.
pub(crate) fn serve_on<F>(
    listener: TcpListener,
    serve: impl Fn(TcpStream, String) -> F + Clone + Send + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let serve = serve.clone();
            tokio::spawn(async move {
                match read_head(&mut socket).await {
                    // As Flower answers whoever looks whether it is there.
                    Some(head) if head.starts_with("GET") => {
                        let _ = socket.write_all(b"HTTP/1.1 405 Method Not Allowed\r\nconnection: close\r\n\r\n").await;
                    }
                    Some(head) => serve(socket, head).await,
                    None => {}
                }
            });
        }
    });
    addr
}

/// Reads a head byte by byte, so that nothing of the body is taken.
pub(crate) async fn read_head(socket: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// Begins a call of Flower's HTTP API with a body of `length` bytes, which the caller writes.
pub(crate) async fn begin_call(dial: SocketAddr, path: &str, length: u64) -> TcpStream {
    begin_call_on(TcpStream::connect(dial).await.unwrap(), path, length).await
}

/// The same on a connection that is there.
pub(crate) async fn begin_call_on(mut socket: TcpStream, path: &str, length: u64) -> TcpStream {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/protobuf\r\ncontent-length: {length}\r\n\r\n"
    );
    // A connection that was reset before has no answer.
    let _ = socket.write_all(head.as_bytes()).await;
    socket
}

/// The code of a status line.
pub(crate) fn status(head: &str) -> &str {
    head.split(' ').nth(1).unwrap_or_default()
}

/// A response head of Flower's HTTP API for a body of `length` bytes, after which the server closes the connection.
pub(crate) fn response_head(length: u64) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/protobuf\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    )
}
