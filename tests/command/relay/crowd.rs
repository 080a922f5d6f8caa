//! Crowds of connections to a relay, newcomers beside them, and the addresses that they come from.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::{Duration, Instant},
};

use flower_iroh_funnel::SecretKey;
use iroh_dns::dns::DnsResolver;
use iroh_relay::{
    client::{Client, ClientBuilder},
    tls::{CaTlsConfig, default_provider},
};
use tokio::{
    io::{AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::{
    funnel_process::FunnelProcess,
    relay_lab::{TOKEN, url},
};

/// Where newcomers come from, who bind no address.
pub(crate) const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Another host, on Linux.
pub(crate) const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A deadline for newcomers. If they waited for a crowd of 1,000 in 128 slots of 10 s, they would take more than 60 s.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// What a client sends before it stops.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Begin {
    Nothing,
    HalfARequest,
    AnUpgrade,
}

impl Begin {
    pub(crate) async fn connect(self, relay: SocketAddr) -> TcpStream {
        self.connect_from(HERE, relay).await.unwrap()
    }

    pub(crate) async fn connect_from(self, source: Ipv4Addr, relay: SocketAddr) -> io::Result<TcpStream> {
        let mut socket = connect_from(source, relay).await?;
        let sent = match self {
            Self::Nothing => "",
            Self::HalfARequest => "GET /relay HTTP/1.1\r\nhost: x\r\n",
            Self::AnUpgrade => {
                "GET /relay HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-key: \
                 dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\nsec-websocket-protocol: iroh-relay-v1\r\n\r\n"
            }
        };
        socket.write_all(sent.as_bytes()).await?;
        Ok(socket)
    }
}

async fn connect_from(source: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if source != HERE {
        socket.bind((source, 0).into())?;
    }
    socket.connect(to).await
}

/// Whether this machine has more than one address on loopback, as Linux has.
pub(crate) fn has_addresses() -> bool {
    let has = std::net::TcpListener::bind((ELSEWHERE, 0)).is_ok();
    if !has {
        eprintln!("skipped: this machine has no {ELSEWHERE}, a second address to come from");
    }
    has
}

/// A crowd of 1,000 that says nothing more, until it is dropped. Those that are closed do not come again.
pub(crate) async fn crowd(source: Ipv4Addr, to: SocketAddr, begins: &[Begin]) -> Vec<TcpStream> {
    descriptors();
    let mut crowd = Vec::new();
    for begin in begins.iter().cycle().take(1000) {
        // What the other side closes at once is still one that came.
        crowd.extend(begin.connect_from(source, to).await);
    }
    crowd
}

/// Room for the sockets of a crowd in this process.
fn descriptors() {
    #[cfg(unix)]
    {
        use nix::sys::resource::{Resource::RLIMIT_NOFILE, getrlimit, setrlimit};

        let (_, hard) = getrlimit(RLIMIT_NOFILE).unwrap();
        setrlimit(RLIMIT_NOFILE, hard.min(8192), hard).unwrap();
    }
}

/// Joins a relay as a new client; the error is why it was not admitted.
pub(crate) async fn join(relay: &str, ca: Option<&Path>, token: Option<&str>) -> Result<Client, String> {
    let roots = ca.map(|file| CertificateDer::pem_file_iter(file).unwrap().map(Result::unwrap));
    let tls = roots.map_or_else(CaTlsConfig::embedded, CaTlsConfig::custom_roots);
    let tls = tls.client_config(default_provider()).unwrap();
    let relay: iroh::RelayUrl = relay.parse().unwrap();
    let client = ClientBuilder::new(relay, SecretKey::generate(), DnsResolver::new()).tls_client_config(tls);
    let client = token.into_iter().fold(client, ClientBuilder::auth_token);
    client.connect().await.map_err(|error| format!("{error:#}"))
}

/// Joins with the token as a funnel does, which tries again, and returns how long that took.
pub(crate) async fn joined(relay: &str, ca: Option<&Path>) -> Duration {
    let began = Instant::now();
    while let Err(error) = join(relay, ca, Some(TOKEN)).await {
        eprintln!("again: {error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    began.elapsed()
}

/// The median of five newcomers, one after the other.
pub(crate) async fn typical(relay: &str, ca: Option<&Path>) -> Duration {
    let mut times = Vec::new();
    for _ in 0..5 {
        times.push(joined(relay, ca).await);
    }
    times.sort();
    times[2]
}

/// A port whose connections reach `to` from `source`.
pub(crate) async fn from_elsewhere(source: Ipv4Addr, to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut far = connect_from(source, to).await?;
                copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    addr
}

pub(crate) fn addr(relay: &FunnelProcess) -> SocketAddr {
    url(relay).split_once("://").unwrap().1.parse().unwrap()
}
