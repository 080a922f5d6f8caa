//! A file that is changed where it is.

use std::fs;

use crate::atomic_file::{Place, in_place::rewrite, lock, read};

#[test]
fn a_file_is_changed_where_it_is_whether_it_grows_or_shrinks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers.toml");
    fs::write(&path, "first\n").unwrap();
    fs::hard_link(&path, folder.path().join("same")).unwrap();
    for content in ["", "longer than the first\n", "second\n", "second\n", ""] {
        rewrite(&Place::to_change(&path).unwrap(), content.as_bytes()).unwrap();
        assert_eq!(read(&path, 100).unwrap().as_deref(), Some(content));
        assert_eq!(fs::read_to_string(folder.path().join("same")).unwrap(), content, "it was replaced");
    }
    let _lock = lock(&path).unwrap();
    assert!(folder.path().join("peers.toml.lock").exists());
}

#[test]
fn nothing_is_created_by_a_change_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers.toml");
    rewrite(&Place::to_change(&path).unwrap(), b"content").unwrap_err();
    assert!(!path.exists());
}
