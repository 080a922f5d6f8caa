//! Tests with files, links and pipes as other processes leave them.

#[cfg(unix)]
mod hard_links;
#[cfg(unix)]
mod in_place;
#[cfg(target_os = "linux")]
mod race;
#[cfg(unix)]
mod special_files;
#[cfg(unix)]
mod symbolic_links;

use std::{fs, time::Duration};

use super::*;

#[test]
fn a_file_is_replaced_atomically_and_a_failure_leaves_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("roster");
    assert_eq!(read(&path, 10).unwrap(), None);
    replace(&path, b"first").unwrap();
    replace(&path, b"second").unwrap();
    assert_eq!(read(&path, 10).unwrap().unwrap(), "second");
    assert_eq!(read(&path, 5).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    fs::create_dir(beside(&path, ".tmp")).unwrap();
    assert!(replace(&path, b"third").is_err());
    assert_eq!(read(&path, 10).unwrap().unwrap(), "second");
}

#[cfg(unix)]
#[test]
fn a_link_stays_one_and_mode_and_group_stay() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let (path, link) = (folder.path().join("roster"), folder.path().join("link"));
    replace(&path, b"first").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&path, &link).unwrap();
    let _lock = lock(&link).unwrap();
    assert!(beside(&path, ".lock").exists(), "one lock, whichever path leads to the file");
    replace(&link, b"second").unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read(&path).unwrap(), b"second");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
}

#[cfg(unix)]
#[test]
fn a_file_that_root_changes_keeps_its_owner() {
    use std::os::unix::fs::{MetadataExt, chown};
    const OTHER: u32 = 54_321;
    let owner = |path: &Path| fs::metadata(path).map(|found| (found.uid(), found.gid())).unwrap();
    let folder = tempfile::tempdir().unwrap();
    if chown(folder.path(), Some(OTHER), Some(OTHER)).is_err() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    let path = folder.path().join("roster");
    for content in [b"first", b"after"] {
        let _lock = lock(&path).unwrap();
        replace(&path, content).unwrap();
        assert_eq!(owner(&path), (OTHER, OTHER));
        assert_eq!(owner(&beside(&path, ".lock")), (OTHER, OTHER));
        chown(folder.path(), Some(0), Some(0)).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn root_does_not_write_through_links_of_the_folders_owner() {
    use std::os::unix::fs::{MetadataExt, chown, lchown, symlink};
    const OTHER: u32 = 54_321;
    let folder = tempfile::tempdir().unwrap();
    let (path, roots) = (folder.path().join("roster"), folder.path().join("roots"));
    fs::write(&roots, "root's").unwrap();
    if chown(folder.path(), Some(OTHER), Some(OTHER)).is_err() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    for suffix in ["", ".tmp", ".lock"] {
        symlink(&roots, beside(&path, suffix)).unwrap();
        lchown(beside(&path, suffix), Some(OTHER), Some(OTHER)).unwrap();
    }
    assert_eq!(replace(&path, b"content").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(lock(&path).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    fs::remove_file(&path).unwrap();
    replace(&path, b"content").unwrap();
    assert!(lock(&path).is_err());
    assert_eq!((fs::read_to_string(&roots).unwrap(), fs::metadata(&roots).unwrap().uid()), ("root's".into(), 0));
    assert_eq!(fs::read(&path).unwrap(), b"content");
}

#[cfg(unix)]
#[test]
fn a_pipe_is_written_to_and_stays() {
    use std::os::unix::fs::FileTypeExt;
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read_to_string(pipe).unwrap()
    });
    write_public(&pipe, b"content").unwrap();
    assert_eq!(reader.join().unwrap(), "content");
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
}

#[test]
fn a_lock_that_is_not_released_is_reported_with_its_file_and_its_holder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("roster");
    let held = lock(&path).unwrap();
    for timeout in [Duration::ZERO, Duration::from_millis(100)] {
        let error = super::lock::lock_within(&path, timeout).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let text = error.to_string();
        assert!(text.contains(beside(&path, ".lock").to_str().unwrap()), "{text}");
        #[cfg(unix)]
        assert!(text.contains(&format!("process {} of this machine", std::process::id())), "{text}");
    }
    let waiting = std::thread::spawn({
        let path = path.clone();
        move || super::lock::lock_within(&path, Duration::from_secs(60)).map(drop)
    });
    drop(held);
    waiting.join().unwrap().unwrap();
}
