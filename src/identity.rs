//! The secret key: this funnel's name in the network.

use std::{
    error::Error,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use directories::ProjectDirs;
use iroh::SecretKey;

use crate::atomic_file::{self, Readers};

/// 64 hexadecimal digits and a line end; whatever is longer is no key.
const MAX_KEY_FILE: u64 = 256;

/// Where the key lives unless it is told otherwise: the platform's folder for local application data.
///
/// `None` where the platform names no home.
pub fn default_key_file() -> Option<PathBuf> {
    Some(ProjectDirs::from("", "", "flower-iroh-funnel")?.data_local_dir().join("secret.key"))
}

/// Reads the key, or creates it (mode 0600 on Unix) if the file is absent.
///
/// Two processes that create it at the same time end up with the same key.
///
/// # Errors
/// [`IdentityError`] for a file that cannot be read or written, that others can read (Unix), or that holds no key.
pub fn load_or_create(path: &Path) -> Result<SecretKey, IdentityError> {
    let failed = |problem| IdentityError { path: path.to_owned(), problem };
    match File::open(path) {
        Ok(file) => read(file).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match create(path) {
            Err(Problem::Io(error)) if error.kind() == io::ErrorKind::AlreadyExists => {
                File::open(path).map_err(Problem::Io).and_then(read).map_err(failed)
            }
            created => created.map_err(failed),
        },
        Err(error) => Err(failed(Problem::Io(error))),
    }
}

fn read(file: File) -> Result<SecretKey, Problem> {
    if !file.metadata()?.is_file() {
        return Err(Problem::Io(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")));
    }
    if let Readers::Others { mode } = atomic_file::readers(&file)? {
        return Err(Problem::Exposed { mode });
    }
    let mut text = String::new();
    file.take(MAX_KEY_FILE).read_to_string(&mut text)?;
    let text = text.trim();
    let is_hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex {
        return Err(Problem::NoKey);
    }
    text.parse().map_err(|_| Problem::NoKey)
}

/// Writes beside the file and links it in place, so that nobody ever reads half a key and nobody's key is replaced. File
/// systems without links get it written in place.
fn create(path: &Path) -> Result<SecretKey, Problem> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let key = SecretKey::generate();
    let draft = folder.join(format!(".{}.key.tmp", key.public().fmt_short()));
    let written = write_private(&draft, path, &key).and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => write_private(path, path, &key),
        linked => linked,
    });
    let removed = fs::remove_file(&draft);
    written.and(removed)?;
    Ok(key)
}

/// Writes what is to be at `place` for the folder's owner.
fn write_private(path: &Path, place: &Path, key: &SecretKey) -> io::Result<()> {
    let mut file = atomic_file::open_private(OpenOptions::new().write(true).create_new(true), path)?;
    atomic_file::hand_over(&file, place)?;
    for byte in key.to_bytes() {
        write!(file, "{byte:02x}")?;
    }
    writeln!(file)?;
    file.sync_all()
}

/// A key file that cannot be used.
#[derive(Debug)]
pub struct IdentityError {
    path: PathBuf,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    Io(io::Error),
    Exposed { mode: u32 },
    NoKey,
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.problem {
            Problem::Io(_) => write!(f, "cannot use the key file {path}"),
            Problem::Exposed { mode } => write!(
                f,
                "others can read the key file {path} (mode {mode:03o}); run: chmod 600 {path}, and make a new key if \
                 anybody else had access"
            ),
            Problem::NoKey => write!(
                f,
                "the key file {path} holds no key (64 hexadecimal digits); move it away and a new key is made, with a \
                 new endpoint id"
            ),
        }
    }
}

impl Error for IdentityError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.problem {
            Problem::Io(error) => Some(error),
            Problem::Exposed { .. } | Problem::NoKey => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_created_once_and_read_ever_after() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below").join("secret.key");
        let created = load_or_create(&path).unwrap();
        assert_eq!(load_or_create(&path).unwrap().to_bytes(), created.to_bytes());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_root_makes_belongs_to_whom_the_folder_belongs() {
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
    fn two_who_create_at_once_get_the_same_key() {
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
    fn what_holds_no_key_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        for content in ["", "short", &"g".repeat(64), &"a".repeat(65), &"a".repeat(100_000)] {
            fs::write(&path, content).unwrap();
            #[cfg(unix)]
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            assert!(load_or_create(&path).unwrap_err().to_string().contains("holds no key"));
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }
}
