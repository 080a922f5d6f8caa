//! The machine and the versions that a run was made with.

use std::{fs, process::Command};

use serde::{Deserialize, Serialize};

/// What a result is worth nothing without.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Of the CPU.
    pub(crate) cpu: String,
    /// How many CPUs this process may use.
    pub(crate) cores: usize,
    /// Name and release.
    pub(crate) kernel: String,
    /// In MiB.
    pub(crate) memory_mib: u64,
    /// Of TCP, outside of emulated links.
    pub(crate) tcp_congestion_control: String,
    /// The commit of this repository, `+` if files differ from it.
    pub(crate) commit: String,
    /// Of competitors and what they are made of.
    pub(crate) versions: Vec<String>,
}

impl Machine {
    /// This machine, now. `tools` are the versions of other programs that take part.
    pub(crate) fn here(tools: Vec<String>) -> Self {
        let changed = !output("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
        Self {
            cpu: line_of("/proc/cpuinfo", "model name").unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: output("uname", &["-sr"]),
            memory_mib: memory_kib() / 1024,
            tcp_congestion_control: read("/proc/sys/net/ipv4/tcp_congestion_control"),
            commit: output("git", &["rev-parse", "--short=12", "HEAD"]) + if changed { "+" } else { "" },
            versions: versions(tools),
        }
    }
}

fn versions(mut versions: Vec<String>) -> Vec<String> {
    versions.push(output("rustc", &["--version"]));
    versions.extend(locked(&["iroh", "noq", "tonic", "hyper", "h2"]));
    versions
}

/// Versions in the lock file that this binary was built by.
fn locked(names: &[&str]) -> Vec<String> {
    let lock = include_str!("../../Cargo.lock");
    let packages = lock.split("[[package]]").filter_map(|package| {
        let value = |key: &str| package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        Some((value("name")?.trim_matches('"'), value("version")?.trim_matches('"')))
    });
    packages.filter(|(name, _)| names.contains(name)).map(|(name, version)| format!("{name} {version}")).collect()
}

fn memory_kib() -> u64 {
    let total = line_of("/proc/meminfo", "MemTotal").unwrap_or_default();
    total.trim_end_matches(" kB").parse().unwrap_or_default()
}

fn line_of(file: &str, key: &str) -> Option<String> {
    let text = read(file);
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

/// What a command says; `ssh -V` says it on stderr.
pub(crate) fn output(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else { return String::new() };
    let said = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    if output.status.success() { String::from_utf8_lossy(&said).trim().to_owned() } else { String::new() }
}
