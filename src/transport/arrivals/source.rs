//! Where a connection comes from, for limits that are shared out by address.

use std::net::{IpAddr, Ipv4Addr};

use iroh::{
    EndpointId, RelayUrl, TransportAddr,
    endpoint::{Connection, IncomingAddr},
};

use super::super::Path;

/// The source of a connection that is not authenticated yet.
///
/// Limits are shared out by IPv4 address, by IPv6 network of 64 bits, which one host can have alone, and by relay. Behind one
/// relay, they are shared out by endpoint id, which the relay has authenticated.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source {
    share: Share,
    member: Option<EndpointId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Share {
    V4(Ipv4Addr),
    /// The first 64 bits.
    V6(u64),
    Relay(RelayUrl),
    /// Not known, or of another kind.
    Other,
}

impl Source {
    /// Returns the source of an authenticated connection, by the path that it uses.
    #[cfg_attr(not(feature = "funnel"), allow(dead_code, reason = "the transport limits what has no path yet"))]
    pub(crate) fn of(connection: &Connection) -> Self {
        match Path::of(connection).map(|path| path.remote) {
            Some(TransportAddr::Ip(addr)) => addr.ip().into(),
            Some(TransportAddr::Relay(url)) => Self { share: Share::Relay(url), member: Some(connection.remote_id()) },
            _ => Share::Other.into(),
        }
    }

    /// Returns the source that this one shares with the others of its address.
    pub(crate) fn shared(&self) -> Self {
        self.share.clone().into()
    }
}

impl From<Share> for Source {
    fn from(share: Share) -> Self {
        Self { share, member: None }
    }
}

impl From<IpAddr> for Source {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Share::V4(ip).into(),
            IpAddr::V6(ip) => Share::V6((ip.to_bits() >> 64) as u64).into(),
        }
    }
}

impl From<IncomingAddr> for Source {
    fn from(addr: IncomingAddr) -> Self {
        match addr {
            IncomingAddr::Ip(addr) => addr.ip().into(),
            IncomingAddr::Relay { url, endpoint_id } => Self { share: Share::Relay(url), member: Some(endpoint_id) },
            _ => Share::Other.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use iroh::SecretKey;

    use super::*;

    fn of(ip: &str) -> Source {
        ip.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn an_ipv4_address_and_an_ipv6_network_of_64_bits_are_one_source() {
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    }

    #[test]
    fn peers_behind_one_relay_have_one_share() {
        let relayed = |url: &str| {
            let (url, endpoint_id) = (url.parse().unwrap(), SecretKey::generate().public());
            Source::from(IncomingAddr::Relay { url, endpoint_id })
        };
        let (one, two) = (relayed("https://a.example"), relayed("https://a.example"));
        assert_ne!(one, two);
        assert_eq!(one.shared(), two.shared());
        assert_ne!(one.shared(), relayed("https://b.example").shared());
    }
}
