//! Addresses of Unix sockets, which have about 100 bytes.

use std::{
    env, fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// The longest path that is used as it is, with room for a name below it: macOS takes 103 bytes, Linux 107.
const MAX: usize = 96;

/// A path that fits into an address. It leads to `path` itself, or to a link of this user that lasts as long as this value.
#[derive(Debug)]
pub(super) struct Address {
    path: PathBuf,
    is_link: bool,
}

impl Address {
    /// Returns an address for an absolute path.
    ///
    /// # Errors
    /// The path is too long, and no link can be made in the folder for temporary files.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() <= MAX {
            return Ok(Self { path: path.to_owned(), is_link: false });
        }
        // Whoever guessed the name and took it, would cause an error here.
        let link = env::temp_dir().join(format!("funnel-{:016x}", fastrand::u64(..)));
        symlink(path, &link).map_err(|error| {
            let reason = format!(
                "its path is too long for a socket, and no link to it can be made ({}: {error}); use a shorter --key-file",
                link.display()
            );
            io::Error::new(error.kind(), reason)
        })?;
        Ok(Self { path: link, is_link: true })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        if self.is_link {
            // It is of no use to anybody.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_socket_with_a_long_path_is_made_and_found_and_no_link_stays() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("long".repeat(60));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("socket");
        assert!(UnixListener::bind(&path).is_err());
        let of_folder = Address::of(&folder).unwrap();
        let _listener = UnixListener::bind(of_folder.path().join("socket")).unwrap();
        let of_socket = Address::of(&path).unwrap();
        UnixStream::connect(of_socket.path()).unwrap();
        let links = [of_folder.path().to_owned(), of_socket.path().to_owned()];
        drop((of_folder, of_socket));
        assert!(links.iter().all(|link| fs::symlink_metadata(link).is_err()));
    }
}
