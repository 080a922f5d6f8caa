//! A peer on raw iroh that writes what it likes.

// The Flower tests include this module by path, and use a part of it.
#![allow(dead_code)]

use std::net::Ipv4Addr;

use flower_iroh_funnel::{ALPN, EndpointAddr, SecretKey, transport::Code};
use iroh::{
    Endpoint,
    endpoint::{
        ConnectError, Connection, ConnectionError, QuicTransportConfig, ReadError, ReadExactError, RecvStream,
        SendStream, WriteError,
    },
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    frames::{Frame, GOAWAY, PREFACE, SETTINGS, frame},
    raw_peer::at,
};

pub(crate) struct Attacker {
    pub(crate) endpoint: Endpoint,
    pub(crate) target: EndpointAddr,
}

/// One bi-stream, and the link that it is on.
pub(crate) struct Session {
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
    pub(crate) link: Connection,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By GOAWAY with this error, whatever came after it.
    GoAway(u32),
    /// Of the stream.
    Reset(Option<Code>),
    /// Of the link.
    Closed(Option<Code>),
    Clean,
}

impl Attacker {
    pub(crate) async fn new(key: SecretKey, target: EndpointAddr) -> Self {
        Self::at(Ipv4Addr::LOCALHOST, key, target).await
    }

    /// From another address.
    pub(crate) async fn at(source: Ipv4Addr, key: SecretKey, target: EndpointAddr) -> Self {
        // A small window: what it leaves unread fills the other side soon.
        let config = QuicTransportConfig::builder().stream_receive_window(16_384u32.into()).build();
        let endpoint = at(source, key).transport_config(config).bind().await.unwrap();
        Self { endpoint, target }
    }

    pub(crate) async fn link(&self) -> Connection {
        self.try_link().await.unwrap()
    }

    /// A link, or the code with which it was refused before it stood.
    pub(crate) async fn try_link(&self) -> Result<Connection, Option<Code>> {
        match self.link_for(ALPN).await {
            Ok(link) => Ok(link),
            Err(ConnectError::Connection { source, .. }) => Err(code(&source)),
            Err(error) => panic!("{error}"),
        }
    }

    /// A link for another protocol.
    pub(crate) async fn link_for(&self, alpn: &[u8]) -> Result<Connection, ConnectError> {
        self.endpoint.connect(self.target.clone(), alpn).await
    }

    /// A link on which the other side has answered.
    pub(crate) async fn serving_link(&self) -> Connection {
        let mut session = self.session().await;
        session.frame_of(SETTINGS).await.unwrap();
        session.link
    }

    /// A session on a link of its own that has begun as it should.
    pub(crate) async fn session(&self) -> Session {
        let mut session = Session::on(self.link().await).await;
        session.begin().await;
        session
    }
}

impl Session {
    pub(crate) async fn on(link: Connection) -> Self {
        let (send, recv) = link.open_bi().await.unwrap();
        Self { send, recv, link }
    }

    pub(crate) async fn begin(&mut self) {
        self.write(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.send.write_all(bytes).await
    }

    /// The next frame, or how the session ended.
    pub(crate) async fn frame(&mut self) -> Result<Frame, End> {
        next_frame(&mut self.recv).await
    }

    /// Waits until a frame of this kind comes.
    pub(crate) async fn frame_of(&mut self, kind: u8) -> Result<Frame, End> {
        loop {
            let frame = self.frame().await?;
            if frame.kind == kind {
                return Ok(frame);
            }
        }
    }

    /// Reads to the end.
    pub(crate) async fn ended(&mut self) -> End {
        end_of(&mut self.recv).await
    }

    /// Writes floods, `times` at most, and tells how the session ended under them.
    pub(crate) async fn flood(mut self, times: u32, flood: impl Fn(u32) -> Vec<u8> + Send + 'static) -> End {
        let mut send = self.send;
        let writing = AbortOnDropHandle::new(tokio::spawn(async move {
            for round in 0..times {
                if send.write_all(&flood(round)).await.is_err() {
                    break;
                }
            }
            // Not finished before the other side has ended it.
            let _ = send.stopped().await;
        }));
        let end = end_of(&mut self.recv).await;
        drop(writing);
        end
    }
}

async fn end_of(recv: &mut RecvStream) -> End {
    loop {
        if let Err(end) = next_frame(recv).await {
            return end;
        }
    }
}

async fn next_frame(recv: &mut RecvStream) -> Result<Frame, End> {
    let mut head = [0; 9];
    recv.read_exact(&mut head).await.map_err(ended)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    recv.read_exact(&mut payload).await.map_err(ended)?;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    let frame = Frame { kind: head[3], flags: head[4], stream, payload };
    match (frame.kind, &frame.payload[..]) {
        (GOAWAY, &[_, _, _, _, a, b, c, d, ..]) if [a, b, c, d] != [0; 4] => {
            Err(End::GoAway(u32::from_be_bytes([a, b, c, d])))
        }
        _ => Ok(frame),
    }
}

fn ended(error: ReadExactError) -> End {
    match error {
        ReadExactError::FinishedEarly(_) => End::Clean,
        ReadExactError::ReadError(ReadError::Reset(code)) => End::Reset(Code::from_wire(code)),
        ReadExactError::ReadError(ReadError::ConnectionLost(error)) => End::Closed(code(&error)),
        ReadExactError::ReadError(error) => panic!("{error}"),
    }
}

/// The code with which the other side closed the link.
pub(crate) fn code(error: &ConnectionError) -> Option<Code> {
    match error {
        ConnectionError::ApplicationClosed(close) => Code::from_wire(close.error_code),
        _ => None,
    }
}
