//! A version of flwr, and what it decides: which Python it needs, and which API is served where.

use std::fmt;

use super::upstream::Wire;

/// A version `1.<minor>.<patch>` of flwr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    minor: u16,
    patch: u16,
}

/// How a SuperLink spreads its APIs over ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// Up to 1.34: Fleet, Control and the app API over gRPC, each on a port of its own.
    Grpc,
    /// 1.35 and 1.36: Fleet and Control over gRPC, the app API over HTTP.
    GrpcFleetControl,
    /// 1.37 to 1.39: Fleet over gRPC; Control and the app API over HTTP on one port.
    GrpcFleet,
    /// From 1.40: all of them over HTTP on one port.
    Http,
}

impl Version {
    /// Version `1.<minor>.<patch>`.
    pub const fn new(minor: u16, patch: u16) -> Self {
        Self { minor, patch }
    }

    /// The era this version belongs to.
    pub const fn era(self) -> Era {
        match self.minor {
            ..=34 => Era::Grpc,
            35..=36 => Era::GrpcFleetControl,
            37..=39 => Era::GrpcFleet,
            40.. => Era::Http,
        }
    }

    /// The oldest minor version of Python 3 that can install this version.
    pub const fn oldest_python(self) -> u16 {
        if self.minor >= 31 { 11 } else { 10 }
    }
}

impl Era {
    /// How SuperNodes and SuperLinks of this era speak to each other.
    pub const fn fleet(self) -> Wire {
        match self {
            Self::Grpc | Self::GrpcFleetControl | Self::GrpcFleet => Wire::Grpc,
            Self::Http => Wire::Http,
        }
    }

    /// How the `flwr` command and SuperLinks of this era speak to each other.
    pub const fn control(self) -> Wire {
        match self {
            Self::Grpc | Self::GrpcFleetControl => Wire::Grpc,
            Self::GrpcFleet | Self::Http => Wire::Http,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}.{}", self.minor, self.patch)
    }
}
