//! Files with several names. Where Linux's `protected_hardlinks` is off, a user can give a file of root a second name.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use crate::atomic_file::{append, beside, lock, read, replace};

const OTHER: u32 = 54_321;

/// Root's file, with a second name in a folder.
struct Linked {
    folder: tempfile::TempDir,
}

impl Linked {
    fn new(owner: u32, mode: u32, name: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("users");
        fs::create_dir(&users).unwrap();
        fs::set_permissions(&users, fs::Permissions::from_mode(mode)).unwrap();
        if chown(&users, Some(owner), None).is_err() {
            eprintln!("skipped: only root can give files away");
            return None;
        }
        let linked = Self { folder };
        fs::write(linked.roots(), "root's").unwrap();
        fs::hard_link(linked.roots(), users.join(name)).unwrap();
        Some(linked)
    }

    fn roots(&self) -> PathBuf {
        self.folder.path().join("roots")
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("users").join("roster")
    }

    /// Checks that `operation` is refused and leaves root's file as it was.
    fn refuses(&self, operation: impl FnOnce(&Path) -> io::Result<()>) {
        let error = operation(&self.path()).unwrap_err();
        assert!(error.to_string().contains("hard link"), "{error}");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(fs::read_to_string(self.roots()).unwrap(), "root's");
        assert_eq!(fs::metadata(self.roots()).unwrap().uid(), 0);
    }
}

fn append_line(path: &Path) -> io::Result<()> {
    append(path)?.write_all(b"line\n")
}

#[test]
fn a_file_of_root_with_a_second_name_in_a_users_folder_is_neither_read_nor_changed() {
    let Some(linked) = Linked::new(OTHER, 0o755, "roster") else { return };
    linked.refuses(|path| read(path, 10).map(drop));
    linked.refuses(|path| replace(path, b"content"));
    linked.refuses(append_line);
    let Some(linked) = Linked::new(OTHER, 0o755, "roster.lock") else { return };
    linked.refuses(|path| lock(path).map(drop));
}

#[test]
fn a_file_of_root_with_a_second_name_in_a_folder_of_several_is_not_changed() {
    let Some(linked) = Linked::new(0, 0o775, "roster") else { return };
    linked.refuses(append_line);
    let Some(linked) = Linked::new(0, 0o775, "roster.lock") else { return };
    linked.refuses(|path| lock(path).map(drop));
}

#[test]
fn a_file_with_a_second_name_in_its_owners_folder_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("roster"), folder.path().join("backup"));
    replace(&path, b"first").unwrap();
    drop(lock(&path).unwrap());
    fs::hard_link(&path, &copy).unwrap();
    fs::hard_link(beside(&path, ".lock"), folder.path().join("backup.lock")).unwrap();
    let _lock = lock(&path).unwrap();
    replace(&path, b"second").unwrap();
    assert_eq!(read(&path, 10).unwrap().unwrap(), "second");
    assert_eq!(read(&copy, 10).unwrap().unwrap(), "first", "a backup by links keeps the content of its time");
}
