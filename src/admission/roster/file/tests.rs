use std::{convert::Infallible, fs, num::NonZeroU32, time::Duration};

use iroh::{EndpointId, SecretKey};

use super::{super::NotInvited, *};
use crate::{address_lookup::Invitation, admission::Timestamp, protocol::Api};

const HOUR: Duration = Duration::from_secs(3600);

fn add(roster: &mut Roster) -> Result<(), Infallible> {
    roster.deny(SecretKey::generate().public());
    Ok(())
}

#[test]
fn many_who_change_it_at_once_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = RosterFile::new(folder.path().join("below").join("peers.toml"));
    assert_eq!(file.load().unwrap(), Roster::default());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..5).for_each(|_| file.update(add).unwrap().unwrap()));
        }
    });
    assert_eq!(file.load().unwrap().peers().len(), 40);
}

#[test]
fn a_change_that_fails_and_a_damaged_file_leave_it_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let file = RosterFile::new(folder.path().join("peers.toml"));
    file.update(add).unwrap().unwrap();
    let before = fs::read_to_string(file.path()).unwrap();
    assert_eq!(file.update(|_| Err::<(), _>("no")).unwrap(), Err("no"));
    assert_eq!(fs::read_to_string(file.path()).unwrap(), before);
    fs::write(file.path(), "[[peer").unwrap();
    assert!(file.update(add).unwrap_err().to_string().contains("a mistake in the roster"));
    assert_eq!(fs::read_to_string(file.path()).unwrap(), "[[peer");
}

#[test]
fn an_invitation_for_several_is_used_through_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = RosterFile::new(folder.path().join("peers.toml"));
    let (now, fleet) = (Timestamp::now(), Api::Fleet.into());
    let invitation = Invitation::new(SecretKey::generate().public().into());
    let (name, uses, expires) = ("site".parse().unwrap(), NonZeroU32::new(3).unwrap(), now.plus(HOUR));
    file.update(|roster| roster.invite(&invitation, name, fleet, uses, expires)).unwrap().unwrap();
    let redeem = || file.update(|roster| roster.redeem(SecretKey::generate().public(), invitation.secret(), now));
    let names: Vec<_> = (0..3).map(|_| redeem().unwrap().unwrap().name.unwrap().to_string()).collect();
    assert_eq!(names, ["site", "site-2", "site-3"]);
    assert_eq!(redeem().unwrap(), Err(NotInvited::Unknown));
    assert_eq!(file.load().unwrap().peers().len(), 3);
}

#[test]
fn what_would_be_too_long_to_be_read_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = RosterFile::new(folder.path().join("peers.toml"));
    file.update(add).unwrap().unwrap();
    let crowd = |roster: &mut Roster| {
        roster.peers = vec![roster.peers[0].clone(); 50_000];
        Ok::<_, Infallible>(())
    };
    assert!(file.update(crowd).is_err());
    assert_eq!(file.load().unwrap().peers().len(), 1);
}

/// A roster with a peer that is denied and an invitation that was used, and how the file was before that.
struct Old {
    #[cfg_attr(not(unix), expect(dead_code, reason = "its owner is looked at on Unix"))]
    folder: tempfile::TempDir,
    file: RosterFile,
    text: String,
    peer: EndpointId,
    invitation: Invitation,
}

impl Old {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = RosterFile::new(folder.path().join("peers.toml"));
        let [peer, guest] = [SecretKey::generate().public(), SecretKey::generate().public()];
        let invitation = Invitation::new(SecretKey::generate().public().into());
        let (now, fleet) = (Timestamp::now(), Api::Fleet.into());
        file.update(|roster| roster.allow(peer, None, fleet)).unwrap().unwrap();
        let invite = |roster: &mut Roster| {
            roster.invite(&invitation, "site".parse().unwrap(), fleet, NonZeroU32::MIN, now.plus(HOUR))
        };
        file.update(invite).unwrap().unwrap();
        let text = fs::read_to_string(file.path()).unwrap();
        file.update(|roster| roster.redeem(guest, invitation.secret(), now)).unwrap().unwrap();
        deny(&file, peer).unwrap();
        Self { folder, file, text, peer, invitation }
    }

    /// The same file, of a process that has read nothing yet.
    fn fresh(&self) -> RosterFile {
        RosterFile::new(self.file.path())
    }

    fn save_back(&self) {
        fs::write(self.file.path(), &self.text).unwrap();
    }

    fn redeem(&self, file: &RosterFile) -> Result<Result<super::super::Member, NotInvited>, RosterError> {
        let stranger = SecretKey::generate().public();
        file.update(|roster| roster.redeem(stranger, self.invitation.secret(), Timestamp::now()))
    }

    fn is_denied(&self, roster: &Roster) -> bool {
        roster.peer(self.peer).is_some_and(|peer| peer.may_call().is_empty())
    }
}

fn deny(file: &RosterFile, peer: EndpointId) -> Result<(), RosterError> {
    let deny = |roster: &mut Roster| {
        roster.deny(peer);
        Ok::<_, Infallible>(())
    };
    file.update(deny).map(|denied| denied.unwrap())
}

#[test]
fn an_older_copy_of_the_roster_brings_back_neither_a_denied_peer_nor_a_used_invitation() {
    let old = Old::new();
    for text in [&old.text, ""] {
        fs::write(old.file.path(), text).unwrap();
        let roster = old.fresh().load().unwrap();
        assert!(old.is_denied(&roster) && roster.invitations().is_empty());
        assert_eq!(old.redeem(&old.fresh()).unwrap(), Err(NotInvited::Unknown));
    }
    fs::remove_file(old.file.path()).unwrap();
    assert!(old.is_denied(&old.fresh().load().unwrap()));

    old.save_back();
    old.fresh().update(add).unwrap().unwrap();
    let text = fs::read_to_string(old.file.path()).unwrap();
    let roster = format::read(&text).unwrap();
    assert!(old.is_denied(&roster) && roster.invitations().is_empty(), "the next change mends the file: {text}");
}

