//! Owners, modes and links of files on Unix.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::Path,
};

use super::Readers;

/// Checks that a symbolic link and the file that it leads to belong to the same user, or the link to root.
pub(super) fn check_link(path: &Path, target: &Path) -> io::Result<()> {
    let (link, file) = (fs::symlink_metadata(path)?.uid(), fs::symlink_metadata(target)?.uid());
    if link == 0 || link == file {
        return Ok(());
    }
    let reason =
        format!("it is a link of user {link} to {} of user {file}: use the path of that file", target.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, reason))
}

/// Gives `file`, which this process has created, to the owner of `path` or else of its folder: a command that root runs must
/// not take a file away from the funnel's user.
pub(crate) fn hand_over(file: &File, path: &Path) -> io::Result<()> {
    let Ok(before) = fs::metadata(path) else {
        let folder = fs::metadata(folder(path))?;
        // Only root can. Any other user keeps the files that it creates.
        let _ = fchown(file, Some(folder.uid()), Some(folder.gid()));
        return Ok(());
    };
    if file.metadata()?.uid() != before.uid() {
        fchown(file, Some(before.uid()), None).map_err(|error| {
            let reason =
                format!("it belongs to another user ({}): run this command as that user, or as root", before.uid());
            io::Error::new(error.kind(), reason)
        })?;
    }
    // A group that this user is not in is lost; `keep_mode` handles that.
    let _ = fchown(file, None, Some(before.gid()));
    Ok(())
}

/// Gives `file` the mode of `path`, without access for another group.
pub(super) fn keep_mode(file: &File, path: &Path) -> io::Result<()> {
    let Ok(before) = fs::metadata(path) else { return Ok(()) };
    let is_groups = file.metadata()?.gid() == before.gid();
    let mode = if is_groups { before.mode() } else { before.mode() & !0o070 };
    file.set_permissions(Permissions::from_mode(mode & 0o777))
}

/// Writes the folder to the disk: only then does the new file survive a crash. An error changes nothing for readers.
pub(super) fn sync_folder(path: &Path) {
    let _ = File::open(folder(path)).and_then(|folder| folder.sync_all());
}

/// Finds out who can read an open file.
pub(crate) fn readers(file: &File) -> io::Result<Readers> {
    let mode = file.metadata()?.permissions().mode();
    Ok(if mode & 0o077 == 0 { Readers::Owner } else { Readers::Others { mode: mode & 0o777 } })
}

/// Makes a new file readable by this user alone.
pub(super) fn make_private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(0o600)
}

/// Returns the folder that contains `path`.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}
