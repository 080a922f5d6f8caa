//! Lookup services, as written on the command line and in the file.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use url::Url;

/// The longest origin: a DNS name has at most 253 characters, here `_iroh.`, 52 for the peer's id, a dot and the origin.
const MAX_ORIGIN: usize = 253 - "_iroh.".len() - 52 - 1;
const MAX_LABEL: usize = 63;
const DNS_PORT: u16 = 53;

/// An address lookup service: `n0`, `mdns`, `dns:ORIGIN`, `dns:ORIGIN@NAMESERVER` or `pkarr:URL`.
///
/// Each is asked for every peer that is dialled, whether a ticket gave an address or not, and has 8 s to answer. A wrong
/// answer costs time and nothing else, since a peer is identified by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lookup {
    /// n0's public servers, over HTTPS and over DNS. They learn this machine's address and which peers it dials.
    N0,
    /// The local network, by multicast. Its other machines learn that this endpoint exists, but not which peers it dials.
    Mdns,
    /// TXT records below a domain, as `iroh-dns-server` serves them.
    Dns {
        /// The domain.
        origin: String,
        /// The nameserver to ask instead of the system's, over UDP, or over TCP if the answer is long.
        nameserver: Option<SocketAddr>,
    },
    /// A pkarr server, over HTTP. Its records are signed by the peers themselves.
    Pkarr(Url),
}

impl FromStr for Lookup {
    type Err = InvalidLookup;

    fn from_str(text: &str) -> Result<Self, InvalidLookup> {
        let invalid = |problem| InvalidLookup { text: text.to_owned(), problem };
        match text.split_once(':') {
            None if text == "n0" => Ok(Self::N0),
            None if text == "mdns" => Ok(Self::Mdns),
            Some(("dns", domain)) => dns(domain).map_err(invalid),
            Some(("pkarr", url)) => pkarr_url(url).map(Self::Pkarr).ok_or_else(|| invalid(Problem::Url)),
            _ => Err(invalid(Problem::Kind)),
        }
    }
}

fn dns(text: &str) -> Result<Lookup, Problem> {
    let (origin, nameserver) = match text.split_once('@') {
        Some((origin, nameserver)) => (origin, Some(parse_nameserver(nameserver).ok_or(Problem::Nameserver)?)),
        None => (text, None),
    };
    let origin = origin.strip_suffix('.').unwrap_or(origin);
    let is_label = |label: &str| {
        let is_plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        is_plain && !label.is_empty() && label.len() <= MAX_LABEL
    };
    if origin.len() > MAX_ORIGIN || !origin.split('.').all(is_label) {
        return Err(Problem::Origin);
    }
    Ok(Lookup::Dns { origin: origin.to_owned(), nameserver })
}

fn parse_nameserver(text: &str) -> Option<SocketAddr> {
    let addr = text.parse().ok().or_else(|| Some((text.parse::<IpAddr>().ok()?, DNS_PORT).into()));
    addr.filter(|addr: &SocketAddr| addr.port() != 0)
}

/// Parses the URL of a pkarr server, below which the peers' records are.
pub(super) fn pkarr_url(text: &str) -> Option<Url> {
    let is_plain = |url: &Url| {
        let has_user = !url.username().is_empty() || url.password().is_some();
        let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
        is_web && !has_user && url.port() != Some(0) && url.query().is_none() && url.fragment().is_none()
    };
    text.parse().ok().filter(is_plain)
}

impl fmt::Display for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::N0 => f.write_str("n0"),
            Self::Mdns => f.write_str("mdns"),
            Self::Dns { origin, nameserver: None } => write!(f, "dns:{origin}"),
            Self::Dns { origin, nameserver: Some(nameserver) } => write!(f, "dns:{origin}@{nameserver}"),
            Self::Pkarr(url) => write!(f, "pkarr:{url}"),
        }
    }
}

/// A text that is not a valid [`Lookup`].
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text:?}{problem}")]
pub struct InvalidLookup {
    text: String,
    problem: Problem,
}

#[derive(Clone, Copy, Debug, thiserror::Error)]
enum Problem {
    #[error(
        " is not a valid lookup: write n0, mdns, dns:ORIGIN, dns:ORIGIN@NAMESERVER, pkarr:URL, or off as the only one"
    )]
    Kind,
    #[error(": after dns: there must be a domain of up to {MAX_ORIGIN} characters")]
    Origin,
    #[error(": after @ there must be an address, IP or IP:PORT")]
    Nameserver,
    #[error(": after pkarr: there must be an https:// or http:// URL without user, query and fragment")]
    Url,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lookup_is_printed_as_it_is_written() {
        for text in [
            "n0",
            "mdns",
            "dns:iroh.example.org",
            "dns:iroh.example.org@10.0.0.53:5300",
            "dns:lan@[::1]:53",
            "pkarr:https://dns.example.org/pkarr",
        ] {
            assert_eq!(text.parse::<Lookup>().unwrap().to_string(), text);
        }
        let with_defaults: Lookup = "dns:iroh.example.org.@10.0.0.53".parse().unwrap();
        assert_eq!(with_defaults.to_string(), "dns:iroh.example.org@10.0.0.53:53");
    }

    #[test]
    fn the_error_of_an_invalid_lookup_says_what_is_valid() {
        let (long, label) = (format!("dns:{}a", "a.".repeat(97)), format!("dns:{}", "a".repeat(64)));
        for (text, part) in [
            ("", "write n0, mdns"),
            ("N0", "write n0, mdns"),
            ("off", "off as the only one"),
            ("https://dns.example.org", "write n0, mdns"),
            ("dns:", "there must be a domain"),
            ("dns:a..b", "there must be a domain"),
            ("dns:a b", "there must be a domain"),
            (&long, "there must be a domain"),
            (&label, "there must be a domain"),
            ("dns:a@here", "IP or IP:PORT"),
            ("pkarr:dns.example.org", "there must be an https://"),
            ("pkarr:ftp://dns.example.org", "there must be an https://"),
            ("pkarr:https://me@dns.example.org", "without user"),
            ("pkarr:https://dns.example.org/?peer=", "without user"),
        ] {
            let error = text.parse::<Lookup>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(long.strip_suffix(".a").unwrap().parse::<Lookup>().is_ok());
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_a_lookup_that_is_printed_alike_or_is_refused(text in "(n0|mdns|dns:|pkarr:http://|)[!-~]{0,40}") {
            match text.parse::<Lookup>() {
                Ok(lookup) => prop_assert_eq!(&lookup.to_string().parse::<Lookup>().unwrap(), &lookup),
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}
