//! Links that operators and their tools make are followed; links of one user to another user's files are not.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink},
    path::{Path, PathBuf},
};

use crate::atomic_file::{append, beside, create, lock, open_private_input, read, replace, rotate};

const USER: u32 = 54_321;
const SECOND_USER: u32 = 54_322;

/// Makes a folder that belongs to `owner`; `None` for anybody but root.
fn folder_of(owner: u32, path: PathBuf) -> Option<PathBuf> {
    fs::create_dir(&path).unwrap();
    if chown(&path, Some(owner), Some(owner)).is_err() {
        eprintln!("skipped: only root can give files away");
        return None;
    }
    Some(path)
}

fn link_of(owner: u32, target: impl AsRef<Path>, link: &Path) {
    symlink(target, link).unwrap();
    lchown(link, Some(owner), Some(owner)).unwrap();
}

#[test]
fn the_links_of_a_mounted_kubernetes_secret_are_followed_and_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (version, path) = (folder.path().join("..2026_01_01"), folder.path().join("roster"));
    fs::create_dir(&version).unwrap();
    fs::write(version.join("roster"), "first").unwrap();
    symlink("..2026_01_01", folder.path().join("..data")).unwrap();
    symlink("..data/roster", &path).unwrap();
    assert_eq!(read(&path, 10).unwrap().unwrap(), "first");
    let _lock = lock(&path).unwrap();
    replace(&path, b"second").unwrap();
    assert_eq!(fs::read(version.join("roster")).unwrap(), b"second");
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
}

#[test]
fn root_follows_the_links_of_a_user_to_that_users_files_wherever_they_are() {
    let top = tempfile::tempdir().unwrap();
    let Some(home) = folder_of(USER, top.path().join("home")) else { return };
    let Some(data) = folder_of(USER, top.path().join("data")) else { return };
    let below = folder_of(USER, data.join("below")).unwrap();
    link_of(USER, &data, &home.join("share"));
    link_of(USER, "../data/below/roster", &home.join("roster"));
    // The link leads to no file yet: it is created there, as the user's.
    for (path, content) in [(home.join("roster"), "first"), (home.join("share/below/roster"), "second")] {
        let _lock = lock(&path).unwrap();
        replace(&path, content.as_bytes()).unwrap();
        assert_eq!(read(&path, 10).unwrap().unwrap(), content);
        assert_eq!(fs::read_to_string(below.join("roster")).unwrap(), content);
        for made in [below.join("roster"), below.join("roster.lock")] {
            assert_eq!(fs::metadata(made).unwrap().uid(), USER);
        }
    }
    assert!(fs::symlink_metadata(home.join("roster")).unwrap().is_symlink());
}

#[test]
fn root_does_not_follow_the_links_of_a_user_to_other_peoples_files_and_folders() {
    let top = tempfile::tempdir().unwrap();
    let Some(home) = folder_of(USER, top.path().join("home")) else { return };
    for owner in [0, SECOND_USER] {
        let target = folder_of(owner, top.path().join(owner.to_string())).unwrap();
        fs::write(target.join("roster"), "theirs").unwrap();
        chown(target.join("roster"), Some(owner), None).unwrap();
        let links = [(home.join("file"), target.join("roster")), (home.join("folder"), target.clone())];
        for (link, target) in &links {
            let _ = fs::remove_file(link);
            link_of(USER, target, link);
        }
        for path in [links[0].0.clone(), links[1].0.join("roster"), links[1].0.join("new"), links[1].0.join("new/new")]
        {
            let operations: [fn(&Path) -> io::Result<()>; 5] = [
                |path| replace(path, b"content"),
                |path| lock(path).map(drop),
                |path| append(path).map(drop),
                |path| create(path, ".draft", b"content"),
                |path| open_private_input(path).map(drop),
            ];
            for (number, operation) in operations.iter().enumerate() {
                assert!(operation(&path).is_err(), "{number} {}", path.display());
            }
            assert!(!read(&path, 10).is_ok_and(|read| read.is_some()), "{}", path.display());
        }
        assert_eq!(fs::read_to_string(target.join("roster")).unwrap(), "theirs");
        assert_eq!(fs::read_dir(&target).unwrap().count(), 1, "nothing is created");
    }
}

#[test]
fn links_of_two_users_are_not_followed_one_after_the_other() {
    let top = tempfile::tempdir().unwrap();
    let Some(first) = folder_of(USER, top.path().join("first")) else { return };
    let second = folder_of(SECOND_USER, top.path().join("second")).unwrap();
    fs::write(second.join("roster"), "theirs").unwrap();
    chown(second.join("roster"), Some(SECOND_USER), None).unwrap();
    link_of(SECOND_USER, "roster", &second.join("link"));
    link_of(USER, second.join("link"), &first.join("link"));
    assert!(read(&second.join("link"), 10).unwrap().is_some());
    let error = read(&first.join("link"), 10).unwrap_err();
    assert!(error.to_string().contains("several users"), "{error}");
}

#[test]
fn links_in_a_circle_and_paths_without_a_file_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, link) = (folder.path().join("roster"), folder.path().join("link"));
    symlink(&link, &path).unwrap();
    symlink(&path, &link).unwrap();
    assert!(read(&path, 10).is_err() && replace(&path, b"content").is_err() && lock(&path).is_err());
    for path in [Path::new(""), Path::new("/"), Path::new("."), &folder.path().join("..")] {
        assert!(read(path, 10).is_err() && replace(path, b"content").is_err(), "{}", path.display());
    }
}

#[test]
fn a_log_behind_a_link_is_renamed_there_and_the_link_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (log, link) = (folder.path().join("log"), folder.path().join("link"));
    symlink("log", &link).unwrap();
    drop(append(&link).unwrap());
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
    rotate(&link).unwrap();
    assert!(beside(&log, ".old").exists() && !log.exists());
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(rotate(&link).unwrap_err().kind(), io::ErrorKind::NotFound);
}
