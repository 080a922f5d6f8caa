use std::{fs, path::Path, sync::Arc};

use iroh::{EndpointId, SecretKey};
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::{atomic_file, protocol::Api};

/// A roster that is watched, and what is in force.
struct Watched {
    folder: tempfile::TempDir,
    file: RosterFile,
    handle: WatchHandle,
    in_force: watch::Receiver<Arc<Roster>>,
    _watching: AbortOnDropHandle<()>,
}

impl Watched {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (file, handle) = (RosterFile::new(folder.path().join("peers.toml")), WatchHandle::default());
        let (sender, in_force) = watch::channel(Arc::default());
        let watching = tokio::spawn({
            let (file, handle) = (file.clone(), handle.clone());
            let apply = move |roster| drop(sender.send_replace(Arc::new(roster)));
            async move { watch(file, Roster::default(), handle, apply).await }
        });
        Self { folder, file, handle, in_force, _watching: AbortOnDropHandle::new(watching) }
    }

    async fn write(&self, text: &str) -> Arc<Roster> {
        fs::write(self.file.path(), text).unwrap();
        self.after_a_look().await
    }

    async fn after_a_look(&self) -> Arc<Roster> {
        self.handle.reload().await;
        self.in_force.borrow().clone()
    }

    /// Looks until the file of the ledger is as it is expected.
    async fn recorded(&self, is_expected: impl Fn(&Ledger) -> bool) {
        while !self.file.ledger().read().is_ok_and(|ledger| is_expected(&ledger.unwrap_or_default())) {
            self.handle.reload().await;
        }
    }

    /// Looks until the roster can be followed, or not.
    async fn problem(&self, is_expected: impl Fn(Option<&str>) -> bool) -> Arc<Roster> {
        while !is_expected(self.handle.health().problem.as_deref()) {
            self.handle.reload().await;
        }
        self.in_force.borrow().clone()
    }

    fn path(&self) -> &Path {
        self.file.path()
    }
}

fn peer() -> EndpointId {
    SecretKey::generate().public()
}

fn listing(peer: EndpointId, standing: &str) -> String {
    format!("[[peer]]\nid = \"{peer}\"\nstanding = \"{standing}\"\n")
}

fn is_denied(roster: &Roster, peer: EndpointId) -> bool {
    roster.peer(peer).is_some_and(|member| member.may_call().is_empty())
}

#[tokio::test]
async fn a_damaged_file_puts_nothing_in_force_until_it_is_mended() {
    let watched = Watched::new();
    let [first, second] = [peer(), peer()];
    let [one, other] = [first, second].map(|peer| listing(peer, "allowed"));
    assert!(watched.write(&one).await.peer(first).is_some());
    for damaged in ["[[peer", "[[peer]]\nid = 1", &other.repeat(2)] {
        assert!(watched.write(damaged).await.peer(first).is_some(), "{damaged}");
        assert!(watched.handle.health().problem.unwrap().contains("a mistake in the roster"));
    }
    assert!(watched.write(&other).await.peer(second).is_some());
    assert_eq!(watched.handle.health().problem, None);
}

#[tokio::test]
async fn a_roster_that_is_empty_or_gone_leaves_the_last_one_in_force() {
    let watched = Watched::new();
    let [first, second] = [peer(), peer()];
    watched.write(&listing(first, "allowed")).await;
    for (what, damage) in [
        ("is empty: put a copy of it back", (|path| fs::write(path, " \n")) as fn(&Path) -> std::io::Result<()>),
        ("is gone: put a copy of it back", |path| fs::remove_file(path)),
    ] {
        damage(watched.path()).unwrap();
        let in_force = watched.problem(|problem| problem.is_some_and(|problem| problem.contains(what))).await;
        assert!(in_force.peer(first).is_some(), "{what}");
    }
    assert!(watched.write(&listing(second, "allowed")).await.peer(first).is_none());
    assert_eq!(watched.handle.health().problem, None);
}

#[tokio::test]
async fn a_denial_by_hand_is_recorded_and_an_edit_does_not_undo_it() {
    let watched = Watched::new();
    let denied = peer();
    assert!(is_denied(&*watched.write(&listing(denied, "denied")).await, denied));
    watched.recorded(|ledger| ledger.denies(denied)).await;
    for text in [&listing(denied, "allowed"), "# nobody\n"] {
        assert!(is_denied(&*watched.write(text).await, denied), "{text}");
    }
    // A process of its own, as the command is.
    let command = RosterFile::new(watched.path());
    command.update(|roster| roster.allow(denied, None, Api::Fleet.into())).unwrap().unwrap();
    assert!(!is_denied(&*watched.after_a_look().await, denied));
}

