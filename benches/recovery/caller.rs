//! Calls through the near end, each on a connection of its own.

use std::{
    io::{self, BufReader, Write},
    net::{SocketAddr, TcpStream},
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use lab::Host;

use crate::server::read_head;

/// A small call of Flower's Fleet API.
pub(crate) const POLL: &str = "/v1/fleet/pull-messages";
/// A call that carries a part of a model.
pub(crate) const PUSH: &str = "/v1/fleet/push-object";
/// Between two calls.
const INTERVAL: Duration = Duration::from_millis(50);
/// What takes longer has not been answered.
const TIMEOUT: Duration = Duration::from_secs(60);

/// One call that has ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) began: Instant,
    pub(crate) at: Instant,
    /// The status, or why there is none.
    pub(crate) status: Result<u16, String>,
}

impl Ended {
    pub(crate) fn succeeded(&self) -> bool {
        self.status == Ok(200)
    }
}

/// Where calls start, and where they go.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) host: Host,
    pub(crate) dial: SocketAddr,
}

impl Caller {
    /// Begins a call every 50 ms, whether earlier ones have ended or not, until dropped.
    pub(crate) fn keep_calling(&self) -> Calls {
        let (sender, ended) = channel();
        let (stop, stopped) = channel::<()>();
        let caller = self.clone();
        let caller = thread::spawn(move || {
            let mut calls = Vec::new();
            while stopped.recv_timeout(INTERVAL).is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                calls.push(caller.begin(sender.clone()));
            }
            calls
        });
        Calls { ended, stop, caller }
    }

    /// Makes one small call.
    pub(crate) fn poll(&self) -> Ended {
        self.host.run(|| self.exchange(POLL, 0, |_| Ok(())))
    }

    /// Uploads `length` bytes and tells after each `piece` of them how many are sent.
    pub(crate) fn push(&self, length: usize, piece: usize, mut sent: impl FnMut(usize) + Send) -> Ended {
        let body = vec![7; piece];
        self.host.run(|| {
            self.exchange(PUSH, length, |socket| {
                let mut left = length;
                while left > 0 {
                    let next = left.min(piece);
                    socket.write_all(&body[..next])?;
                    left -= next;
                    sent(length - left);
                }
                Ok(())
            })
        })
    }

    fn begin(&self, sender: Sender<Ended>) -> JoinHandle<()> {
        let caller = self.clone();
        thread::spawn(move || {
            // Nobody may want to know any more.
            let _ = sender.send(caller.poll());
        })
    }

    fn exchange(&self, path: &str, length: usize, body: impl FnOnce(&mut TcpStream) -> io::Result<()>) -> Ended {
        let began = Instant::now();
        let status = self.try_exchange(path, length, body).map_err(|error| error.to_string());
        Ended { began, at: Instant::now(), status }
    }

    fn try_exchange(
        &self,
        path: &str,
        length: usize,
        body: impl FnOnce(&mut TcpStream) -> io::Result<()>,
    ) -> io::Result<u16> {
        let mut socket = TcpStream::connect(self.dial)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.set_write_timeout(Some(TIMEOUT))?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/protobuf\r\n\
             content-length: {length}\r\n\r\n"
        );
        socket.write_all(head.as_bytes())?;
        body(&mut socket)?;
        let head = read_head(&mut BufReader::new(socket))?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.ok_or_else(|| io::Error::other(format!("no HTTP: {head:?}")))
    }
}

/// Calls that go on.
#[derive(Debug)]
pub(crate) struct Calls {
    ended: Receiver<Ended>,
    stop: Sender<()>,
    caller: JoinHandle<Vec<JoinHandle<()>>>,
}

impl Calls {
    /// Waits for a call that ends as `wanted`, until `deadline`. Others are passed over.
    pub(crate) fn first(&self, deadline: Instant, wanted: impl Fn(&Ended) -> bool) -> Option<Ended> {
        loop {
            let ended = self.ended.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()?;
            if wanted(&ended) {
                return Some(ended);
            }
        }
    }

    /// Begins no further calls, and returns those that were not asked for yet once all have ended.
    pub(crate) fn finish(self) -> Vec<Ended> {
        drop(self.stop);
        if let Ok(calls) = self.caller.join() {
            for call in calls {
                // A call that panicked is missing in the list, and the panic is on stderr.
                let _ = call.join();
            }
        }
        self.ended.try_iter().collect()
    }
}
