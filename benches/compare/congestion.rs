//! Congestion control of single TCP sockets: a namespace may only have the kinds that the whole machine allows.

use std::io;

/// Chooses the congestion control of a socket, and of those that a listener accepts. `None`: the host's own.
#[cfg(target_os = "linux")]
pub(crate) fn choose<S: std::os::fd::AsFd>(socket: &S, name: Option<&str>) -> io::Result<()> {
    let Some(name) = name else { return Ok(()) };
    socket2::SockRef::from(socket).set_tcp_congestion(name.as_bytes())
}

/// There is no choice on this system.
#[cfg(not(target_os = "linux"))]
pub(crate) fn choose<S>(_: &S, name: Option<&str>) -> io::Result<()> {
    match name {
        None => Ok(()),
        Some(name) => Err(io::Error::new(io::ErrorKind::Unsupported, format!("congestion control {name} needs Linux"))),
    }
}