#[tokio::test]
async fn a_ledger_that_is_gone_older_or_damaged_loses_nothing_while_the_funnel_runs() {
    let watched = Watched::new();
    let [first, second] = [peer(), peer()];
    watched.write(&listing(first, "denied")).await;
    watched.recorded(|ledger| ledger.denies(first)).await;
    let (ledger, older) = (watched.file.ledger(), watched.folder.path().join("older"));
    fs::copy(ledger.path(), &older).unwrap();
    watched.write(&(listing(first, "denied") + &listing(second, "denied"))).await;
    watched.recorded(|ledger| ledger.denies(second)).await;
    watched.write("# nobody\n").await;

    fs::rename(&older, ledger.path()).unwrap();
    watched.recorded(|ledger| ledger.denies(first) && ledger.denies(second)).await;
    fs::remove_file(ledger.path()).unwrap();
    watched.recorded(|ledger| ledger.denies(first) && ledger.denies(second)).await;
    let good = fs::read(ledger.path()).unwrap();
    fs::write(ledger.path(), "denied = nobody").unwrap();
    watched.problem(|problem| problem.is_some_and(|problem| problem.contains("peers.revoked.toml is damaged"))).await;
    let third = peer();
    let in_force = watched.write(&listing(third, "allowed")).await;
    assert!(is_denied(&in_force, first) && is_denied(&in_force, second) && !is_denied(&in_force, third));
    assert!(in_force.peer(third).is_some(), "the roster is followed all the same");
    fs::write(ledger.path(), good).unwrap();
    let in_force = watched.problem(|problem| problem.is_none()).await;
    assert!(is_denied(&in_force, first) && is_denied(&in_force, second));
}

#[tokio::test]
async fn a_pipe_in_place_of_a_file_is_reported_and_following_goes_on_after_it() {
    let watched = Watched::new();
    let [first, second] = [peer(), peer()];
    watched.write(&listing(first, "allowed")).await;
    let ledger = watched.file.ledger();
    for path in [watched.path(), ledger.path()] {
        let _ = fs::remove_file(path);
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
        let expected = format!("{}: it is not a regular file", path.display());
        let in_force = watched.problem(|problem| problem.is_some_and(|problem| problem.contains(&expected))).await;
        assert!(in_force.peer(first).is_some());
        fs::remove_file(path).unwrap();
        watched.write(&listing(first, "allowed")).await;
        watched.problem(|problem| problem.is_none()).await;
    }
    assert!(watched.write(&listing(second, "allowed")).await.peer(second).is_some());
}

#[tokio::test]
async fn one_who_holds_the_lock_holds_up_the_record_and_not_the_denial() {
    let watched = Watched::new();
    let [first, second] = [peer(), peer()];
    let lock = atomic_file::lock(watched.path()).unwrap();
    assert!(is_denied(&*watched.write(&listing(first, "denied")).await, first));
    assert!(is_denied(&*watched.write(&listing(second, "denied")).await, second));
    assert!(is_denied(&*watched.write("# nobody\n").await, first));
    assert!(!watched.file.ledger().path().exists());
    drop(lock);
    watched.recorded(|ledger| ledger.denies(first) && ledger.denies(second)).await;
}

#[tokio::test]
async fn a_look_that_stands_still_is_reported_and_followed_by_the_next_one_when_it_ends() {
    let watched = Watched::new();
    let [first, second] = [peer(), peer()];
    watched.write(&listing(first, "allowed")).await;
    let mut watcher =
        Watcher::new(watched.file.clone(), Roster::clone(&watched.in_force.borrow()), WatchHandle::default());
    let (release, released) = std::sync::mpsc::channel::<()>();
    let _hanging = watcher.looks.run(move || released.recv()).unwrap();
    fs::write(watched.path(), listing(second, "allowed")).unwrap();
    let problem = loop {
        assert_eq!(watcher.look(1).await, None);
        // A denial in memory is in force meanwhile.
        watched.file.known().send_modify(|known| known.absorb(&Roster::clone(&denying(first))));
        assert!(watcher.changed().is_none_or(|roster| is_denied(&roster, first)));
        if let Some(problem) = watcher.handle.health().problem {
            break problem;
        }
    };
    assert!(problem.contains("there is no answer for 5 s"), "{problem}");
    release.send(()).unwrap();
    assert_eq!(watcher.look(2).await, Some(1));
    let roster = watcher.changed().unwrap();
    assert!(roster.peer(second).is_some() && is_denied(&roster, first));
    assert_eq!(watcher.handle.health().problem, None);
}

fn denying(peer: EndpointId) -> Roster {
    let mut roster = Roster::default();
    roster.deny(peer);
    roster
}
