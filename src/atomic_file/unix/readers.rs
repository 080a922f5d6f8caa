//! Who can read a file with a secret in it.

use std::{fs::File, io};

use rustix::process::{getegid, geteuid, getgroups};

use super::{Place, found::Found};
use crate::atomic_file::Readers;

const ROOT: u32 = 0;
const SET_GROUP: u32 = 0o2000;
const GROUP_OR_OTHERS: u32 = 0o077;
const OTHERS: u32 = 0o007;
#[cfg(target_os = "linux")]
const GROUP_OR_OTHERS_WRITE: u32 = 0o022;

impl Place {
    /// Finds out who can read the open file of this place.
    pub(in crate::atomic_file) fn readers(&self, file: &File) -> io::Result<Readers> {
        let (found, folder) = (Found::of(file)?, Found::of(&*self.folder)?);
        let is_intended = found.mode & GROUP_OR_OTHERS == 0
            || is_handed_to_group(&found, &folder)?
            || is_handed_to_container(file, &found)?;
        Ok(if is_intended { Readers::Intended } else { Readers::Others { mode: found.mode & 0o777 } })
    }
}

/// Returns whether somebody else than an incautious user has let a group read the file, and nobody else.
///
/// - Of root: root has given it to a group of this process (Kubernetes: `fsGroup`), or to this user by an access list, whose
///   mask is shown as the mode of the group, root's own (systemd: `LoadCredential`).
/// - Of this user: in a folder that gives its files to the group, as Kubernetes makes a volume with `fsGroup`. In other folders
///   it is a user's umask that lets the group read a file.
fn is_handed_to_group(found: &Found, folder: &Found) -> io::Result<bool> {
    if found.mode & OTHERS != 0 {
        return Ok(false);
    }
    let is_own_group = getegid().as_raw() == found.gid || getgroups()?.iter().any(|group| group.as_raw() == found.gid);
    let is_set_by_folder = folder.mode & SET_GROUP != 0 && folder.gid == found.gid;
    Ok(match found.uid {
        user if user == geteuid().as_raw() => is_own_group && is_set_by_folder,
        ROOT => is_own_group || found.gid == ROOT,
        _ => false,
    })
}

/// Returns whether it is a secret that root mounted for a container, readable by everybody in it (Docker: mode 0444): read-only,
/// and in memory. Only root makes such a mount, and a copy or a umask never does; on any other file system the mode tells that
/// every user of the machine can read the file.
#[cfg(target_os = "linux")]
fn is_handed_to_container(file: &File, found: &Found) -> io::Result<bool> {
    use rustix::fs::{StatVfsMountFlags, fstatfs, fstatvfs};

    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    if found.uid != ROOT || found.mode & GROUP_OR_OTHERS_WRITE != 0 {
        return Ok(false);
    }
    #[allow(clippy::unnecessary_cast, reason = "the types differ between architectures")]
    let kind = fstatfs(file)?.f_type as u64 & 0xffff_ffff;
    Ok([TMPFS, RAMFS].contains(&kind) && fstatvfs(file)?.f_flag.contains(StatVfsMountFlags::RDONLY))
}

#[cfg(not(target_os = "linux"))]
fn is_handed_to_container(_file: &File, _found: &Found) -> io::Result<bool> {
    Ok(false)
}
