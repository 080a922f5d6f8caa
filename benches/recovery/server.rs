//! A Fleet API that takes whatever comes, and notes when uploads stand still.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use lab::Host;

use crate::{
    caller::PUSH,
    failure::{Context, Failure},
};

const TAKEN: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/protobuf\r\ncontent-length: 0\r\n\r\n";
/// As Flower answers whoever looks whether it is there.
const NO_GET: &str = "HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n";

/// A server of the right host, to the end of this process.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// Where it listens, on its host's loopback device.
    pub(crate) addr: SocketAddr,
    longest: Arc<Mutex<Duration>>,
}

impl Server {
    pub(crate) fn start(host: &Host) -> Result<Self, Failure> {
        let listener = host.run(|| TcpListener::bind("127.0.0.1:0")).context("a server's port")?;
        let server = Self { addr: listener.local_addr()?, longest: Arc::default() };
        let each = server.clone();
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let server = each.clone();
                // Whoever goes away in the middle of a call has ended it, and may.
                thread::spawn(move || server.serve(socket));
            }
        });
        Ok(server)
    }

    /// The longest time without a byte in the middle of an upload, since this was last asked.
    pub(crate) fn longest_standstill(&self) -> Duration {
        std::mem::take(&mut *self.longest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn serve(&self, socket: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(socket.try_clone()?);
        let mut writer = socket;
        while let Some(head) = read_head(&mut reader)? {
            if head.starts_with("GET") {
                writer.write_all(NO_GET.as_bytes())?;
                continue;
            }
            let is_upload = head.split(' ').nth(1) == Some(PUSH);
            self.take(&mut reader, length(&head), is_upload)?;
            writer.write_all(TAKEN.as_bytes())?;
        }
        Ok(())
    }

    fn take(&self, body: &mut impl Read, mut left: usize, is_upload: bool) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        let mut before = Instant::now();
        while left > 0 {
            let wanted = left.min(buffer.len());
            let taken = body.read(&mut buffer[..wanted])?;
            if taken == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= taken;
            if is_upload {
                let mut longest = self.longest.lock().unwrap_or_else(PoisonError::into_inner);
                *longest = before.elapsed().max(*longest);
            }
            before = Instant::now();
        }
        Ok(())
    }
}

/// A head up to its empty line, `None` at the end of the connection.
pub(crate) fn read_head(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(head))
}

fn length(head: &str) -> usize {
    let value = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    value.unwrap_or(0)
}
