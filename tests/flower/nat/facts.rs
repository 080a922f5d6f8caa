//! What plain UDP sockets find out about a network, before any funnel relies on it.
//!
//! That a packet does not arrive is known from a byte that was sent after it and did.

use std::net::{SocketAddr, UdpSocket};

use patchbay::Device;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::internet::{Internet, listen, on};

/// What a host can do with UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Facts {
    UdpBlocked,
    Udp { mapping: Mapping, filtering: Filtering },
}

/// How a socket is seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mapping {
    /// At its own address.
    Public,
    /// At one other address, whoever looks.
    SameForAll,
    /// At another address for each peer.
    PerPeer,
}

/// Who reaches a socket at the address at which it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filtering {
    Open,
    /// Only the sockets that it has sent to.
    Contacted,
}

/// Whether two hosts can meet without a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meeting {
    Direct,
    Impossible,
}

/// A socket of a host, and how a public host sees it.
struct Seen {
    socket: UdpSocket,
    fence: Fence,
    outside: Option<SocketAddr>,
}

/// A TCP connection from a host to a public one: what was sent over UDP before a byte there and back has arrived, or
/// never will.
struct Fence {
    inner: TcpStream,
    outer: TcpStream,
}

impl Internet {
    /// Looks at a socket of `host` from both public hosts.
    pub(crate) async fn facts(&self, host: &Device) -> Facts {
        let [first, second] = self.hosts.each_ref().map(udp);
        let mut seen = self.seen(host, &first).await;
        let Some(outside) = seen.outside else { return Facts::UdpBlocked };
        send(&seen.socket, addr_of(&second, &self.hosts[1]));
        seen.fence.pass().await;
        let mapping = match sender(&second).expect("UDP reaches both public hosts or none") {
            other if other != outside => Mapping::PerPeer,
            same if same == addr_of(&seen.socket, host) => Mapping::Public,
            _ => Mapping::SameForAll,
        };
        let stranger = udp(&self.hosts[1]);
        send(&stranger, outside);
        seen.fence.pass().await;
        let filtering = if sender(&seen.socket).is_some() { Filtering::Open } else { Filtering::Contacted };
        Facts::Udp { mapping, filtering }
    }

    /// Whether two sockets find each other that send to where a public host has seen the other, as funnels do.
    pub(crate) async fn meeting(&self, one: &Device, other: &Device) -> Meeting {
        let looking = udp(&self.hosts[0]);
        let mut sides = [self.seen(one, &looking).await, self.seen(other, &looking).await];
        let mut peers = [sides[1].outside, sides[0].outside];
        let mut heard = [false; 2];
        // The first packet opens one's own NAT, the second may pass the other's, the third answers it.
        for _ in 0..3 {
            for (side, peer) in sides.iter().zip(peers) {
                if let Some(peer) = peer {
                    send(&side.socket, peer);
                }
            }
            for side in &mut sides {
                side.fence.pass().await;
            }
            for (number, side) in sides.iter().enumerate() {
                if let Some(from) = sender(&side.socket) {
                    (peers[number], heard[number]) = (Some(from), true);
                }
            }
        }
        if heard == [true, true] { Meeting::Direct } else { Meeting::Impossible }
    }

    /// A new socket on `host` as `looking` sees it, a socket of the first public host.
    async fn seen(&self, host: &Device, looking: &UdpSocket) -> Seen {
        let (socket, mut fence) = (udp(host), Fence::new(host, &self.hosts[0]).await);
        send(&socket, addr_of(looking, &self.hosts[0]));
        fence.pass().await;
        Seen { socket, fence, outside: sender(looking) }
    }
}

impl Fence {
    async fn new(host: &Device, public: &Device) -> Self {
        let (listener, addr) = listen(public);
        let (inner, outer) = tokio::join!(on(host, TcpStream::connect(addr)), listener.accept());
        Self { inner: inner.unwrap(), outer: outer.unwrap().0 }
    }

    async fn pass(&mut self) {
        self.inner.write_u8(0).await.unwrap();
        self.outer.read_u8().await.unwrap();
        self.outer.write_u8(0).await.unwrap();
        self.inner.read_u8().await.unwrap();
    }
}

fn udp(host: &Device) -> UdpSocket {
    let socket = host.run_sync(|| Ok(UdpSocket::bind("0.0.0.0:0")?)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn addr_of(socket: &UdpSocket, host: &Device) -> SocketAddr {
    (host.ip().unwrap(), socket.local_addr().unwrap().port()).into()
}

fn send(socket: &UdpSocket, to: SocketAddr) {
    socket.send_to(b"here", to).unwrap();
}

/// Who has sent the next packet that is there.
fn sender(socket: &UdpSocket) -> Option<SocketAddr> {
    socket.recv_from(&mut [0; 16]).ok().map(|(_, from)| from)
}
