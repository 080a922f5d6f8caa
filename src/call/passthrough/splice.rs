//! Bytes both ways between two connections.

use std::{
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// A log that is followed may be silent for long while nodes train; a connection that lasts longer was forgotten.
const IDLE: Duration = Duration::from_secs(3600);
/// When the funnel stops, what still moves may go on, within the time to drain.
const IDLE_WHEN_STOPPING: Duration = Duration::from_secs(1);
/// Read at once. Each connection has two.
const CHUNK: usize = 32 << 10;

/// Carries bytes until each side has ended, either has failed, or nothing moves any more. An end of one side is passed on,
/// and the other direction goes on.
pub(super) async fn both_ways<A, B>(one: A, other: B, stop: &CancellationToken) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let moved = Moved::now();
    let ((from_one, to_one), (from_other, to_other)) = (split(one), split(other));
    let both = async { tokio::try_join!(copy(from_one, to_other, &moved), copy(from_other, to_one, &moved)) };
    tokio::select! {
        ended = both => ended.map(|_| ()),
        () = moved.nothing_for(IDLE) => Err(io::Error::new(io::ErrorKind::TimedOut, "nothing moved for an hour")),
        () = stopping(&moved, stop) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the funnel is stopping")),
    }
}

async fn stopping(moved: &Moved, stop: &CancellationToken) {
    stop.cancelled().await;
    moved.nothing_for(IDLE_WHEN_STOPPING).await;
}

/// What is not taken at the far end is not read here.
async fn copy(from: impl AsyncRead, to: impl AsyncWrite, moved: &Moved) -> io::Result<()> {
    let (mut from, mut to) = (Box::pin(from), Box::pin(to));
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = from.read(&mut chunk).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&chunk[..length]).await?;
        to.flush().await?;
        moved.again();
    }
}

/// When bytes moved last.
struct Moved(Mutex<Instant>);

impl Moved {
    fn now() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    fn again(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn nothing_for(&self, limit: Duration) {
        loop {
            let end = self.last() + limit;
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::duplex, time::timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_end_of_one_side_is_passed_on_and_the_other_direction_goes_on() {
        let ((mut client, near), (far, mut server)) = (duplex(64), duplex(64));
        let carried = tokio::spawn(async move { both_ways(near, far, &CancellationToken::new()).await });
        client.write_all(b"asked").await.unwrap();
        client.shutdown().await.unwrap();
        let mut asked = String::new();
        server.read_to_string(&mut asked).await.unwrap();
        server.write_all(b"answered").await.unwrap();
        drop(server);
        let mut answered = String::new();
        client.read_to_string(&mut answered).await.unwrap();
        assert_eq!((&*asked, &*answered), ("asked", "answered"));
        carried.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_nothing_moves_ends_and_soon_when_the_funnel_stops() {
        let (_client, near) = duplex(64);
        let (far, _server) = duplex(64);
        let started = Instant::now();
        let ended = both_ways(near, far, &CancellationToken::new()).await.unwrap_err();
        assert_eq!((ended.kind(), started.elapsed()), (io::ErrorKind::TimedOut, IDLE));

        let (_client, near) = duplex(64);
        let (far, _server) = duplex(64);
        let stop = CancellationToken::new();
        stop.cancel();
        let ended = timeout(2 * IDLE_WHEN_STOPPING, both_ways(near, far, &stop)).await.unwrap().unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::ConnectionAborted);
    }
}
