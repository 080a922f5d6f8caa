//! TCP connections, and a flow of bytes over one.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};

use super::{
    Limit,
    seconds::{self, Seconds},
};
use crate::{congestion, failure::Failure};

/// What is read at once.
const PIECE: usize = 64 * 1024;

/// As tonic dials by itself, but for the choice.
pub(crate) async fn dial(server: SocketAddr, congestion_control: Option<&str>) -> io::Result<TcpStream> {
    let socket = if server.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    congestion::choose(&socket, congestion_control)?;
    socket.set_nodelay(true)?;
    socket.connect(server).await
}

/// Sends up to `limit`; returns what the server has counted.
pub(crate) async fn upload(mut stream: TcpStream, limit: Limit) -> Result<Seconds, Failure> {
    for block in limit.blocks() {
        stream.write_all(&block).await?;
    }
    stream.shutdown().await?;
    let mut counted = Vec::new();
    stream.take(seconds::MAX_LEN as u64).read_to_end(&mut counted).await?;
    Ok(Seconds::from_bytes(&counted))
}

/// Counts what comes, for one client after the other.
pub(crate) async fn serve(listener: TcpListener) -> io::Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        // A client that goes away ends its connection, which is no failure here: it says itself what it has found.
        let Ok(counted) = count(&mut stream).await else { continue };
        let _ = stream.write_all(&counted.to_bytes()).await;
    }
}

async fn count(stream: &mut TcpStream) -> io::Result<Seconds> {
    let (mut counted, mut piece) = (Seconds::begin(), vec![0; PIECE]);
    loop {
        match stream.read(&mut piece).await? {
            0 => return Ok(counted),
            read => counted.add(read),
        }
    }
}
