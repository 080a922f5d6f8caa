//! The roster as TOML.

use std::{collections::HashSet, hash::Hash, num::NonZeroU32};

use serde::{Deserialize, Serialize};

use super::{Member, Pending, Roster, Standing};
use crate::{
    address_lookup::Digest,
    admission::Timestamp,
    protocol::{Api, ApiSet},
};

const HEAD: &str = "\
# Who may reach this funnel. `flower-iroh-funnel peers` and `invite` write this file; it may be edited as well, and a
# running funnel follows within a second. Comments are not kept.
";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default, rename = "peer", skip_serializing_if = "Vec::is_empty")]
    peers: Vec<Peer>,
    #[serde(default, rename = "invitation", skip_serializing_if = "Vec::is_empty")]
    invitations: Vec<Invitation>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Peer {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    id: String,
    #[serde(default = "allowed")]
    standing: String,
    #[serde(default = "fleet")]
    apis: Vec<String>,
    #[serde(default = "Timestamp::now")]
    since: Timestamp,
    /// The `sha256` of the invitation with which it enrolled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    invitation: Option<Digest>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Invitation {
    name: String,
    apis: Vec<String>,
    uses: NonZeroU32,
    expires: Timestamp,
    /// The digest of the secret, which itself is not stored.
    sha256: Digest,
}

fn allowed() -> String {
    Standing::Allowed.name().to_owned()
}

fn fleet() -> Vec<String> {
    vec![Api::Fleet.name().to_owned()]
}

/// Writes the roster as the text of its file.
pub(crate) fn write(roster: &Roster) -> String {
    let document = Document {
        peers: roster.peers.iter().map(Peer::of).collect(),
        invitations: roster.invitations.iter().map(Invitation::of).collect(),
    };
    let text = toml::to_string(&document).expect("texts, numbers and lists are TOML");
    format!("{HEAD}\n{text}")
}

/// Reads the text of the file.
///
/// # Errors
/// What is wrong, where, and what would be valid.
pub(crate) fn read(text: &str) -> Result<Roster, String> {
    let document: Document = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut roster = Roster {
        peers: document.peers.into_iter().map(Peer::read).collect::<Result<_, _>>()?,
        invitations: document.invitations.into_iter().map(Invitation::read).collect::<Result<_, _>>()?,
    };
    check_unique(&roster)?;
    roster.forget_gone_invitations();
    Ok(roster)
}

impl Peer {
    fn of(member: &Member) -> Self {
        Self {
            name: member.name.as_ref().map(ToString::to_string),
            id: member.id.to_string(),
            standing: member.standing.name().to_owned(),
            apis: names(member.apis),
            since: member.since,
            invitation: member.invitation,
        }
    }

    fn read(self) -> Result<Member, String> {
        let wrong = |problem: String| format!("the peer {}: {problem}", self.name.as_ref().unwrap_or(&self.id));
        let standing = [Standing::Allowed, Standing::Denied].into_iter().find(|known| known.name() == self.standing);
        Ok(Member {
            id: self
                .id
                .parse()
                .map_err(|_| wrong("its id is not a valid endpoint id (64 hexadecimal digits)".to_owned()))?,
            name: self.name.as_deref().map(str::parse).transpose().map_err(|error| wrong(format!("{error}")))?,
            standing: standing.ok_or_else(|| wrong("its standing must be \"allowed\" or \"denied\"".to_owned()))?,
            apis: apis(&self.apis).map_err(wrong)?,
            since: self.since,
            invitation: self.invitation,
        })
    }
}

impl Invitation {
    fn of(pending: &Pending) -> Self {
        Self {
            name: pending.name.to_string(),
            apis: names(pending.apis),
            uses: pending.uses,
            expires: pending.expires,
            sha256: pending.secret,
        }
    }

    fn read(self) -> Result<Pending, String> {
        let wrong = |problem: String| format!("the invitation {}: {problem}", self.name);
        Ok(Pending {
            name: self.name.parse().map_err(|error| wrong(format!("{error}")))?,
            apis: apis(&self.apis).map_err(wrong)?,
            uses: self.uses,
            expires: self.expires,
            secret: self.sha256,
        })
    }
}

fn names(apis: ApiSet) -> Vec<String> {
    apis.iter().map(|api| api.name().to_owned()).collect()
}

fn apis(names: &[String]) -> Result<ApiSet, String> {
    names.iter().map(|name| name.parse::<Api>().map_err(|error| error.to_string())).collect()
}

fn check_unique(roster: &Roster) -> Result<(), String> {
    if let Some(id) = twice(roster.peers.iter().map(|peer| peer.id)) {
        return Err(format!("the peer {id} is listed twice"));
    }
    if let Some(name) = twice(roster.peers.iter().filter_map(|peer| peer.name.as_ref())) {
        return Err(format!("two peers have the name {name}"));
    }
    // The first peer that used an invitation has its name, while uses are left.
    match twice(roster.invitations.iter().map(|pending| &pending.name)) {
        Some(name) => Err(format!("two invitations have the name {name}")),
        None => Ok(()),
    }
}

