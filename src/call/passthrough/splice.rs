//! Copies bytes in both directions between two connections.

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

use super::call_stream::CallStream;
use crate::hop::tcp::TcpConnection;

/// The longest idle time. A log stream may be silent for long while nodes train; a connection that is idle for longer is
/// abandoned.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// The longest idle time once the funnel is stopping. Active transfers continue, within the drain timeout.
const STOPPING_IDLE_TIMEOUT: Duration = Duration::from_secs(1);
/// The size of a read buffer, in bytes. Each connection has two.
const CHUNK: usize = 32 << 10;

/// Copies bytes between a connection and a call until both have ended. If one fails, both are reset.
///
/// # Errors
/// As [`copy_bidirectional`].
pub(super) async fn splice(mut socket: TcpConnection, call: CallStream, stop: &CancellationToken) -> io::Result<()> {
    // Also if this future is dropped.
    socket.reset_on_drop(true);
    copy_bidirectional(&mut socket, call, stop).await?;
    socket.reset_on_drop(false);
    Ok(())
}

/// Copies bytes until both sides have ended, one has failed, or both are idle. The end of one side is forwarded; the other
/// direction continues.
async fn copy_bidirectional<A, B>(one: A, other: B, stop: &CancellationToken) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let activity = Activity::new();
    let ((from_one, to_one), (from_other, to_other)) = (split(one), split(other));
    let both = async { tokio::try_join!(copy(from_one, to_other, &activity), copy(from_other, to_one, &activity)) };
    tokio::select! {
        ended = both => ended.map(|_| ()),
        () = activity.idle_for(IDLE_TIMEOUT) => Err(io::Error::new(io::ErrorKind::TimedOut, "idle for an hour")),
        () = stopping(&activity, stop) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the funnel is stopping")),
    }
}

async fn stopping(activity: &Activity, stop: &CancellationToken) {
    stop.cancelled().await;
    activity.idle_for(STOPPING_IDLE_TIMEOUT).await;
}

/// Copies one direction. It reads only as fast as the other side accepts.
async fn copy(from: impl AsyncRead, to: impl AsyncWrite, activity: &Activity) -> io::Result<()> {
    let (mut from, mut to) = (Box::pin(from), Box::pin(to));
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = from.read(&mut chunk).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&chunk[..length]).await?;
        to.flush().await?;
        activity.record();
    }
}

/// The time of the last transfer, in either direction.
struct Activity(Mutex<Instant>);

impl Activity {
    fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    fn record(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn idle_for(&self, limit: Duration) {
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
    async fn the_end_of_one_side_is_forwarded_and_the_other_direction_continues() {
        let ((mut client, near), (far, mut server)) = (duplex(64), duplex(64));
        let copying = tokio::spawn(async move { copy_bidirectional(near, far, &CancellationToken::new()).await });
        client.write_all(b"asked").await.unwrap();
        client.shutdown().await.unwrap();
        let mut asked = String::new();
        server.read_to_string(&mut asked).await.unwrap();
        server.write_all(b"answered").await.unwrap();
        drop(server);
        let mut answered = String::new();
        client.read_to_string(&mut answered).await.unwrap();
        assert_eq!((&*asked, &*answered), ("asked", "answered"));
        copying.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends_and_sooner_when_the_funnel_stops() {
        let (_client, near) = duplex(64);
        let (far, _server) = duplex(64);
        let started = Instant::now();
        let ended = copy_bidirectional(near, far, &CancellationToken::new()).await.unwrap_err();
        assert_eq!((ended.kind(), started.elapsed()), (io::ErrorKind::TimedOut, IDLE_TIMEOUT));

        let (_client, near) = duplex(64);
        let (far, _server) = duplex(64);
        let stop = CancellationToken::new();
        stop.cancel();
        let ended =
            timeout(2 * STOPPING_IDLE_TIMEOUT, copy_bidirectional(near, far, &stop)).await.unwrap().unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::ConnectionAborted);
    }
}
