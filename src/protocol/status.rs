//! The statuses of errors in both wires, in one table.

use http::StatusCode;

use super::Api;

/// The status of an error in both wires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The number of the gRPC specification.
    grpc: u8,
    http: u16,
}

/// A status and Flower's error codes that have it.
struct Row {
    status: Status,
    codes: &'static [u64],
}

const fn row(grpc: u8, http: u16, codes: &'static [u64]) -> Row {
    Row { status: Status { grpc, http }, codes }
}

/// All 80 error codes of Flower 1.42. A status without a code is translated by the first row that has it.
#[rustfmt::skip]
const TABLE: [Row; 10] = [
    row(3, 400, &[38, 42, 43, 44, 45, 1003, 2003, 3013, 3015]),
    row(3, 415, &[1002]),
    row(5, 404, &[2, 6, 7, 16, 17, 24, 39, 3011, 3012]),
    row(6, 409, &[4, 5, 3016]),
    row(7, 403, &[9, 13, 29, 30, 31, 41, 2007, 2008, 2009, 3001, 3003, 3005, 3007, 3010, 3014]),
    row(9, 412, &[
        3, 8, 10, 11, 12, 15, 18, 21, 22, 23, 25, 26, 27, 28, 32, 33, 34, 35, 1001, 2001, 2002, 2004, 2005, 2006, 3002,
        3004, 3008, 3009,
    ]),
    row(12, 501, &[1, 19, 20]),
    row(13, 500, &[14, 40, 1004, 1006, 1007, 3006]),
    row(14, 503, &[37, 1005, 1009, 1010]),
    row(16, 401, &[36, 1008]),
];

/// gRPC's "unknown". gRPC clients use it also for a status that is not a number.
pub(super) const UNKNOWN: u8 = 2;

/// The status in the other wire for a status without a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counterpart {
    /// The status to answer with.
    pub status: Status,
    /// `false` if the other wire has no such status, and this is the one that does least harm.
    pub exact: bool,
}

impl Status {
    /// The tunnel or the upstream is down: Flower's clients retry indefinitely.
    pub const UNAVAILABLE: Self = Self { grpc: 14, http: 503 };
    /// The call is not allowed: a SuperNode takes it for a run that is over, and continues.
    pub const PERMISSION_DENIED: Self = Self { grpc: 7, http: 403 };
    /// The caller's deadline has passed.
    pub const DEADLINE_EXCEEDED: Self = Self { grpc: 4, http: 504 };
    /// The body is not valid in its wire.
    pub const MALFORMED: Self = Self { grpc: 13, http: 400 };
    /// The message has no length.
    pub const LENGTH_REQUIRED: Self = Self { grpc: 13, http: 411 };
    /// The message is too long.
    pub const TOO_LARGE: Self = Self { grpc: 8, http: 413 };
    /// The headers are too long.
    pub const HEADERS_TOO_LARGE: Self = Self { grpc: 8, http: 431 };
    /// The headers or trailers of a response are too long: gRPC's own clients say so too, and over HTTP a gateway does.
    pub const METADATA_TOO_LARGE: Self = Self { grpc: 8, http: 502 };
    /// The content type is not the wire's.
    pub const UNSUPPORTED_TYPE: Self = Self { grpc: 3, http: 415 };
    /// The method, the compression or the number of messages is not supported.
    pub const UNIMPLEMENTED: Self = Self { grpc: 12, http: 501 };

    /// Returns the status of one of Flower's error codes; `None` for a code that Flower 1.42 does not have.
    pub fn of_code(code: u64) -> Option<Self> {
        TABLE.iter().find(|row| row.codes.contains(&code)).map(|row| row.status)
    }

    /// Translates the status of a gRPC server's error that has no Flower code to HTTP.
    pub fn of_grpc(grpc: u8, api: Api) -> Counterpart {
        const DEADLINE: u8 = Status::DEADLINE_EXCEEDED.grpc;
        const UNIMPLEMENTED: u8 = Status::UNIMPLEMENTED.grpc;
        match grpc {
            DEADLINE => Counterpart { status: Self::DEADLINE_EXCEEDED, exact: true },
            UNIMPLEMENTED if api == Api::Fleet => Counterpart::LEAST_HARM,
            // Python's gRPC uses it for an exception; Flower up to 1.36 for a method that it does not have.
            UNKNOWN if api != Api::Fleet => Counterpart::of(|status| status.http == 500),
            _ => Counterpart::of(|status| status.grpc == grpc),
        }
    }

