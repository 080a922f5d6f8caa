//! The control socket on Unix: a socket in the key file's folder, which its user alone can connect to.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt},
        net::UnixListener as StdListener,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Gid, Mode, OFlags, Uid},
    process::geteuid,
};
use tokio::{
    net::{UnixListener, UnixStream},
    task::spawn_blocking,
};

use super::address::Address;
use crate::atomic_file;

/// A connection of a command.
pub(super) type Stream = UnixStream;

const ROOT: u32 = 0;
/// The name of the socket in the folder in which it is made.
const DRAFT: &str = "s";

/// The socket of a running funnel.
#[derive(Debug)]
pub(super) struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// Its device and number.
    file: (u64, u64),
    /// The users who may connect.
    users: [u32; 3],
}

impl Listener {
    /// Makes the socket at `path`. That of a process that has ended is replaced.
    ///
    /// # Errors
    /// A running funnel has a socket there, something else is there, or it cannot be made.
    pub(super) async fn bind(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        check_free(&path).await?;
        let made = make(&path)?;
        made.set_nonblocking(true)?;
        let socket = UnixListener::from_std(made)?;
        let metadata = fs::symlink_metadata(&path)?;
        let users = [ROOT, geteuid().as_raw(), metadata.uid()];
        Ok(Self { socket, path, file: (metadata.dev(), metadata.ino()), users })
    }

    /// Accepts a connection of an allowed user. The mode of the socket keeps others away already, except on a system that does
    /// not look at it.
    ///
    /// # Cancel safety
    /// Dropping the future loses no connection.
    pub(super) async fn accept(&self) -> io::Result<Stream> {
        loop {
            let (stream, _) = self.socket.accept().await?;
            if self.users.contains(&stream.peer_cred()?.uid()) {
                return Ok(stream);
            }
        }
    }

    /// Removes the socket, if it is still this one.
    pub(super) fn remove(self) {
        let found = fs::symlink_metadata(&self.path).map(|metadata| (metadata.dev(), metadata.ino()));
        if found.is_ok_and(|found| found == self.file) {
            // One that stays is replaced by the next funnel.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Checks that no running funnel has its socket at `path`.
async fn check_free(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => return Err(io::Error::new(ErrorKind::AlreadyExists, "it is not a socket; remove it")),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    match UnixStream::connect(Address::of(path)?.path()).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(error),
        // One whose queue is full is in use too.
        _ => Err(io::Error::new(ErrorKind::AddrInUse, "another funnel with this key is running")),
    }
}

/// Makes the socket in a folder that only this user can enter, gives it its mode there, and moves it in place. So nobody else
/// can connect to it at any moment, and the old one is replaced at once.
fn make(path: &Path) -> io::Result<StdListener> {
    let folder = atomic_file::beside(path, ".tmp");
    let draft = folder.join(DRAFT);
    // A process that was killed may have left one.
    let _ = fs::remove_file(&draft);
    let _ = fs::remove_dir(&folder);
    fs::DirBuilder::new().mode(0o700).create(&folder)?;
    let make = || {
        let opened = open_own(&folder)?;
        // Whatever the umask is.
        rustix::fs::fchmod(&opened, Mode::RWXU)?;
        let socket = StdListener::bind(Address::of(&folder)?.path().join(DRAFT))?;
        let folder = opened;
        rustix::fs::chmodat(&folder, DRAFT, Mode::RUSR | Mode::WUSR, AtFlags::empty())?;
        hand_over(&folder, path);
        fs::rename(&draft, path)?;
        Ok(socket)
    };
    let made = make();
    if made.is_err() {
        let _ = fs::remove_file(&draft);
    }
    let _ = fs::remove_dir(&folder);
    made
}

/// Opens a folder of this user, into which nobody else can have put anything.
fn open_own(folder: &Path) -> io::Result<rustix::fd::OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(folder, flags, Mode::empty())?;
    let found = rustix::fs::fstat(&opened)?;
    if found.st_uid != geteuid().as_raw() || found.st_mode as u32 & 0o077 != 0 {
        return Err(io::Error::new(ErrorKind::PermissionDenied, "another user has replaced its folder"));
    }
    Ok(opened)
}

/// Gives the socket to the owner of the folder that it will be in, as the other files of a funnel. Only root can.
fn hand_over(folder: &rustix::fd::OwnedFd, path: &Path) {
    let Some(Ok(owner)) = path.parent().map(fs::metadata) else { return };
    let (uid, gid) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
    let _ = rustix::fs::chownat(folder, DRAFT, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
}

/// Connects to the socket at `path` of the funnel with this key file.
///
/// # Errors
/// There is none, or it belongs to a user who is neither this one, nor root, nor the owner of the key.
pub(super) async fn connect(key_file: &Path, path: &Path) -> io::Result<UnixStream> {
    let path = std::path::absolute(path)?;
    let key_file = key_file.to_owned();
    // It blocks while the disk does, or while the funnel's queue is full.
    let connecting = spawn_blocking(move || {
        let stream = std::os::unix::net::UnixStream::connect(Address::of(&path)?.path())?;
        stream.set_nonblocking(true)?;
        // The key may be in another folder, which cannot be written.
        let owned = fs::metadata(&key_file).or_else(|_| fs::metadata(key_file.parent().unwrap_or(&key_file)));
        Ok::<_, io::Error>((stream, owned.map(|owned| owned.uid())))
    });
    let (stream, owner) = connecting.await.map_err(io::Error::other)??;
    let stream = UnixStream::from_std(stream)?;
    let user = stream.peer_cred()?.uid();
    if [ROOT, geteuid().as_raw()].contains(&user) || owner.is_ok_and(|owner| owner == user) {
        return Ok(stream);
    }
    Err(io::Error::new(
        ErrorKind::PermissionDenied,
        format!(
            "it belongs to user {user}, and the key file, or the state folder, does not: remove it, and keep other users out of its folder"
        ),
    ))
}

/// Returns whether connecting failed because no funnel is running.
pub(super) fn is_not_running(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}
