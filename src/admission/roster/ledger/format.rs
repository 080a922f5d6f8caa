//! The ledger as TOML.

use serde::{Deserialize, Serialize};

use super::{Denial, Ledger, UsedInvitation};
use crate::{address_lookup::Digest, admission::Timestamp};

const HEAD: &str = "\
# Which peers are denied, and which invitations were used or revoked. This is above the roster beside it, so that an older
# copy of that brings nothing back. `flower-iroh-funnel` writes this file; do not edit it. A denial is undone with
# `flower-iroh-funnel peers allow` or `peers remove`.
";
/// The version of the format. A later release may add fields, which this one ignores; it raises the version if it changes what
/// these fields mean.
const FORMAT: u32 = 1;

#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct Document {
    format: u32,
    /// How many denials and invitations follow, so that a file that was cut is recognised.
    entries: usize,
    #[serde(default, rename = "denial", skip_serializing_if = "Vec::is_empty")]
    denials: Vec<Denied>,
    #[serde(default, rename = "invitation", skip_serializing_if = "Vec::is_empty")]
    invitations: Vec<Used>,
}

#[derive(Serialize, Deserialize)]
struct Denied {
    id: String,
    since: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lifted: Option<Timestamp>,
    revision: u64,
}

#[derive(Serialize, Deserialize)]
struct Used {
    sha256: Digest,
    /// How many more peers may use it.
    uses: u32,
    expires: Timestamp,
}

/// Writes the ledger as the text of its file.
pub(crate) fn write(ledger: &Ledger) -> String {
    let denials = ledger.denials.iter().map(|(id, denial)| Denied {
        id: id.to_string(),
        since: denial.since,
        lifted: denial.lifted,
        revision: denial.revision,
    });
    let invitations =
        ledger.invitations.values().map(|used| Used { sha256: used.digest, uses: used.left, expires: used.expires });
    let document = Document {
        format: FORMAT,
        entries: ledger.denials.len() + ledger.invitations.len(),
        denials: denials.collect(),
        invitations: invitations.collect(),
    };
    let text = toml::to_string(&document).expect("texts, numbers up to the highest of TOML and lists are TOML");
    format!("{HEAD}\n{text}")
}

/// Reads the text of the file.
///
/// # Errors
/// What is wrong, and where.
pub(crate) fn read(text: &str) -> Result<Ledger, String> {
    let Versioned { format } = toml::from_str(text).map_err(|error| error.to_string())?;
    if format != FORMAT {
        return Err(format!(
            "its format is {format}, and this release reads {FORMAT}: it was written by a newer release"
        ));
    }
    let document: Document = toml::from_str(text).map_err(|error| error.to_string())?;
    let found = document.denials.len() + document.invitations.len();
    if found != document.entries {
        return Err(format!("it has {found} entries instead of {}: something was cut from it", document.entries));
    }
    let mut ledger = Ledger::default();
    for Denied { id, since, lifted, revision } in document.denials {
        let id = id.parse().map_err(|_| format!("{id:?} is not a valid endpoint id (64 hexadecimal digits)"))?;
        ledger.put_denial(id, Denial { revision, since, lifted });
    }
    for Used { sha256, uses, expires } in document.invitations {
        ledger.put_invitation(UsedInvitation { digest: sha256, left: uses, expires });
    }
    Ok(ledger)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1962a363c221a41f34d548d31ac4b1df59ffc509297605842eb642a000922e55";

    #[test]
    fn a_field_of_a_later_release_is_ignored_and_a_later_format_is_refused() {
        let denial = format!("[[denial]]\nid = \"{ID}\"\nsince = \"2026-01-31T12:00:00Z\"\nrevision = 7\n");
        let text = format!("format = 1\nentries = 1\ncolour = \"red\"\n{denial}reason = \"stolen\"\n");
        assert!(read(&text).unwrap().denies(ID.parse().unwrap()));
        let error = read("format = 2\ndenials = 1\n").unwrap_err();
        assert!(error.contains("newer release"), "{error}");
    }

    #[test]
    fn a_damage_is_reported() {
        for (text, reason) in [
            ("", "missing field `format`"),
            ("format = 1\nentries = 1\n", "0 entries instead of 1"),
            ("format = 1\nentries = 0\n[[denial]]\nid = \"x\"\n", "missing field"),
            (
                "format = 1\nentries = 1\n[[denial]]\nid = \"x\"\nsince = \"2026-01-31T12:00:00Z\"\nrevision = 1\n",
                "\"x\" is not a valid endpoint id",
            ),
            ("format", "expected"),
        ] {
            let error = read(text).unwrap_err();
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

    fn ledger() -> impl Strategy<Value = Ledger> {
        let seconds = 0..300_000_000_000u64;
        let denial = (0..4u8, 0..6u64, seconds.clone(), prop::option::of(seconds.clone()));
        let used = (0..4u8, any::<u32>(), seconds);
        let at = |seconds| Timestamp::now().plus(Duration::from_secs(seconds));
        (vec(denial, 0..6), vec(used, 0..6)).prop_map(move |(denials, invitations)| {
            let mut ledger = Ledger::default();
            for (seed, revision, since, lifted) in denials {
                let id = SecretKey::from_bytes(&[seed; 32]).public();
                let revision = revision * (super::super::MAX_REVISION / 5);
                ledger.put_denial(id, Denial { revision, since: at(since), lifted: lifted.map(at) });
            }
            for (seed, left, expires) in invitations {
                let digest = crate::address_lookup::Secret::from([seed; 32]).digest();
                ledger.put_invitation(UsedInvitation { digest, left, expires: at(expires) });
            }
            ledger
        })
    }

    fn merged(one: &Ledger, other: &Ledger) -> Ledger {
        let mut merged = one.clone();
        merged.merge(other);
        merged
    }

    proptest! {
        #[test]
        fn a_ledger_is_read_as_it_was_written(ledger in ledger()) {
            let text = write(&ledger);
            prop_assert_eq!(read(&text).unwrap(), ledger);
        }

        #[test]
        fn a_ledger_that_was_cut_is_refused_or_complete(ledger in ledger(), at in any::<prop::sample::Index>()) {
            let text: Vec<_> = write(&ledger).chars().collect();
            let cut: String = text[..at.index(text.len())].iter().collect();
            match read(&cut) {
                // Without the last line break, or the last digits of a number.
                Ok(read) => prop_assert!(read.denials.keys().eq(ledger.denials.keys()) && read.invitations.len() == ledger.invitations.len()),
                Err(reason) => prop_assert!(!reason.is_empty()),
            }
        }

        #[test]
        fn a_ledger_with_a_letter_changed_is_refused_or_stands_for_itself(
            ledger in ledger(),
            at in any::<prop::sample::Index>(),
            letter in any::<char>(),
        ) {
            let mut text: Vec<_> = write(&ledger).chars().collect();
            let at = at.index(text.len());
            text[at] = letter;
            match read(&text.into_iter().collect::<String>()) {
                Ok(other) => prop_assert_eq!(read(&write(&other)).unwrap(), other),
                Err(reason) => prop_assert!(!reason.is_empty()),
            }
        }

        #[test]
        fn copies_merge_to_the_same_in_any_order(one in ledger(), other in ledger(), third in ledger()) {
            prop_assert_eq!(merged(&one, &other), merged(&other, &one));
            prop_assert_eq!(merged(&merged(&one, &other), &third), merged(&one, &merged(&other, &third)));
            prop_assert!(merged(&one, &other).covers(&one) && merged(&one, &one) == one);
        }
    }
}
