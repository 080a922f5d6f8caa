//! Links of network namespaces and TUN devices.

use std::{fs::OpenOptions, process::Command, thread};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::geteuid,
};

mod emulator;
mod host;
mod link;
mod probe;
#[allow(unsafe_code)]
mod system;
mod way;

pub use self::{host::Host, link::Link};

const TUN_DEVICE: &str = "/dev/net/tun";

/// What is missing for emulated links, in words that follow a colon.
pub(crate) fn available() -> Result<(), String> {
    if !geteuid().is_root() {
        return Err("they need root, to make network namespaces".into());
    }
    if let Err(error) = OpenOptions::new().read(true).write(true).open(TUN_DEVICE) {
        return Err(format!("{TUN_DEVICE} cannot be opened ({error}); load the kernel's module tun"));
    }
    if let Err(error) = Command::new("ip").arg("-Version").output() {
        return Err(format!("the command ip cannot be run ({error}); install iproute2"));
    }
    let unshared = thread::scope(|scope| scope.spawn(|| unshare(CloneFlags::CLONE_NEWNET)).join());
    match unshared.expect("unshare does not panic") {
        Ok(()) => Ok(()),
        Err(error) => Err(format!("a network namespace cannot be made ({error}); a container needs CAP_SYS_ADMIN")),
    }
}
