//! File descriptors: how many calls may use, and a reserve for what must work when there are no others.

#[cfg(not(unix))]
#[path = "descriptors/other.rs"]
mod platform;
#[cfg(unix)]
#[path = "descriptors/unix.rs"]
mod platform;

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

pub(crate) use self::platform::{Reserve, is_exhausted};

/// Descriptors that calls leave to the rest of the process: sockets of the endpoint and of local ports, files, and the
/// reserves.
const KEPT: usize = 128;
/// Descriptors in reserve for a file that is read or replaced: its lock, itself, its draft and its folder.
const FOR_FILES: usize = 4;

static FILE_RESERVE: LazyLock<Mutex<Reserve>> = LazyLock::new(|| Mutex::new(Reserve::new(FOR_FILES)));

/// Returns how many descriptors calls may use in all; `usize::MAX` where there is no limit. At most half of the limit is
/// kept from them.
pub(crate) fn for_calls() -> usize {
    platform::limit().map_or(usize::MAX, |limit| limit - KEPT.min(limit / 2))
}

/// Sets descriptors aside for [`with_file_reserve`], while there are some.
pub(crate) fn hold_file_reserve() {
    file_reserve().refill();
}

/// Reads or replaces a file. If the process is out of descriptors, `work` finds those of the reserve.
pub(crate) fn with_file_reserve<T>(work: impl FnOnce() -> T) -> T {
    let is_needed = {
        let mut reserve = file_reserve();
        let is_needed = !reserve.are_others_free();
        if is_needed {
            reserve.release_all();
        }
        is_needed
    };
    let done = work();
    if is_needed {
        file_reserve().refill();
    }
    done
}

/// Not held while a file is in use, which may take any time.
fn file_reserve() -> MutexGuard<'static, Reserve> {
    FILE_RESERVE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_may_use_most_descriptors_but_not_all() {
        let (limit, for_calls) = (platform::limit(), for_calls());
        assert!(limit.is_none_or(|limit| for_calls < limit && for_calls >= limit / 2), "{limit:?}: {for_calls}");
    }

    #[test]
    fn a_reserve_is_released_and_filled_again() {
        let mut reserve = Reserve::new(2);
        assert!(reserve.is_full());
        if cfg!(unix) {
            assert!(reserve.release() && reserve.release() && !reserve.release());
            assert!(!reserve.is_full());
        }
        reserve.refill();
        assert!(reserve.is_full() && reserve.are_others_free());
        assert_eq!(with_file_reserve(|| 1), 1);
    }
}
