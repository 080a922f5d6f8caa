//! Names of peers.

use std::{fmt, str::FromStr};

use iroh_tickets::{Ticket, endpoint::EndpointTicket};

use crate::address_lookup::{Invitation, is_file, parse_peer};

/// The longest name, in characters: enough for a site's full name.
const MAX_NAME: usize = 64;

/// A name that an operator gives a peer: 1 to 64 characters without control characters, and no space around it.
///
/// It cannot be confused with another way to write a peer: it is not an endpoint id, and does not begin as a ticket, an
/// invitation or a file's name does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name(String);

impl Name {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns this name with a number, for a further peer of one invitation; shortened if it would be too long.
    pub(super) fn numbered(&self, number: u32) -> Self {
        let end = format!("-{number}");
        let begin: String = self.0.chars().take(MAX_NAME - end.len()).collect();
        Self(begin + &end)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if is_text(text) && !is_other_form_of_peer(text) { Ok(Self(text.to_owned())) } else { Err(InvalidName) }
    }
}

fn is_text(text: &str) -> bool {
    let is_short = (1..=MAX_NAME).contains(&text.chars().count());
    is_short && text.trim() == text && !text.chars().any(char::is_control)
}

/// Whether the text is another way to write a peer, which is never looked up as a name.
fn is_other_form_of_peer(text: &str) -> bool {
    let begins = [EndpointTicket::KIND, Invitation::KIND].iter().any(|kind| text.starts_with(kind));
    begins || is_file(text) || parse_peer(text).is_ok()
}

/// A text that is not a valid name of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a name has 1 to {MAX_NAME} characters, no control characters and no space around it, is not an endpoint id, and does \
     not begin with @, {} or {}",
    EndpointTicket::KIND,
    Invitation::KIND
)]
pub struct InvalidName;

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_is_what_was_written_on_one_line_and_stands_for_no_peer_in_itself(
            text in prop_oneof!["\\PC{0,70}", ".{0,70}", "(@|endpoint|invite)?[a-z ]{0,4}", "[0-9a-f]{64}", "[a-z2-7]{52}"],
        ) {
            let dialled = parse_peer(&text);
            let may_be_dialled = dialled.as_ref().is_err_and(|error| error.may_be_name() && error.text() == text);
            let Ok(name) = text.parse::<Name>() else {
                prop_assert!(!is_text(&text) || !may_be_dialled, "{:?}", text);
                return Ok(());
            };
            prop_assert_eq!(name.to_string(), &*text);
            prop_assert!(!text.is_empty() && text.chars().count() <= MAX_NAME && text.lines().count() == 1);
            prop_assert!(may_be_dialled, "{:?}", dialled);
        }

        #[test]
        fn a_numbered_name_is_a_name_and_another_one(text in "\\PC{1,64}", number in 2..u32::MAX) {
            let Ok(name) = text.parse::<Name>() else { return Ok(()) };
            let [one, other] = [number, number + 1].map(|number| name.numbered(number));
            prop_assert_eq!(&one.to_string().parse::<Name>().unwrap(), &one);
            let end = format!("-{number}");
            prop_assert!(one != other && one.to_string().ends_with(&end));
        }
    }
}
