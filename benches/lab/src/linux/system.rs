//! The two calls to the kernel that no safe crate of the tree makes.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::OpenOptionsExt,
    },
};

use nix::libc;

nix::ioctl_write_ptr_bad!(
    /// Makes the device that the file will read and write, or attaches to one.
    attach,
    libc::TUNSETIFF,
    libc::ifreq
);

/// Makes the TUN device `name` in the namespace of the calling thread. Plain IP packets, one a read or write, without
/// offload; reads do not block; the device goes when the file is closed.
pub(super) fn make_tun(name: &str) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(super::TUN_DEVICE)?;
    let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    let mut request =
        libc::ifreq { ifr_name: [0; libc::IFNAMSIZ], ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags } };
    // The last byte stays 0.
    for (to, from) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: TUNSETIFF reads and writes one ifreq, which lives across the call; the file is open.
    unsafe { attach(file.as_fd().as_raw_fd(), &request) }?;
    Ok(file)
}

/// Lets the calling thread run as soon as it is woken, before all ordinary threads and those of a lower `priority`, from 1.
pub(super) fn run_first(priority: i32) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: 0 names the calling thread; the kernel reads one sched_param, which lives across the call.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
