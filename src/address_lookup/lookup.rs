//! Who is asked where a peer is, as it is written on the command line and in the file.

use std::{
    error::Error,
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use url::Url;

/// What DNS is asked for is `_iroh.`, 52 characters of the peer's id, a dot and the origin: 253 characters at most.
const MAX_ORIGIN: usize = 253 - "_iroh.".len() - 52 - 1;
const MAX_LABEL: usize = 63;
const DNS_PORT: u16 = 53;

/// Who is asked where a peer is: `n0`, `mdns`, `dns:ORIGIN`, `dns:ORIGIN@NAMESERVER` or `pkarr:URL`.
///
/// Each is asked for every peer that is dialled, whether a ticket gave an address of it or not, and has 8 s. What it says
/// costs time if it is wrong, and no more: a peer is known by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lookup {
    /// n0's public servers, over HTTPS and over DNS. They learn this machine's address and which peers it dials.
    N0,
    /// The local network, by multicast. Everybody on it learns that this endpoint is there, not whom it dials.
    Mdns,
    /// TXT records below a domain, as `iroh-dns-server` serves them.
    Dns {
        /// The domain.
        origin: String,
        /// Who is asked in the place of the system's nameservers, over UDP, and TCP where the answer is long.
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
            _ => Err(invalid(Problem::NoLookup)),
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
    text.parse().ok().or_else(|| Some((text.parse::<IpAddr>().ok()?, DNS_PORT).into()))
}

/// The URL of a pkarr server, below which the peers' records are.
pub(super) fn pkarr_url(text: &str) -> Option<Url> {
    let is_plain = |url: &Url| {
        let has_user = !url.username().is_empty() || url.password().is_some();
        let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
        is_web && !has_user && url.query().is_none() && url.fragment().is_none()
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

/// A text that names no [`Lookup`].
#[derive(Clone, Debug)]
pub struct InvalidLookup {
    text: String,
    problem: Problem,
}

#[derive(Clone, Copy, Debug)]
enum Problem {
    NoLookup,
    Origin,
    Nameserver,
    Url,
}

impl fmt::Display for InvalidLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.text;
        match self.problem {
            Problem::NoLookup => write!(
                f,
                "{text:?} is no lookup: write n0, mdns, dns:ORIGIN, dns:ORIGIN@NAMESERVER, pkarr:URL, or off alone"
            ),
            Problem::Origin => write!(f, "{text:?}: what follows dns: is no domain of up to {MAX_ORIGIN} characters"),
            Problem::Nameserver => write!(f, "{text:?}: what follows @ is no address; write IP or IP:PORT"),
            Problem::Url => write!(
                f,
                "{text:?}: what follows pkarr: is no https:// or http:// URL without user, query and fragment"
            ),
        }
    }
}

impl Error for InvalidLookup {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_asked() {
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
    fn what_is_no_lookup_says_what_is_one() {
        let (long, label) = (format!("dns:{}a", "a.".repeat(97)), format!("dns:{}", "a".repeat(64)));
        for (text, part) in [
            ("", "write n0, mdns"),
            ("N0", "write n0, mdns"),
            ("off", "off alone"),
            ("https://dns.example.org", "write n0, mdns"),
            ("dns:", "no domain"),
            ("dns:a..b", "no domain"),
            ("dns:a b", "no domain"),
            (&long, "no domain"),
            (&label, "no domain"),
            ("dns:a@here", "IP or IP:PORT"),
            ("pkarr:dns.example.org", "no https://"),
            ("pkarr:ftp://dns.example.org", "no https://"),
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
        fn any_text_is_a_lookup_that_is_written_alike_or_is_refused(text in "(n0|mdns|dns:|pkarr:http://|)[!-~]{0,40}") {
            match text.parse::<Lookup>() {
                Ok(lookup) => prop_assert_eq!(&lookup.to_string().parse::<Lookup>().unwrap(), &lookup),
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}
