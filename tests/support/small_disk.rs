//! A small file system of one's own for a process, which can be filled up. Needs root on Linux, `unshare` and `mount`.

// Several test files include this module by path, and each uses a part of it.
#![allow(dead_code)]

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// The words before a command line whose process finds such a file system at `folder`, mounted with `options`.
pub(crate) fn with_disk(folder: &Path, options: &str) -> Vec<String> {
    let script = format!("mount -t tmpfs -o size=64k,mode=700,{options} state \"$0\" && exec \"$@\"");
    let folder = folder.to_str().expect("a temporary folder has a plain name");
    ["unshare", "--mount", "sh", "-c", &script, folder].map(str::to_owned).into()
}

/// Such a file system that one process after the other finds at a folder, until it is dropped.
#[derive(Debug)]
pub(crate) struct KeptDisk {
    // It ends with its stdin, whatever becomes of this process.
    holder: Child,
    folder: PathBuf,
}

impl KeptDisk {
    /// Mounts one of so many bytes, `64k` or `4m`.
    pub(crate) async fn mount(folder: &Path, size: &str) -> io::Result<Self> {
        let script = "mount -t tmpfs -o size=\"$1\",mode=700 state \"$0\" && echo mounted && exec cat";
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "sh", "-c", script]).arg(folder).arg(size);
        let mut holder = unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let stdout = holder.stdout.take().ok_or_else(|| io::Error::other("a child without a stdout"))?;
        let said = BufReader::new(stdout).lines().next_line().await?;
        if said.as_deref() != Some("mounted") {
            return Err(io::Error::other(format!("no file system at {}", folder.display())));
        }
        Ok(Self { holder, folder: folder.to_owned() })
    }

    /// The words before a command line whose process finds it.
    pub(crate) fn words(&self) -> Vec<String> {
        let id = self.holder.id().expect("it runs until it is dropped");
        vec!["nsenter".to_owned(), format!("--mount=/proc/{id}/ns/mnt"), "--".to_owned()]
    }

    /// The folder, as those processes see it.
    pub(crate) fn path(&self) -> PathBuf {
        seen_by(self.holder.id().expect("it runs until it is dropped"), &self.folder)
    }
}

/// The same as a command to which the command line is added.
pub(crate) fn command(words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

/// Whether there can be one here; CI must.
pub(crate) async fn is_possible(folder: &Path) -> bool {
    let output = command(&with_disk(folder, "rw")).arg("true").output().await;
    let possible = output.is_ok_and(|output| output.status.success());
    if !possible {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must be able to mount a file system");
        eprintln!("skipped: needs root, unshare and mount to make a small file system");
    }
    possible
}

/// `folder` as the process sees it.
pub(crate) fn seen_by(process: u32, folder: &Path) -> PathBuf {
    PathBuf::from(format!("/proc/{process}/root{}", folder.display()))
}

/// A file that takes all the room there is, until it is dropped.
#[derive(Debug)]
pub(crate) struct Filling(PathBuf);

impl Filling {
    pub(crate) fn new(folder: &Path) -> io::Result<Self> {
        let filling = Self(folder.join("filling"));
        let mut file = File::create(&filling.0)?;
        loop {
            match file.write(&[0; 512]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(filling),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        // Gone with the process, otherwise.
        let _ = fs::remove_file(&self.0);
    }
}
