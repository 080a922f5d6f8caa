//! The control socket of a running funnel: commands of its user, on the same machine, ask it and tell it what to do.
//!
//! ```text
//! command ── one request, a JSON line ──►  control socket      handler
//!         ◄─ one answer, a JSON line ────  (its own thread) ─► admission, ...
//! ```
//! It lies beside the key file: `secret.key.control` beside `secret.key`. On Unix that is a socket with mode 0600; on Windows a file
//! with the name of a pipe that only its owner can open.
//!
//! It answers within a second whatever the funnel is doing: it has a thread and a runtime of its own, waits for no file, and
//! keeps file descriptors in reserve.

#[cfg(unix)]
mod address;
mod client;
mod message;
mod server;
#[cfg(unix)]
#[path = "control/unix.rs"]
mod platform;
#[cfg(windows)]
#[path = "control/windows.rs"]
mod platform;

use std::{
    io,
    path::{Path, PathBuf, absolute},
};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

pub use self::{
    client::{ControlError, ControlSocket},
    message::{Answer, Outcome, Status},
};
pub(crate) use self::{
    message::Request,
    server::{ControlServer, Handler},
};
use crate::atomic_file;

/// The longest request or answer, in bytes, with its line end.
const MAX_MESSAGE: u64 = 64 << 10;

/// Returns the path of the control socket of the funnel with this key file.
fn socket_path(key_file: &Path) -> PathBuf {
    atomic_file::beside(key_file, ".control")
}

/// Returns the path by which a command and the funnel compare their rosters: absolute and without links, as far as it exists.
/// Blocks while the disk does.
pub(crate) fn resolved(path: &Path) -> io::Result<PathBuf> {
    if let Ok(resolved) = path.canonicalize() {
        return Ok(resolved);
    }
    let path = absolute(path)?;
    match (path.parent().map(Path::canonicalize), path.file_name()) {
        (Some(Ok(folder)), Some(name)) => Ok(folder.join(name)),
        _ => Ok(path),
    }
}

/// Reads a line of at most [`MAX_MESSAGE`] bytes.
///
/// # Errors
/// It is longer, or the connection ends before its end.
async fn read_line(stream: impl AsyncRead + Unpin) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    BufReader::new(stream.take(MAX_MESSAGE)).read_until(b'\n', &mut line).await?;
    if line.ends_with(b"\n") {
        return Ok(line);
    }
    let (kind, problem) = match line.len() as u64 {
        0 => (io::ErrorKind::UnexpectedEof, "it ended without a message".to_owned()),
        MAX_MESSAGE => (io::ErrorKind::InvalidData, format!("the message has more than {MAX_MESSAGE} bytes")),
        _ => (io::ErrorKind::InvalidData, "the message has no line end".to_owned()),
    };
    Err(io::Error::new(kind, problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_is_a_line_with_a_bound() {
        assert_eq!(read_line(&b"{}\nrest"[..]).await.unwrap(), b"{}\n");
        assert_eq!(read_line(&b""[..]).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(read_line(&b"{}"[..]).await.unwrap_err().to_string().contains("no line end"));
        let long = vec![b' '; MAX_MESSAGE as usize + 1];
        assert!(read_line(&long[..]).await.unwrap_err().to_string().contains("more than"));
    }

    #[cfg(unix)]
    #[test]
    fn every_way_to_a_roster_resolves_to_one_path_before_and_after_it_exists() {
        let folder = tempfile::tempdir().unwrap();
        let (place, link) = (folder.path().join("place"), folder.path().join("link"));
        std::fs::create_dir(&place).unwrap();
        std::os::unix::fs::symlink(&place, &link).unwrap();
        let before = resolved(&link.join("peers.toml")).unwrap();
        std::fs::write(place.join("peers.toml"), "").unwrap();
        assert_eq!(resolved(&place.join("peers.toml")).unwrap(), before);
        assert_eq!(resolved(&link.join("..").join("place").join("peers.toml")).unwrap(), before);
    }
}
