//! Targets to publish this endpoint's address at, as written on the command line and in the file.

use std::{fmt, str::FromStr};

use iroh::address_lookup::AddrFilter;
use url::Url;

use super::lookup::pkarr_url;

/// The option after a target that publishes more than the relay.
const ADDRESSES: &str = "addresses";

/// A target to publish this endpoint's address at, and how much of it: `n0` or `pkarr:URL`, with `,addresses` after it for
/// more than the relay, or `mdns`.
///
/// A publication that fails is retried for as long as the funnel runs, which works without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    pub(super) target: PublishTarget,
    pub(super) published: Published,
}

/// A target to publish at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishTarget {
    /// n0's public server: anybody who knows the id can ask it.
    N0,
    /// The local network, by multicast: all its machines receive the address.
    Mdns,
    /// A pkarr server, for example an `iroh-dns-server`: anybody who knows the id can ask it.
    Pkarr(Url),
}

/// How much is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The URL of the home relay.
    Relay,
    /// The relay, and the direct addresses: those of this machine's interfaces, and that of its router if a relay reported it.
    Addresses,
}

impl Publication {
    /// Publishes at `target`: only the relay, but on the local network the addresses too.
    pub fn new(target: PublishTarget) -> Self {
        let published = if target == PublishTarget::Mdns { Published::Addresses } else { Published::Relay };
        Self { target, published }
    }

    /// Publishes the direct addresses too.
    #[must_use]
    pub fn with_addresses(self) -> Self {
        Self { published: Published::Addresses, ..self }
    }

    /// Returns the target.
    pub fn target(&self) -> &PublishTarget {
        &self.target
    }

    /// Returns how much is published.
    pub fn published(&self) -> Published {
        self.published
    }

    pub(super) fn filter(&self) -> AddrFilter {
        match self.published {
            Published::Relay => AddrFilter::relay_only(),
            Published::Addresses => AddrFilter::unfiltered(),
        }
    }
}

impl FromStr for Publication {
    type Err = InvalidPublication;

    fn from_str(text: &str) -> Result<Self, InvalidPublication> {
        let (target, rest) = match text.split_once(',') {
            Some((target, rest)) => (target, Some(rest)),
            None => (text, None),
        };
        let target = match target.split_once(':') {
            None if target == "n0" => Some(PublishTarget::N0),
            None if target == "mdns" => Some(PublishTarget::Mdns),
            Some(("pkarr", url)) => pkarr_url(url).map(PublishTarget::Pkarr),
            _ => None,
        };
        match (target, rest) {
            (Some(target), None) => Ok(Self::new(target)),
            (Some(target), Some(ADDRESSES)) => Ok(Self::new(target).with_addresses()),
            _ => Err(InvalidPublication(text.to_owned())),
        }
    }
}

impl fmt::Display for Publication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.target, self.published) {
            (PublishTarget::Mdns, _) => f.write_str("mdns"),
            (target, Published::Relay) => write!(f, "{target}"),
            (target, Published::Addresses) => write!(f, "{target},{ADDRESSES}"),
        }
    }
}

impl fmt::Display for PublishTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::N0 => f.write_str("n0"),
            Self::Mdns => f.write_str("mdns"),
            Self::Pkarr(url) => write!(f, "pkarr:{url}"),
        }
    }
}

/// A text that is not a valid [`Publication`].
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "{0:?} is not a valid target to publish at: write n0 or pkarr:URL for the relay's URL, {ADDRESSES} after a comma for the \
     direct addresses too, mdns, or off as the only one"
)]
pub struct InvalidPublication(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_published_only_where_the_option_says_so() {
        for (text, published) in [
            ("n0", Published::Relay),
            ("n0,addresses", Published::Addresses),
            ("mdns", Published::Addresses),
            ("pkarr:https://dns.example.org/pkarr", Published::Relay),
            ("pkarr:https://dns.example.org/pkarr,addresses", Published::Addresses),
        ] {
            let publication: Publication = text.parse().unwrap();
            assert_eq!((publication.published(), publication.to_string().as_str()), (published, text));
        }
    }

    #[test]
    fn the_error_of_an_invalid_target_says_what_is_valid() {
        for text in ["", "off", "dns:example.org", "n0,all", "n0,", "pkarr:example.org", "https://example.org"] {
            let error = text.parse::<Publication>().unwrap_err().to_string();
            assert!(error.contains("write n0 or pkarr:URL"), "{error}");
        }
    }
}
