//! The rights that a peer is granted, in one grammar for the command line and the file.

use std::str::FromStr;

use iroh::EndpointId;

use crate::protocol::{Api, ApiSet, UnknownApi};

/// The name of pass-through among the names of APIs.
const PASSTHROUGH: &str = "passthrough";

/// A peer and what it is granted: `ID` for the Fleet API, or `ID=fleet,control,passthrough`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    pub(super) peer: EndpointId,
    pub(super) rights: Rights,
}

/// The APIs that a peer may call, and whether it may use pass-through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rights {
    pub(super) apis: ApiSet,
    pub(super) passthrough: bool,
}

/// One right: an API, or pass-through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    Api(Api),
    Passthrough,
}

/// A text that is not a valid grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct InvalidGrant(#[from] Problem);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("not an endpoint id; use the one that `flower-iroh-funnel id` prints on the other side")]
    Peer,
    #[error(transparent)]
    Api(UnknownApi),
}

impl FromStr for Grant {
    type Err = InvalidGrant;

    fn from_str(text: &str) -> Result<Self, InvalidGrant> {
        let (peer, names) = text.split_once('=').unwrap_or((text, Api::Fleet.name()));
        let rights = names.split(',').map(str::parse).collect::<Result<_, _>>().map_err(Problem::Api)?;
        Ok(Self { peer: peer.parse().map_err(|_| Problem::Peer)?, rights })
    }
}

impl FromStr for Right {
    type Err = UnknownApi;

    fn from_str(text: &str) -> Result<Self, UnknownApi> {
        if text == PASSTHROUGH { Ok(Self::Passthrough) } else { text.parse().map(Self::Api) }
    }
}

impl FromIterator<Right> for Rights {
    fn from_iter<T: IntoIterator<Item = Right>>(rights: T) -> Self {
        rights.into_iter().fold(Self::default(), |all, right| match right {
            Right::Api(api) => Self { apis: all.apis.union(api.into()), ..all },
            Right::Passthrough => Self { passthrough: true, ..all },
        })
    }
}

#[cfg(test)]
mod tests {
    use iroh::SecretKey;

    use super::*;

    #[test]
    fn a_grant_names_a_peer_and_its_rights() {
        let peer = SecretKey::generate().public();
        let rights = |text: String| text.parse::<Grant>().map(|grant| (grant.peer, grant.rights));
        let fleet = Rights { apis: Api::Fleet.into(), passthrough: false };
        assert_eq!(rights(peer.to_string()), Ok((peer, fleet)));
        assert_eq!(rights(format!("{peer}=fleet")), Ok((peer, fleet)));
        let all = Rights { apis: [Api::Fleet, Api::Control].into_iter().collect(), passthrough: true };
        assert_eq!(rights(format!("{peer}=control,passthrough,fleet")), Ok((peer, all)));
        for text in ["", "st-mary", "=fleet"] {
            assert_eq!(text.parse::<Grant>(), Err(Problem::Peer.into()), "{text}");
        }
        for names in ["", "flet", "fleet,", "Fleet"] {
            assert!(format!("{peer}={names}").parse::<Grant>().is_err(), "{names}");
        }
    }
}
