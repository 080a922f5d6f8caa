//! Pipes, devices, sockets and folders in the place of a file.

use std::{
    fs,
    io::{self, Write},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::atomic_file::{PrivateFile, append, beside, lock, read, replace, replace_public, rotate};

/// Whatever should not wait for another process has this long.
const DEADLINE: Duration = Duration::from_secs(60);

/// A folder with one thing of each kind that is not a regular file, and the word for it in errors.
fn special_files() -> (tempfile::TempDir, Vec<(PathBuf, &'static str)>) {
    let folder = tempfile::tempdir().unwrap();
    let [pipe, socket, below] = ["pipe", "socket", "below"].map(|name| folder.path().join(name));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    drop(UnixListener::bind(&socket).unwrap());
    fs::create_dir(&below).unwrap();
    let device = PathBuf::from("/dev/null");
    (folder, vec![(pipe, "a named pipe"), (socket, "a socket"), (below, "a folder"), (device, "a device")])
}

/// Runs `operation` in a thread of its own, so that one that waits fails.
fn at_once<T: Send + 'static>(operation: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(operation()));
    receiver.recv_timeout(DEADLINE).expect("it does not wait for another process")
}

#[test]
fn what_is_not_a_regular_file_is_refused_at_once_and_named() {
    let (_folder, files) = special_files();
    for (path, kind) in files {
        let operations: [fn(&Path) -> io::Result<()>; 4] = [
            |path| read(path, 10).map(drop),
            |path| replace(path, b"content"),
            |path| replace_public(path, b"content"),
            rotate,
        ];
        for operation in operations {
            let of = path.clone();
            let error = at_once(move || operation(&of)).unwrap_err().to_string();
            assert!(error.contains(&format!("{kind}, not a regular file")), "{error}");
        }
        let private = PrivateFile { path: &path, name: "the file", if_exposed: "" };
        let error = std::error::Error::source(&private.open().unwrap_err()).unwrap().to_string();
        assert!(error.contains(kind), "{error}");
    }
}

#[test]
fn a_pipe_in_the_place_of_a_lock_is_refused_at_once_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("roster");
    let pipe = beside(&path, ".lock");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let error = at_once(move || lock(&path)).unwrap_err().to_string();
    assert!(error.contains("a named pipe") && error.contains(pipe.to_str().unwrap()), "{error}");
}

#[test]
fn a_log_may_be_a_device_and_is_not_renamed_then() {
    append(Path::new("/dev/null")).unwrap().write_all(b"line\n").unwrap();
    assert!(rotate(Path::new("/dev/null")).is_err());
    assert!(Path::new("/dev/null").exists());
}

/// A pipe that a shell hands to a process has no other path.
#[cfg(target_os = "linux")]
#[test]
fn a_pipe_without_a_name_is_written_to_and_read() {
    use std::{io::Read, os::fd::AsRawFd};

    use crate::atomic_file::{open_private_input, write_public};

    let (mut reader, writer) = io::pipe().unwrap();
    let path = |fd: i32| PathBuf::from(format!("/dev/fd/{fd}"));
    write_public(&path(writer.as_raw_fd()), b"content").unwrap();
    let mut content = [0; 7];
    reader.read_exact(&mut content).unwrap();
    assert_eq!(&content, b"content");
    write_public(&path(writer.as_raw_fd()), b"again").unwrap();
    drop(writer);
    let mut text = String::new();
    open_private_input(&path(reader.as_raw_fd())).unwrap().0.read_to_string(&mut text).unwrap();
    assert_eq!(text, "again");
    let fd = reader.as_raw_fd();
    assert!(at_once(move || read(&path(fd), 10)).is_err(), "state is no pipe");
}
