//! What a dropped link leaves behind: nothing. Alone in its process, since it counts files and threads.
#![cfg(target_os = "linux")]

use std::{
    fs,
    io::{Read, Write},
    process::{Command, Stdio},
    time::Duration,
};

use lab::{Conditions, Link};

/// The files and threads of this process, without those that come and go with the test harness.
fn held() -> (Vec<String>, usize) {
    let target = |entry: fs::DirEntry| fs::read_link(entry.path()).ok().map(|path| path.display().to_string());
    let files = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| target(entry.unwrap()));
    let mut files: Vec<String> = files.filter(|path| !path.starts_with("/proc/")).collect();
    files.sort();
    (files, fs::read_dir("/proc/self/task").unwrap().count())
}

#[test]
fn a_dropped_link_leaves_nothing_though_a_process_of_a_host_lives_on() {
    if let Err(unavailable) = lab::available() {
        eprintln!("skipped: {unavailable}");
        return;
    }
    let before = held();
    let link = Link::new(Conditions { delay: Duration::from_millis(1), ..Conditions::default() }).unwrap();
    assert_eq!((held().0.len(), held().1), (before.0.len() + 5, before.1 + 1), "two hosts, two devices, a wake-up");
    let left = link.left().clone();
    // Ends when its input does.
    let mut child = left.spawn(Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped())).unwrap();
    // Until it answers it may be on its way into its program, with the link's files still open.
    child.stdin.as_mut().unwrap().write_all(b"!").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    drop(link);
    let devices = left.run(|| Command::new("ip").args(["-brief", "link"]).output()).unwrap().stdout;
    let devices = String::from_utf8(devices).unwrap();
    assert!(devices.contains("lo") && !devices.contains("wan0"), "{devices}");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    drop((child, left));
    assert_eq!(held(), before);
}
