//! Ports for what is started again on the same one, or is told its port.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::{
        LazyLock,
        atomic::{AtomicU16, Ordering},
    },
};

/// Below the ports that Linux, macOS and Windows give out by themselves, so that no other socket takes one in between.
const PORTS: u16 = 10_000;
const FIRST: u16 = 20_000;

static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(..)));

/// An address on loopback that is free for TCP and for UDP, and is given once.
///
/// # Panics
/// If none is free.
pub(crate) fn free_addr() -> SocketAddr {
    (0..PORTS)
        .map(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % PORTS)))
        .find(|addr| TcpListener::bind(addr).is_ok() && UdpSocket::bind(addr).is_ok())
        .expect("a free port")
}
