//! A limit for unacknowledged data that a process may exceed and a host may not.
//!
//! Linux's own limit, `TCP_USER_TIMEOUT`, ends a connection also while the other host answers that its window is closed: the
//! process there is stopped or busy. Here the limit is lifted for as long as the host answers. Whether it does is read from
//! `/proc/self/net/tcp`, since `TCP_INFO` needs `unsafe`, which is forbidden, or another crate.

use std::{
    collections::HashMap,
    fs,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use rustix::fs::fstat;
use socket2::SockRef;
use tokio::{
    net::TcpStream,
    task::{JoinHandle, spawn_blocking},
    time::{Sleep, sleep},
};

/// The wait from a write to the first look, and between two looks. It is well below the limits.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);
/// How old the last reading of the system's table may be: many connections stand still together.
const TABLE_AGE: Duration = Duration::from_secs(1);
/// The transmissions without an answer from which a host does not count as alive: one may be lost.
const UNANSWERED: u32 = 2;

/// The last reading of each table.
static TABLES: [Table; 2] = [Table::new("/proc/self/net/tcp"), Table::new("/proc/self/net/tcp6")];

/// Watches one connection while it has unacknowledged data.
#[derive(Debug)]
pub(super) struct HostWatch {
    limit: Duration,
    lifted: bool,
    state: State,
    last_write: Instant,
}

#[derive(Debug)]
enum State {
    Idle,
    Waiting(Pin<Box<Sleep>>),
    Looking(JoinHandle<Option<Unacknowledged>>),
}

/// What the system says of a connection with unacknowledged data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unacknowledged {
    /// How often the host was sent the data, or asked for its window, since its last answer.
    unanswered: u32,
}

impl HostWatch {
    pub(super) fn new(socket: &TcpStream, limit: Duration) -> Self {
        let mut watch = Self { limit, lifted: true, state: State::Idle, last_write: Instant::now() };
        watch.lift(socket, false);
        watch
    }

    /// Records that data was written.
    pub(super) fn written(&mut self) {
        self.last_write = Instant::now();
        if matches!(self.state, State::Idle) {
            self.state = State::Waiting(Box::pin(sleep(LOOK_INTERVAL)));
        }
    }

    /// Looks at the connection when it is time to.
    pub(super) fn poll(&mut self, socket: &TcpStream, cx: &mut Context<'_>) {
        loop {
            self.state = match &mut self.state {
                State::Idle => return,
                State::Waiting(until) => match until.as_mut().poll(cx) {
                    Poll::Pending => return,
                    Poll::Ready(()) => look(socket).map_or(State::Idle, State::Looking),
                },
                State::Looking(look) => match Pin::new(look).poll(cx) {
                    Poll::Pending => return,
                    Poll::Ready(seen) => {
                        // It fails only if the runtime is shutting down.
                        let seen = seen.ok().flatten();
                        self.lift(socket, seen.is_some_and(|seen| seen.unanswered < UNANSWERED));
                        // The table may be older than the last write.
                        let is_settled = seen.is_none() && self.last_write.elapsed() > LOOK_INTERVAL + TABLE_AGE;
                        if is_settled { State::Idle } else { State::Waiting(Box::pin(sleep(LOOK_INTERVAL))) }
                    }
                },
            };
        }
    }

    fn lift(&mut self, socket: &TcpStream, lifted: bool) {
        if lifted != self.lifted {
            self.lifted = lifted;
            // Fails only on a dead socket.
            let _ = SockRef::from(socket).set_tcp_user_timeout((!lifted).then_some(self.limit));
        }
    }
}

/// Looks a connection up in the system's table; `None` on a dead socket.
fn look(socket: &TcpStream) -> Option<JoinHandle<Option<Unacknowledged>>> {
    let table = &TABLES[usize::from(socket.local_addr().ok()?.is_ipv6())];
    let inode = fstat(socket).ok()?.st_ino;
    Some(spawn_blocking(move || table.read().get(&inode).copied()))
}

/// A table of the system, by inode, of the connections with unacknowledged data.
#[derive(Debug)]
struct Table {
    path: &'static str,
    last: Mutex<Option<(Instant, Arc<Rows>)>>,
}

type Rows = HashMap<u64, Unacknowledged>;

impl Table {
    const fn new(path: &'static str) -> Self {
        Self { path, last: Mutex::new(None) }
    }

    fn read(&self) -> Arc<Rows> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, rows)) = &*last
            && at.elapsed() < TABLE_AGE
        {
            return Arc::clone(rows);
        }
        // Where there is no such file, the limit stays in force.
        let rows = Arc::new(rows(&fs::read_to_string(self.path).unwrap_or_default()));
        *last = Some((Instant::now(), Arc::clone(&rows)));
        rows
    }
}

/// Reads the table, whose columns are documented in the kernel's `proc_net_tcp.rst`.
fn rows(table: &str) -> Rows {
    table.lines().skip(1).filter_map(row).collect()
}

fn row(line: &str) -> Option<(u64, Unacknowledged)> {
    let columns: Vec<_> = line.split_ascii_whitespace().take(10).collect();
    let [_, _, _, _, queues, timer, retransmits, _, probes, inode] = columns[..] else { return None };
    let (unacknowledged, _) = queues.split_once(':')?;
    if u64::from_str_radix(unacknowledged, 16).ok()? == 0 {
        return None;
    }
    let unanswered = match timer.split_once(':')?.0 {
        "01" => u32::from_str_radix(retransmits, 16).ok()?,
        "04" => probes.parse().ok()?,
        _ => 0,
    };
    Some((inode.parse().ok()?, Unacknowledged { unanswered }))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::AsyncWriteExt,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    const TABLE: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0
   1: 0100007F:0016 0100007F:B2C4 01 00000024:00000000 01:00000019 00000003     0        0 22 4 0 20 4 31 10 -1
   2: 0100007F:0016 0100007F:B2C6 01 0001F000:00000000 04:00000019 00000000     0        2 33 2 0 20 4 31 10 -1
   3: 0100007F:0016 0100007F:B2C8 01 00000024:00000000 01:00000019 00000000     0        0 44 4 0 20 4 31 10 -1
   4: nonsense
";

    #[test]
    fn the_table_says_how_often_a_host_did_not_answer() {
        let expected = [(22, 3), (33, 2), (44, 0)].map(|(inode, unanswered)| (inode, Unacknowledged { unanswered }));
        assert_eq!(rows(TABLE), expected.into_iter().collect());
    }

    #[tokio::test]
    async fn a_host_whose_process_does_not_read_counts_as_alive() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_unread, _) = listener.accept().await.unwrap();
        let mut watch = HostWatch::new(&socket, Duration::from_secs(10));
        assert_eq!(SockRef::from(&socket).tcp_user_timeout().unwrap(), Some(Duration::from_secs(10)));
        let block = [0; 64 << 10];
        while tokio::time::timeout(Duration::from_secs(1), socket.write_all(&block)).await.is_ok() {}
        watch.written();
        while !watch.lifted {
            std::future::poll_fn(|cx| {
                watch.poll(&socket, cx);
                if watch.lifted { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
        assert_eq!(SockRef::from(&socket).tcp_user_timeout().unwrap(), None);
    }
}
