//! The APIs of a SuperLink, in one table.

use std::{fmt, str::FromStr};

/// An API that Flower processes call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Api {
    /// SuperNodes to SuperLink: nodes, messages, objects.
    Fleet,
    /// The `flwr` command to SuperLink: runs, logs, federations.
    Control,
    /// App processes to SuperLink or SuperNode, since Flower 1.34. For trusted networks only.
    Runtime,
    /// ServerApp processes to SuperLink, up to Flower 1.33. For trusted networks only.
    ServerAppIo,
    /// ClientApp processes to SuperNode, up to Flower 1.33. For trusted networks only.
    ClientAppIo,
}

struct Row {
    api: Api,
    /// The name on the command line and in `/v1/{name}/..`.
    name: &'static str,
    /// The services in `/flwr.proto.{Service}/..`; only the first has a counterpart in HTTP.
    services: &'static [&'static str],
    /// Flower lets every caller do anything.
    trusts_its_callers: bool,
}

/// `GrpcAdapter` wraps Fleet messages, `FlowerService` is an older Fleet, `Exec` is the Control API of Flower 1.20.
const TABLE: [Row; 5] = [
    Row {
        api: Api::Fleet,
        name: "fleet",
        services: &["Fleet", "GrpcAdapter", "FlowerService"],
        trusts_its_callers: false,
    },
    Row { api: Api::Control, name: "control", services: &["Control", "Exec"], trusts_its_callers: false },
    Row { api: Api::Runtime, name: "runtime", services: &["Runtime"], trusts_its_callers: true },
    Row { api: Api::ServerAppIo, name: "serverappio", services: &["ServerAppIo"], trusts_its_callers: true },
    Row { api: Api::ClientAppIo, name: "clientappio", services: &["ClientAppIo"], trusts_its_callers: true },
];

impl Api {
    /// All APIs, in the table's order.
    pub const ALL: [Self; TABLE.len()] =
        [Self::Fleet, Self::Control, Self::Runtime, Self::ServerAppIo, Self::ClientAppIo];

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// Returns its name on the command line, in the configuration and in HTTP paths.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Returns whether Flower trusts all callers of this API, so that it must never be open to a site.
    pub fn trusts_its_callers(self) -> bool {
        self.row().trusts_its_callers
    }

    /// Returns its gRPC service in the package `flwr.proto`.
    pub fn service(self) -> &'static str {
        self.row().services[0]
    }

    /// Returns the API of a gRPC service of the package `flwr.proto`.
    pub fn of_service(service: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.services.contains(&service)).map(|row| row.api)
    }

    /// Returns the API of an HTTP path's first segment after `/v1/`.
    pub fn of_segment(segment: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.name == segment).map(|row| row.api)
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Api {
    type Err = UnknownApi;

    fn from_str(name: &str) -> Result<Self, UnknownApi> {
        Self::of_segment(name).ok_or_else(|| UnknownApi(name.to_owned()))
    }
}

/// A name that is not that of an API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a Flower API; the APIs are {all}", name = .0, all = Api::ALL.into_iter().collect::<ApiSet>())]
pub struct UnknownApi(String);

/// A set of APIs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApiSet(u8);

impl ApiSet {
    /// The empty set.
    pub const EMPTY: Self = Self(0);

    /// Returns whether `api` is in the set.
    pub fn contains(self, api: Api) -> bool {
        self.0 & Self::bit(api) != 0
    }

    /// Returns whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the APIs that are in either set.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the members, in the table's order.
    pub fn iter(self) -> impl Iterator<Item = Api> {
        Api::ALL.into_iter().filter(move |api| self.contains(*api))
    }

    fn bit(api: Api) -> u8 {
        1 << api as u8
    }
}

impl FromIterator<Api> for ApiSet {
    fn from_iter<I: IntoIterator<Item = Api>>(apis: I) -> Self {
        Self(apis.into_iter().fold(0, |bits, api| bits | Self::bit(api)))
    }
}

impl From<Api> for ApiSet {
    fn from(api: Api) -> Self {
        Self(Self::bit(api))
    }
}

impl fmt::Display for ApiSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Api::name).collect();
        f.write_str(&names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_at_its_apis_position() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.api as usize, index);
            assert_eq!(Api::ALL[index], row.api);
        }
    }

    #[test]
    fn a_set_prints_its_members_in_order() {
        let set: ApiSet = [Api::Control, Api::Fleet].into_iter().collect();
        assert_eq!(set.to_string(), "fleet, control");
        assert!(!set.contains(Api::Runtime));
    }
}
