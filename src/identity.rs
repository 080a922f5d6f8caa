//! The secret key, which gives this funnel its endpoint id.

mod key_lock;
mod port_file;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use directories::ProjectDirs;
use iroh::SecretKey;

pub(crate) use self::{
    key_lock::{KeyInUse, KeyLock},
    port_file::{PortFile, Ports},
};
pub use crate::atomic_file::expand_home;
use crate::atomic_file::{self, FileError, PrivateFile};

/// The longest key file: 64 hexadecimal digits, a line end, and space around them.
const MAX_KEY_FILE: u64 = 256;

/// The default path of the key file, in the platform's folder for local application data.
///
/// `None` if the platform has no home folder for this user.
pub fn default_key_file() -> Option<PathBuf> {
    Some(ProjectDirs::from("", "", "flower-iroh-funnel")?.data_local_dir().join("secret.key"))
}

/// Reads the key, or creates it (mode 0600 on Unix) if the file is absent.
///
/// Two processes that create it at the same time end up with the same key.
///
/// # Errors
/// [`IdentityError`] for a file that cannot be read or written, that others can read (Unix) and root has not handed to them, or that does not contain a key.
pub fn load_or_create(path: &Path) -> Result<SecretKey, IdentityError> {
    let file = PrivateFile {
        path,
        name: "the key file",
        if_exposed: "make it private (chmod 600), and make a new key if anybody else had access",
    };
    if let Some(opened) = file.open()? {
        return read(&file, opened);
    }
    match create(path) {
        Ok(key) => Ok(key),
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let opened = file.open()?.ok_or_else(|| file.failed(io::ErrorKind::NotFound.into()))?;
            read(&file, opened)
        }
        Err(error) => Err(file.failed(error).into()),
    }
}

fn read(file: &PrivateFile<'_>, opened: File) -> Result<SecretKey, IdentityError> {
    let no_key = || Problem::NoKey { path: file.path.to_owned() }.into();
    match atomic_file::read_text(opened, MAX_KEY_FILE) {
        Ok(text) => parse(text.trim()).ok_or_else(no_key),
        Err(error) if atomic_file::is_mistake(&error) => Err(no_key()),
        Err(error) => Err(file.failed(error).into()),
    }
}

fn parse(text: &str) -> Option<SecretKey> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?;
    Some(SecretKey::from_bytes(&bytes.try_into().ok()?))
}

/// Creates the file with a new key, and its folder. No half-written key is read, and no existing key is replaced.
fn create(path: &Path) -> io::Result<SecretKey> {
    let key = SecretKey::generate();
    let draft = format!(".{}.key.tmp", key.public().fmt_short());
    atomic_file::create(path, &draft, format!("{}\n", HEXLOWER.encode(&key.to_bytes())).as_bytes())?;
    Ok(key)
}

/// A key file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct IdentityError(#[from] Problem);

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    File(FileError),
    #[error(
        "the key file {path} does not contain a key (64 hexadecimal digits); move it away and a new key is made, with a new \
         endpoint id"
    )]
    NoKey { path: PathBuf },
}

impl IdentityError {
    /// Returns whether the content of the file is not a key; otherwise the file cannot be used now.
    pub fn is_mistake(&self) -> bool {
        match &self.0 {
            Problem::File(error) => error.is_mistake(),
            Problem::NoKey { .. } => true,
        }
    }
}

impl From<FileError> for IdentityError {
    fn from(error: FileError) -> Self {
        Self(Problem::File(error))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_key_is_created_once_and_read_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below").join("secret.key");
        let created = load_or_create(&path).unwrap();
        assert_eq!(load_or_create(&path).unwrap().to_bytes(), created.to_bytes());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_root_creates_belongs_to_the_folders_owner() {
        use std::os::unix::fs::{MetadataExt, chown};
        const OTHER: u32 = 54_321;
        let folder = tempfile::tempdir().unwrap();
        if chown(folder.path(), Some(OTHER), None).is_err() {
            eprintln!("skipped: only root can give files away");
            return;
        }
        let path = folder.path().join("secret.key");
        load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().uid(), OTHER);
    }

    #[test]
    fn several_that_create_at_once_get_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        let keys: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| load_or_create(&path).unwrap().to_bytes())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| key == &keys[0]));
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = load_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("mode 644") && error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_file_without_a_key_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        for content in ["", "short", &"g".repeat(64), &"a".repeat(65), &"a".repeat(100_000)] {
            fs::write(&path, content).unwrap();
            #[cfg(unix)]
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            assert!(load_or_create(&path).unwrap_err().to_string().contains("does not contain a key"));
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }
}