fn twice<T: Eq + Hash + Copy>(all: impl IntoIterator<Item = T>) -> Option<T> {
    let mut seen = HashSet::new();
    all.into_iter().find(|one| !seen.insert(*one))
}

#[cfg(test)]
mod tests {
    use iroh::SecretKey;

    use super::*;

    #[test]
    fn a_roster_is_read_as_it_was_written() {
        let mut roster = Roster::default();
        assert_eq!(read(&write(&roster)).unwrap(), roster);
        let (site, stranger) = (SecretKey::generate().public(), SecretKey::generate().public());
        let both = [Api::Fleet, Api::Control].into_iter().collect();
        roster.allow(site, Some("st. mary's".parse().unwrap()), both).unwrap();
        roster.deny(stranger);
        let (invitation, uses) = (crate::address_lookup::Invitation::new(site.into()), NonZeroU32::new(3).unwrap());
        roster.invite(&invitation, "charité".parse().unwrap(), both, uses, Timestamp::now()).unwrap();
        assert_eq!(read(&write(&roster)).unwrap(), roster);
    }

    #[test]
    fn a_line_by_hand_is_enough() {
        let site = SecretKey::generate().public();
        let roster = read(&format!("[[peer]]\nid = \"{site}\"\n")).unwrap();
        assert_eq!(roster.peer(site).unwrap().may_call(), Api::Fleet.into());
    }

    #[test]
    fn a_mistake_is_reported_with_its_place() {
        let (id, other) = (SecretKey::generate().public(), SecretKey::generate().public());
        for (text, reason) in [
            ("peer = 1".to_owned(), "invalid type"),
            ("colour = 1".to_owned(), "unknown field"),
            ("[[peer]]\nid = \"x\"\nname = \"site\"".to_owned(), "the peer site: its id"),
            (format!("[[peer]]\nid = \"{id}\"\napis = [\"simulation\"]"), "\"simulation\" is not a Flower API"),
            (format!("[[peer]]\nid = \"{id}\"\nstanding = \"maybe\""), "\"allowed\" or \"denied\""),
            (format!("[[peer]]\nid = \"{id}\"\nsince = \"today\""), "2026-01-31T12:00:00Z"),
            (format!("[[peer]]\nid = \"{id}\"\n[[peer]]\nid = \"{id}\""), "twice"),
            (format!("[[peer]]\nname = \"a\"\nid = \"{id}\"\n[[peer]]\nname = \"a\"\nid = \"{other}\""), "two peers"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}

#[cfg(test)]
mod properties {
    use std::time::Duration;

    use iroh::SecretKey;
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Rosters as operators and enrolments make them, with names, grants and times of any kind.
    fn roster() -> impl Strategy<Value = Roster> {
        let apis = vec(0..Api::ALL.len(), 0..4)
            .prop_map(|places| places.into_iter().map(|place| Api::ALL[place]).collect::<ApiSet>());
        let name = prop_oneof!["\\PC{1,12}", "site(-[2-4])?"];
        let step = (0..5u8, any::<[u8; 32]>(), name, apis, 1..9u32, 0..300_000_000_000u64);
        vec(step, 0..9).prop_map(|steps| {
            let (mut roster, mut secrets) = (Roster::default(), Vec::new());
            for (kind, seed, name, apis, uses, seconds) in steps {
                let Ok(name) = name.parse() else { continue };
                let id = SecretKey::from_bytes(&seed).public();
                let expires = Timestamp::now().plus(Duration::from_secs(seconds));
                let invitation = crate::address_lookup::Invitation::new(id.into());
                // A name that is taken, or an invitation that has expired, changes nothing.
                let _ = match kind {
                    0 => roster.allow(id, Some(name), apis),
                    1 => {
                        secrets.push(invitation.secret().clone());
                        roster.invite(&invitation, name, apis, NonZeroU32::new(uses).unwrap(), expires)
                    }
                    2 => {
                        roster.deny(id);
                        Ok(())
                    }
                    _ => {
                        for secret in &secrets {
                            let _ = roster.redeem(id, secret, Timestamp::now());
                        }
                        Ok(())
                    }
                };
            }
            roster
        })
    }

    proptest! {
        #[test]
        fn a_roster_is_read_as_it_was_written_and_written_as_it_was_read(roster in roster()) {
            let text = write(&roster);
            let again = read(&text).unwrap();
            prop_assert_eq!(&again, &roster);
            prop_assert_eq!(write(&again), text);
        }

        #[test]
        fn a_roster_cut_or_changed_anywhere_is_refused_or_stands_for_itself(
            roster in roster(),
            at in any::<prop::sample::Index>(),
            letter in prop::option::of(any::<char>()),
        ) {
            let mut text: Vec<_> = write(&roster).chars().collect();
            let at = at.index(text.len());
            match letter {
                Some(letter) => text[at] = letter,
                None => text.truncate(at),
            }
            let text: String = text.into_iter().collect();
            match read(&text) {
                Ok(other) => prop_assert_eq!(read(&write(&other)).unwrap(), other),
                Err(reason) => prop_assert!(!reason.is_empty()),
            }
        }
    }
}
