//! The control socket on Windows: a named pipe that only its owner can open. Its name is random, so that no other program takes
//! it before, and is in a file in the key file's folder.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::Duration,
};

use interprocess::os::windows::{
    named_pipe::{
        PipeListenerOptions, PipeMode, pipe_mode,
        tokio::{DuplexPipeStream, PipeListener},
    },
    security_descriptor::SecurityDescriptor,
};
use tokio::{
    net::windows::named_pipe::{ClientOptions, NamedPipeClient},
    time::sleep,
};
use widestring::U16CString;

/// A connection of a command.
pub(super) type Stream = DuplexPipeStream<pipe_mode::Bytes>;

/// All access for the owner of the pipe, and none for anybody else.
const OWNER_ONLY: &str = "D:P(A;;GA;;;OW)";
/// `ERROR_PIPE_BUSY`: the funnel has not yet made an instance for the next client.
const PIPE_BUSY: i32 = 231;
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// The longest file with the name of a pipe.
const MAX_NAME: usize = 256;

/// The pipe of a running funnel.
#[derive(Debug)]
pub(super) struct Listener {
    pipe: PipeListener<pipe_mode::Bytes, pipe_mode::Bytes>,
    path: PathBuf,
    name: String,
}

impl Listener {
    /// Makes the pipe, and writes its name to `path`. That of a process that has ended is replaced.
    ///
    /// # Errors
    /// A running funnel has a pipe, or it cannot be made.
    pub(super) async fn bind(path: &Path) -> io::Result<Self> {
        match read_name(path).and_then(|name| ClientOptions::new().open(name)) {
            Err(error) if is_not_running(&error) => {}
            Err(error) if error.raw_os_error() != Some(PIPE_BUSY) => return Err(error),
            _ => return Err(io::Error::new(ErrorKind::AddrInUse, "another funnel with this key is running")),
        }
        let name = format!(r"\\.\pipe\flower-iroh-funnel-{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let rule = U16CString::from_str(OWNER_ONLY).map_err(io::Error::other)?;
        let pipe = PipeListenerOptions::new()
            .path(name.as_str())
            .mode(PipeMode::Bytes)
            .security_descriptor(Some(SecurityDescriptor::deserialize(&rule)?))
            .create_tokio_duplex::<pipe_mode::Bytes>()?;
        fs::write(path, &name)?;
        Ok(Self { pipe, path: path.to_owned(), name })
    }

    /// Accepts a connection.
    pub(super) async fn accept(&self) -> io::Result<Stream> {
        self.pipe.accept().await
    }

    /// Removes the file, if it is still this one's.
    pub(super) fn remove(self) {
        if read_name(&self.path).is_ok_and(|name| name == self.name) {
            // One that stays is replaced by the next funnel.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Connects to the pipe that the file at `path` names.
///
/// # Errors
/// There is none, or another user has it.
pub(super) async fn connect(_key_file: &Path, path: &Path) -> io::Result<NamedPipeClient> {
    let name = read_name(path)?;
    loop {
        match ClientOptions::new().open(&name) {
            Err(error) if error.raw_os_error() == Some(PIPE_BUSY) => sleep(BUSY_PAUSE).await,
            connected => return connected,
        }
    }
}

/// Returns whether connecting failed because no funnel is running.
pub(super) fn is_not_running(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}

fn read_name(path: &Path) -> io::Result<String> {
    let name = fs::read_to_string(path)?;
    let is_name = name.len() <= MAX_NAME && name.starts_with(r"\\.\pipe\") && !name.contains(char::is_whitespace);
    is_name.then_some(name).ok_or_else(|| {
        io::Error::new(ErrorKind::InvalidData, format!("{} does not name a pipe; remove it", path.display()))
    })
}