    /// Translates the status of an HTTP server's error that has no Flower code to gRPC.
    pub fn of_http(http: StatusCode, api: Api) -> Counterpart {
        match http.as_u16() {
            502 | 504 => Counterpart { status: Self::UNAVAILABLE, exact: true },
            413 => Counterpart { status: Self::TOO_LARGE, exact: true },
            431 => Counterpart { status: Self::HEADERS_TOO_LARGE, exact: true },
            404 | 405 | 501 if api == Api::Fleet => Counterpart::LEAST_HARM,
            http => Counterpart::of(|status| status.http == http),
        }
    }

    /// Returns the number in `grpc-status`.
    pub fn grpc(self) -> u8 {
        self.grpc
    }

    /// Returns the status of an HTTP response.
    pub fn http(self) -> StatusCode {
        StatusCode::from_u16(self.http).expect("the constants are status codes")
    }
}

impl Counterpart {
    /// A SuperNode retries; at every other status that is not a refusal it stops for good (measured with 1.42).
    const LEAST_HARM: Self = Self { status: Status::UNAVAILABLE, exact: false };

    fn of(is_same: impl Fn(&Status) -> bool) -> Self {
        let row = TABLE.iter().find(|row| is_same(&row.status));
        row.map_or(Self::LEAST_HARM, |row| Self { status: row.status, exact: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Code, gRPC status, HTTP status of every error of Flower 1.42, from its catalogue.
    const ERRORS: &str = include_str!("../../tests/data/flower_errors.tsv");

    #[test]
    fn every_error_of_flower_has_its_status_in_each_wire() {
        let mut rows = 0;
        for line in ERRORS.lines().filter(|line| !line.starts_with('#')) {
            let numbers: Vec<u64> = line.split('\t').map(|number| number.parse().unwrap()).collect();
            let status = Status::of_code(numbers[0]).unwrap_or_else(|| panic!("code {} has no row", numbers[0]));
            assert_eq!([u64::from(status.grpc), u64::from(status.http)], numbers[1..], "code {}", numbers[0]);
            rows += 1;
        }
        assert_eq!(rows, 80);
        assert_eq!(TABLE.iter().map(|row| row.codes.len()).sum::<usize>(), rows);
    }

    #[test]
    fn a_status_without_a_counterpart_leaves_a_supernode_alive() {
        for grpc in [1, 2, 8, 10, 11, 12, 15, 99] {
            assert_eq!(Status::of_grpc(grpc, Api::Fleet), Counterpart::LEAST_HARM, "{grpc}");
        }
        for http in [302, 404, 405, 408, 418, 425, 429, 501, 505, 599] {
            let http = StatusCode::from_u16(http).unwrap();
            assert_eq!(Status::of_http(http, Api::Fleet), Counterpart::LEAST_HARM, "{http}");
        }
        for (grpc, http) in [(4, 504), (5, 404), (14, 503), (16, 401), (7, 403), (13, 500)] {
            let counterpart = Status::of_grpc(grpc, Api::Fleet);
            assert_eq!((counterpart.status.http, counterpart.exact), (http, true), "{grpc}");
        }
        for (http, grpc) in
            [(502, 14), (503, 14), (504, 14), (401, 16), (403, 7), (500, 13), (412, 9), (413, 8), (431, 8)]
        {
            let counterpart = Status::of_http(StatusCode::from_u16(http).unwrap(), Api::Fleet);
            assert_eq!((counterpart.status.grpc, counterpart.exact), (grpc, true), "{http}");
        }
        for (grpc, http) in [(2, 500), (12, 501)] {
            let counterpart = Status::of_grpc(grpc, Api::Control);
            assert_eq!((counterpart.status.http, counterpart.exact), (http, true), "{grpc}");
        }
    }
}
