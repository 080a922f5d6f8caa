//! Changes a file where it is. One that is mounted by itself cannot be replaced by another: containers mount single files.

use std::io::{self, Seek, SeekFrom, Write};

use super::{Access, Place};

/// Returns whether an attempt to replace `place` failed since it is mounted by itself.
pub(super) fn is_needed(place: &Place, error: &io::Error) -> bool {
    match error.kind() {
        io::ErrorKind::ResourceBusy => true,
        // Its folder is another one than that of the file, and may be read-only.
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => place.is_mounted(),
        _ => false,
    }
}

/// Writes `content` over that of the file, which must be text that may end with empty lines.
///
/// The room is taken first, with empty lines after the old content: a full disk changes nothing else. Then the new content is
/// written with one call, with empty lines up to the old length, which are cut off last. So a process that is killed in between
/// leaves the old content or the new one. If the machine loses its power, the file may have parts of both.
pub(super) fn rewrite(place: &Place, content: &[u8]) -> io::Result<()> {
    let mut file = place.open(Access::Write)?;
    let (before, after) = (file.metadata()?.len(), content.len() as u64);
    let mut padded = content.to_vec();
    if let Some(more) = after.checked_sub(before) {
        file.seek(SeekFrom::End(0))?;
        let room = vec![b'\n'; usize::try_from(more).map_err(io::Error::other)?];
        if let Err(error) = file.write_all(&room).and_then(|()| file.sync_all()) {
            let _ = file.set_len(before);
            return Err(error);
        }
    } else {
        padded.resize(usize::try_from(before).map_err(io::Error::other)?, b'\n');
    }
    file.rewind()?;
    file.write_all(&padded)?;
    file.sync_all()?;
    file.set_len(after)?;
    file.sync_all()
}
