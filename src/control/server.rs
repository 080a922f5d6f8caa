//! The side of the funnel.

mod connections;

use std::{io, path::Path, process, sync::Arc, thread, time::Duration};

use futures_util::FutureExt;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    runtime,
    sync::oneshot,
    time::{sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

use self::connections::{Connections, Progress};
use super::{Answer, Outcome, Request, platform, read_line, socket_path};
use crate::{
    descriptors::{self, Reserve},
    report::OnChange,
};

/// The wait for a request, and for a client that takes its answer.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(1);
/// Descriptors in reserve: so many commands are served at once if the process has no others.
const SPARE_DESCRIPTORS: usize = 8;
/// The pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The wait for the thread to start, and to remove the socket at the end.
const THREAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers requests.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Answers a request. It must not block, nor wait without a deadline.
    fn handle(&self, request: &Request) -> impl Future<Output = Outcome> + Send;
}

/// The control socket of this process. Dropping it closes the socket.
#[derive(Debug)]
pub(crate) struct ControlServer {
    stop: DropGuard,
    ended: oneshot::Receiver<()>,
}

impl ControlServer {
    /// Opens the control socket of the funnel with this key file, and serves it on a thread of its own.
    ///
    /// # Errors
    /// The socket cannot be made, or another running funnel has it.
    pub(crate) async fn start(key_file: &Path, handler: impl Handler) -> io::Result<Self> {
        let path = socket_path(key_file);
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (started, starting) = oneshot::channel();
        let (ending, ended) = oneshot::channel();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let run = move || {
            runtime.block_on(async {
                let (listener, bound) = match platform::Listener::bind(&path).await {
                    Ok(listener) => (Some(listener), Ok(())),
                    Err(error) => (None, Err(error)),
                };
                let is_awaited = started.send(bound).is_ok();
                let Some(listener) = listener else { return };
                if is_awaited {
                    serve(&listener, Arc::new(handler), &stopped).await;
                }
                listener.remove();
            });
            drop(ending);
        };
        thread::Builder::new().name("control".to_owned()).spawn(run)?;
        match timeout(THREAD_TIMEOUT, starting).await {
            Ok(Ok(started)) => started.map(|()| Self { stop: stop.drop_guard(), ended }),
            Ok(Err(_)) => Err(io::Error::other("its thread ended")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the file system does not answer")),
        }
    }

    /// Closes the socket, and waits until it is gone.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        // Past that, the next funnel replaces it.
        let _ = timeout(THREAD_TIMEOUT, self.ended).await;
    }
}

async fn serve(listener: &platform::Listener, handler: Arc<impl Handler>, stop: &CancellationToken) {
    let mut connections = Connections::default();
    let mut reserve = Reserve::new(SPARE_DESCRIPTORS);
    let mut problem = OnChange::default();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            () = connections.ended() => {
                reserve.refill();
                continue;
            }
            () = sleep(ACCEPT_PAUSE), if !reserve.is_full() => {
                reserve.refill();
                continue;
            }
            accepted = accept(listener, &mut reserve) => accepted,
        };
        match accepted {
            Ok(stream) => {
                problem.clear();
                connections.make_room().await;
                let (progress, handler) = (Progress::default(), Arc::clone(&handler));
                connections.add(progress.clone(), async move { answer(stream, &progress, &*handler).await });
            }
            Err(error) => {
                problem.run(error.kind(), |_| warn!(%error, "the control socket cannot accept connections"));
                connections.close_idle();
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Accepts a connection, if need be with a descriptor of the reserve.
async fn accept(listener: &platform::Listener, reserve: &mut Reserve) -> io::Result<platform::Stream> {
    loop {
        match listener.accept().await {
            Err(error) if descriptors::is_exhausted(&error) && reserve.release() => {
                let accepted = listener.accept().now_or_never();
                // At once, before a call takes it: accepting fails without a descriptor even if no connection is waiting.
                reserve.refill();
                if let Some(Ok(stream)) = accepted {
                    return Ok(stream);
                }
            }
            accepted => return accepted,
        }
    }
}

/// Answers one request. A client that sends none in time gets none.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, progress: &Progress, handler: &impl Handler) {
    let Ok(read) = timeout(MESSAGE_TIMEOUT, read_line(&mut stream)).await else { return };
    progress.has_read();
    let outcome = match read {
        Ok(line) => match Request::parse(&line) {
            Ok(request) => handler.handle(&request).await,
            Err(reason) => Outcome::Invalid { reason },
        },
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Outcome::Invalid { reason: error.to_string() },
        Err(_) => return,
    };
    let answer = Answer { pid: process::id(), outcome }.to_line();
    // A client that is gone needs no answer.
    let _ = timeout(MESSAGE_TIMEOUT, async {
        stream.write_all(&answer).await?;
        stream.shutdown().await
    })
    .await;
}

#[cfg(all(test, unix))]
mod tests {
    use std::{fs, os::unix::net::UnixListener};

    use super::{super::ControlSocket, *};

    struct Echo;

    impl Handler for Echo {
        async fn handle(&self, request: &Request) -> Outcome {
            Outcome::NotInForce { reason: format!("{request:?}") }
        }
    }

    #[tokio::test]
    async fn a_live_socket_stays_and_a_stale_one_is_replaced_and_nothing_else_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let key_file = folder.path().join("secret.key");
        fs::write(&key_file, "").unwrap();
        let (client, path) = (ControlSocket::of_key_file(&key_file), socket_path(&key_file));
        assert!(client.status().await.unwrap_err().is_not_running());

        drop(UnixListener::bind(&path).unwrap());
        assert!(client.status().await.unwrap_err().is_not_running());
        let first = ControlServer::start(&key_file, Echo).await.unwrap();
        let second = ControlServer::start(&key_file, Echo).await.unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        let answer = client.status().await.unwrap();
        assert_eq!(answer, Answer { pid: process::id(), outcome: Outcome::NotInForce { reason: "Status".to_owned() } });
        first.stop().await;
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "only the key is left");

        fs::write(&path, "something else").unwrap();
        assert_eq!(ControlServer::start(&key_file, Echo).await.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "something else");
    }
}
