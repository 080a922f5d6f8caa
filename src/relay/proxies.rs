//! The proxies in front of a relay that are trusted to say where a connection comes from.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;

/// The addresses and networks of trusted proxies: `10.0.0.5`, or `10.0.0.0/24,fd00::/64`. Default: none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Adds others.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|net| net.contains(&ip))
    }
}

impl FromStr for TrustedProxies {
    type Err = InvalidTrustedProxies;

    fn from_str(text: &str) -> Result<Self, InvalidTrustedProxies> {
        text.split(',').map(|part| parse(part.trim())).collect::<Result<_, _>>().map(Self)
    }
}

fn parse(text: &str) -> Result<IpNet, InvalidTrustedProxies> {
    let invalid = |problem| InvalidTrustedProxies { text: text.to_owned(), problem };
    let net = match text.parse::<IpAddr>() {
        Ok(ip) => IpNet::from(ip.to_canonical()),
        Err(_) => text.parse().map_err(|_| invalid(Problem::NotAnAddress))?,
    };
    if net.prefix_len() == 0 { Err(invalid(Problem::Everybody)) } else { Ok(net) }
}

/// A text that is not a valid [`TrustedProxies`].
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text:?} {problem}")]
pub struct InvalidTrustedProxies {
    text: String,
    problem: Problem,
}

#[derive(Clone, Copy, Debug)]
enum Problem {
    NotAnAddress,
    Everybody,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAnAddress => "is not an IP address or a network such as 10.0.0.0/24",
            Self::Everybody => "is every address: anybody could claim to be anybody; name the proxies",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_are_trusted_and_no_others() {
        let proxies: TrustedProxies = "10.0.0.5, 192.0.2.0/24,2001:db8::/32".parse().unwrap();
        for ip in ["10.0.0.5", "::ffff:10.0.0.5", "192.0.2.77", "2001:db8:9::1"] {
            assert!(proxies.contains(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["10.0.0.6", "192.0.3.1", "2001:db9::1"] {
            assert!(!proxies.contains(ip.parse().unwrap()), "{ip}");
        }
        assert!(!TrustedProxies::default().contains("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_mistake_is_explained() {
        for text in ["", "proxy.example", "10.0.0.0/33", "10.0.0.5,"] {
            let error = text.parse::<TrustedProxies>().unwrap_err().to_string();
            assert!(error.contains("is not an IP address"), "{error}");
        }
        for text in ["0.0.0.0/0", "10.0.0.5,::/0"] {
            let error = text.parse::<TrustedProxies>().unwrap_err().to_string();
            assert!(error.contains("is every address"), "{error}");
        }
    }
}