#[test]
fn only_allow_and_remove_lift_a_denial() {
    let old = Old::new();
    let ledger = fs::read_to_string(old.file.ledger().path()).unwrap();
    let lift = |file: &RosterFile, is_removed: bool| {
        let lift = |roster: &mut Roster| match is_removed {
            true => {
                roster.remove(old.peer);
                Ok(())
            }
            false => roster.allow(old.peer, None, Api::Fleet.into()),
        };
        file.update(lift).unwrap().unwrap();
    };
    for is_removed in [false, true] {
        lift(&old.fresh(), is_removed);
        assert!(!old.is_denied(&old.fresh().load().unwrap()));
        old.save_back();
        assert!(!old.is_denied(&old.fresh().load().unwrap()));
        // Killed before the ledger was written: the peer stays denied.
        fs::write(old.file.ledger().path(), &ledger).unwrap();
        assert!(old.is_denied(&old.fresh().load().unwrap()));
    }
    // What this process has seen is above an older copy.
    lift(&old.file, false);
    fs::write(old.file.ledger().path(), &ledger).unwrap();
    assert!(!old.is_denied(&old.file.load().unwrap()));
}

#[test]
fn a_ledger_that_is_gone_or_an_older_copy_loses_nothing_that_the_process_has_seen() {
    let old = Old::new();
    for damage in [|path: &Path| fs::remove_file(path), |path: &Path| fs::write(path, "")] {
        old.save_back();
        damage(old.file.ledger().path()).unwrap();
        assert!(old.is_denied(&old.file.load().unwrap()));
        assert_eq!(old.redeem(&old.file).unwrap(), Err(NotInvited::Unknown));
        old.file.record().unwrap();
        assert!(old.is_denied(&old.fresh().load().unwrap()));
        assert_eq!(old.redeem(&old.fresh()).unwrap(), Err(NotInvited::Unknown));
    }
}

#[test]
fn a_damaged_ledger_is_refused_with_what_to_do() {
    let old = Old::new();
    fs::write(old.file.ledger().path(), "format = 1\nentries = 3\n").unwrap();
    let before = fs::read(old.file.path()).unwrap();
    for error in [old.fresh().load().unwrap_err(), old.redeem(&old.fresh()).unwrap_err()] {
        assert!(error.is_mistake());
        let error = error.to_string();
        assert!(error.contains("peers.revoked.toml is damaged: it has 0 entries instead of 3"), "{error}");
        assert!(error.contains("restore it from a copy"), "{error}");
    }
    assert_eq!(fs::read(old.file.path()).unwrap(), before);
}

#[test]
fn a_roster_that_cannot_be_written_leaves_the_invitation_unused_and_the_denial_in_force() {
    let old = Old::new();
    let invitation = Invitation::new(SecretKey::generate().public().into());
    let (name, expires) = ("other".parse().unwrap(), Timestamp::now().plus(HOUR));
    let invite = |roster: &mut Roster| roster.invite(&invitation, name, Api::Fleet.into(), NonZeroU32::MIN, expires);
    old.file.update(invite).unwrap().unwrap();
    let redeem = || {
        let stranger = SecretKey::generate().public();
        old.fresh().update(|roster| roster.redeem(stranger, invitation.secret(), Timestamp::now()))
    };
    let draft = atomic_file::beside(old.file.path(), ".tmp");
    fs::create_dir(&draft).unwrap();
    let error = redeem().unwrap_err().to_string();
    assert!(error.ends_with("which stays as it was"), "{error}");
    let other = SecretKey::generate().public();
    let error = deny(&old.fresh(), other).unwrap_err().to_string();
    assert!(error.contains("the denial is in force all the same"), "{error}");
    assert!(old.fresh().load().unwrap().peer(other).unwrap().may_call().is_empty());
    fs::remove_dir(&draft).unwrap();
    assert!(redeem().unwrap().is_ok());
}

#[test]
fn a_used_invitation_cannot_be_opened_again() {
    let old = Old::new();
    let (name, expires) = ("again".parse().unwrap(), Timestamp::now().plus(HOUR));
    let invite =
        |roster: &mut Roster| roster.invite(&old.invitation, name, Api::Fleet.into(), NonZeroU32::MIN, expires);
    let error = crate::report::chain(&old.file.update(invite).unwrap_err());
    assert!(error.contains("was used or revoked before; make a new one"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_ledger_that_root_writes_belongs_to_the_owner_of_the_roster() {
    use std::os::unix::fs::{MetadataExt, chown};
    const OTHER: u32 = 54_321;
    let old = Old::new();
    fs::remove_file(old.file.ledger().path()).unwrap();
    if chown(old.file.path(), Some(OTHER), Some(OTHER)).is_err() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    assert_eq!(fs::metadata(old.folder.path()).unwrap().uid(), 0);
    deny(&old.fresh(), SecretKey::generate().public()).unwrap();
    assert_eq!(fs::metadata(old.file.ledger().path()).unwrap().uid(), OTHER);
}

#[cfg(unix)]
#[test]
fn only_its_owner_reads_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = RosterFile::new(folder.path().join("peers.toml"));
    file.update(add).unwrap().unwrap();
    for path in [file.path(), file.ledger().path()] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
