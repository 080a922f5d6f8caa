//! Root changes a file in the folder of a user who exchanges files, links and folders as fast as possible.

use std::{
    fs,
    os::unix::fs::{MetadataExt, chown, lchown, symlink},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{CWD, RenameFlags};

use crate::atomic_file::{lock, read, replace};

const OTHER: u32 = 54_321;
const ROUNDS: usize = 5_000;
const MAX_TIME: Duration = Duration::from_secs(10);

/// Makes something at a path.
type Make<'a> = &'a (dyn Fn(&Path) + Sync);

/// Root's folder, which the user may not reach, beside the user's folder.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (roots, users) = (folder.path().join("roots"), folder.path().join("users"));
        fs::create_dir(&users).unwrap();
        if chown(&users, Some(OTHER), Some(OTHER)).is_err() {
            eprintln!("skipped: only root can give files away");
            return None;
        }
        fs::create_dir(&roots).unwrap();
        fs::write(roots.join("roster"), "root's").unwrap();
        Some(Self { folder })
    }

    fn roots(&self) -> PathBuf {
        self.folder.path().join("roots")
    }

    fn users(&self) -> PathBuf {
        self.folder.path().join("users")
    }

    /// Lets root read and change `path` while the user runs `attack` again and again; returns how often root could.
    fn race(&self, path: &Path, attack: impl Fn() + Sync) -> usize {
        let is_over = AtomicBool::new(false);
        let (mut changed, mut refused) = (0, 0);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    attack();
                }
            });
            // A change that panics ends the attack too.
            let _end = EndOnDrop(&is_over);
            let begin = Instant::now();
            for _ in 0..ROUNDS {
                if begin.elapsed() > MAX_TIME {
                    break;
                }
                match update(path) {
                    Ok(()) => changed += 1,
                    Err(_) => refused += 1,
                }
                if !self.is_intact() {
                    break;
                }
            }
        });
        assert!(self.is_intact(), "root's file was changed, after {changed} changes and {refused} refusals");
        assert!(refused > 0, "the attack has met none of {changed} changes");
        changed
    }

    /// Whether root's folder has root's file alone, unchanged, and its content is nowhere else.
    fn is_intact(&self) -> bool {
        let roots = self.roots().join("roster");
        let found = fs::metadata(&roots).unwrap();
        let is_unchanged = fs::read_to_string(&roots).unwrap() == "root's"
            && (found.uid(), found.gid(), found.mode() & 0o777) == (0, 0, 0o644);
        is_unchanged && fs::read_dir(self.roots()).unwrap().count() == 1
    }
}

struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// As a change of the roster: with what was read in what is written.
fn update(path: &Path) -> std::io::Result<()> {
    let _lock = lock(path)?;
    let before = read(path, 1 << 10)?.unwrap_or_default();
    assert!(!before.contains("root's"), "root's file was read in the place of the user's");
    replace(path, b"roster")
}

/// Exchanges what two paths lead to.
fn exchange(one: &Path, other: &Path) -> bool {
    rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).is_ok()
}

fn make_link(target: &Path, link: &Path) {
    symlink(target, link).unwrap();
    lchown(link, Some(OTHER), Some(OTHER)).unwrap();
}

#[test]
fn root_never_uses_its_own_file_for_the_one_of_a_user_who_exchanges_them() {
    for suffix in ["", ".tmp", ".lock"] {
        let Some(machine) = Machine::new() else { return };
        let (users, roots) = (machine.users(), machine.roots().join("roster"));
        let target = users.join(format!("roster{suffix}"));
        let make_file = |path: &Path| {
            fs::write(path, "roster").unwrap();
            chown(path, Some(OTHER), Some(OTHER)).unwrap();
        };
        // A file that root left in the user's folder: for a moment it makes the path look like one of root.
        let make_left = |path: &Path| fs::write(path, "roster").unwrap();
        let pieces: [(_, Make<'_>); 3] = [
            (users.join("link"), &|path| make_link(&roots, path)),
            (users.join("left"), &make_left),
            (users.join("file"), &make_file),
        ];
        let changed = machine.race(&users.join("roster"), || {
            for (piece, make) in &pieces {
                if !exchange(piece, &target) {
                    // Root has removed it, or has not created it yet.
                    if fs::symlink_metadata(piece).is_err() {
                        make(piece);
                    }
                    let _ = fs::rename(piece, &target);
                }
            }
        });
        if suffix == ".tmp" {
            // Root hardly finds the name of its draft free, until it is over. Its file may be a link that was such a draft.
            let _ = fs::remove_file(users.join("roster"));
            update(&users.join("roster")).unwrap();
        } else {
            assert!(changed > 0, "{suffix}");
        }
    }
}

#[test]
fn root_never_uses_its_own_folder_for_the_one_of_a_user_who_exchanges_them() {
    let Some(machine) = Machine::new() else { return };
    let [state, link] = ["state", "link"].map(|name| machine.users().join(name));
    fs::create_dir(&state).unwrap();
    chown(&state, Some(OTHER), Some(OTHER)).unwrap();
    make_link(&machine.roots(), &link);
    assert!(machine.race(&state.join("roster"), || assert!(exchange(&state, &link))) > 0);
}
