//! Congestion control of single endpoints: of TCP sockets, since a namespace may only have the kinds that the whole machine
//! allows, and of QUIC.

use std::io;

use flower_iroh_funnel::transport::CongestionControl;

use crate::failure::Failure;

/// Of QUIC, by its name. `None`: the library's own choice.
pub(crate) fn of_quic(name: Option<&str>) -> Result<CongestionControl, Failure> {
    Ok(name.map(str::parse).transpose()?.unwrap_or_default())
}

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
