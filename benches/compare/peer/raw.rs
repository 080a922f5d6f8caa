//! The bench's own protocol on raw iroh streams: what is left when there is no HTTP/2.
//!
//! The first byte of a stream says what it is for; then come echoes of 64 bytes, or a transfer in one direction.

use bytes::Bytes;
use iroh::{
    Endpoint, EndpointAddr,
    endpoint::{Connection, RecvStream, SendStream},
};

use super::{
    BLOCK, Caller, Limit, NOISE, Peer,
    seconds::{self, Seconds},
};
use crate::failure::Failure;

/// The name of the protocol.
pub(crate) const ALPN: &[u8] = b"flower-iroh-funnel/bench-raw";
/// The size of a small call and of its answer: about that of a heartbeat with its headers.
const SMALL: usize = 64;
const LIMIT_LEN: usize = 16;
const ECHO: u8 = b'e';
const UPLOAD: u8 = b'u';
const DOWNLOAD: u8 = b'd';

/// A client.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    connection: Connection,
}

impl Raw {
    /// Dials `server`.
    pub(crate) async fn connect(endpoint: &Endpoint, server: EndpointAddr) -> Result<Self, Failure> {
        Ok(Self { connection: endpoint.connect(server, ALPN).await? })
    }

    async fn open(&self, purpose: u8) -> Result<(SendStream, RecvStream), Failure> {
        let (mut send, recv) = self.connection.open_bi().await?;
        send.write_all(&[purpose]).await?;
        Ok((send, recv))
    }

    async fn send(&self, blocks: impl Iterator<Item = Bytes> + Send) -> Result<Seconds, Failure> {
        let (mut send, mut recv) = self.open(UPLOAD).await?;
        for block in blocks {
            send.write_chunk(block).await?;
        }
        send.finish()?;
        Ok(Seconds::from_bytes(&recv.read_to_end(seconds::MAX_LEN).await?))
    }
}

impl Peer for Raw {
    type Caller = Echo;

    async fn caller(&self) -> Result<Echo, Failure> {
        let (send, recv) = self.open(ECHO).await?;
        Ok(Echo { send, recv })
    }

    async fn upload(&self, limit: Limit) -> Result<Seconds, Failure> {
        self.send(limit.blocks()).await
    }

    async fn download(&self, limit: Limit) -> Result<u64, Failure> {
        let (mut send, mut recv) = self.open(DOWNLOAD).await?;
        send.write_all(&limit.to_bytes()).await?;
        send.finish()?;
        Ok(count(&mut recv).await?.total())
    }

    async fn push_object(&self) -> Result<(), Failure> {
        let counted = self.send(std::iter::once(NOISE.clone())).await?.total();
        if counted == NOISE.len() as u64 { Ok(()) } else { Err("the object was not counted whole".into()) }
    }

    async fn pull_object(&self) -> Result<(), Failure> {
        let limit = Limit { time: std::time::Duration::MAX, bytes: NOISE.len() as u64 };
        let counted = self.download(limit).await?;
        if counted == NOISE.len() as u64 { Ok(()) } else { Err("the object has another size".into()) }
    }
}

/// Small calls on one stream.
#[derive(Debug)]
pub(crate) struct Echo {
    send: SendStream,
    recv: RecvStream,
}

impl Caller for Echo {
    async fn call(&mut self) -> Result<(), Failure> {
        self.send.write_all(&NOISE[..SMALL]).await?;
        let mut answer = [0; SMALL];
        self.recv.read_exact(&mut answer).await?;
        if answer[..] == NOISE[..SMALL] { Ok(()) } else { Err("the answer differs".into()) }
    }
}

/// Serves until the endpoint closes.
pub(crate) async fn serve(endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            // A client that goes away ends its connection, which is no failure here: it says itself what it has found.
            let Ok(connection) = incoming.await else { return };
            while let Ok((send, recv)) = connection.accept_bi().await {
                tokio::spawn(serve_stream(send, recv));
            }
        });
    }
}

async fn serve_stream(mut send: SendStream, mut recv: RecvStream) -> Result<(), Failure> {
    let mut purpose = [0];
    recv.read_exact(&mut purpose).await?;
    match purpose[0] {
        UPLOAD => send.write_all(&count(&mut recv).await?.to_bytes()).await?,
        DOWNLOAD => {
            let mut limit = [0; LIMIT_LEN];
            recv.read_exact(&mut limit).await?;
            for block in Limit::from_bytes(Bytes::copy_from_slice(&limit))?.blocks() {
                send.write_chunk(block).await?;
            }
        }
        _ => echo(&mut send, &mut recv).await?,
    }
    send.finish()?;
    Ok(())
}

async fn echo(send: &mut SendStream, recv: &mut RecvStream) -> Result<(), Failure> {
    let mut message = [0; SMALL];
    loop {
        recv.read_exact(&mut message).await?;
        send.write_all(&message).await?;
    }
}

async fn count(recv: &mut RecvStream) -> Result<Seconds, Failure> {
    let mut counted = Seconds::begin();
    while let Some(chunk) = recv.read_chunk(BLOCK).await? {
        counted.add(chunk.len());
    }
    Ok(counted)
}
