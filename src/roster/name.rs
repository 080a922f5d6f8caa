//! What a peer is called.

use std::{error::Error, fmt, str::FromStr};

use iroh::EndpointId;

/// Long enough for a site's full name.
const MAX_NAME: usize = 64;

/// A name that an operator gives: 1 to 64 characters, none of them a control character.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name(String);

impl Name {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The same for the peers after the first one, shortened where it would be too long.
    pub(super) fn numbered(&self, number: u32) -> Self {
        let end = format!("-{number}");
        let begin: String = self.0.chars().take(MAX_NAME - end.len()).collect();
        Self(begin + &end)
    }

    /// Whether it is `name` with a number.
    pub(super) fn is_numbered(&self, name: &Self) -> bool {
        let number = self.0.rsplit_once('-').and_then(|(_, number)| number.parse().ok());
        number.is_some_and(|number| name.numbered(number) == *self)
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
        let is_name = !text.is_empty() && text.chars().count() <= MAX_NAME && !text.chars().any(char::is_control);
        // What is an id is never looked for among the names.
        if is_name && text.parse::<EndpointId>().is_err() { Ok(Self(text.to_owned())) } else { Err(InvalidName) }
    }
}

/// A text that cannot be a peer's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidName;

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a name has 1 to {MAX_NAME} characters, no control characters, and is not an endpoint id")
    }
}

impl Error for InvalidName {}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_is_what_was_written_on_one_line(text in prop_oneof!["\\PC{0,70}", ".{0,70}", "[0-9a-f]{64}", "[a-z2-7]{52}"]) {
            let Ok(name) = text.parse::<Name>() else {
                let is_one = (1..=MAX_NAME).contains(&text.chars().count()) && !text.chars().any(char::is_control);
                prop_assert!(!is_one || text.parse::<EndpointId>().is_ok(), "{:?}", text);
                return Ok(());
            };
            prop_assert_eq!(name.to_string(), &*text);
            prop_assert!(!text.is_empty() && text.chars().count() <= MAX_NAME && text.lines().count() == 1);
            prop_assert!(text.parse::<EndpointId>().is_err());
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
