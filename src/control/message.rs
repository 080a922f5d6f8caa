//! Requests and answers: JSON objects, one a line.
//!
//! Releases that differ understand each other: fields that are unknown are ignored, and those that are added later may be
//! absent. A request that is unknown is answered with an error.

use iroh::EndpointId;
use serde::{Deserialize, Serialize};

/// The version of the messages. It rises only if an older release would misunderstand a newer one, which it then refuses.
const VERSION: u32 = 1;

/// What a command wants of the funnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub(crate) enum Request {
    /// Put the denial of a peer in force at once.
    Deny {
        /// Its endpoint id or its name on the roster.
        peer: String,
        /// The resolved path of the roster that the command changes.
        roster: String,
    },
    /// Lift the denial that a command put in force, and read the roster.
    Undeny { peer: EndpointId, roster: String },
    /// Read the roster.
    Reload { roster: String },
    /// Report the state of the funnel.
    Status,
    /// A request of a newer release.
    #[serde(other)]
    Unknown,
}

/// The answer of a running funnel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The id of the funnel's process.
    pub pid: u32,
    /// What came of the request.
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Outcome {
    /// What the command asked for is in force.
    InForce {
        /// The peer that it is about.
        peer: Option<EndpointId>,
    },
    /// It is not in force.
    NotInForce {
        /// Why.
        reason: String,
    },
    /// The funnel knows no peer with this name.
    UnknownPeer,
    /// The funnel exposes nothing and admits no peer, so there is nothing to put in force.
    AdmitsNoPeer,
    /// The funnel uses another roster than the command, or none.
    OtherRoster {
        /// The path of the funnel's roster.
        roster: Option<String>,
    },
    /// The state of the funnel.
    Status(Status),
    /// The request is not valid, or this funnel does not know it.
    Invalid {
        /// Why.
        reason: String,
    },
    /// An outcome of a newer release.
    #[serde(other)]
    Unknown,
}

/// The state of a running funnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// Its endpoint id.
    pub endpoint_id: EndpointId,
    /// Its release.
    pub release: String,
    /// The path of its roster; `None` if it has none.
    #[serde(default)]
    pub roster: Option<String>,
    /// The state of its roster: `ok`, or why it cannot be used.
    #[serde(default)]
    pub roster_health: String,
}

/// What every message has besides its content.
#[derive(Serialize)]
struct Sent<'a, T> {
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(flatten)]
    content: &'a T,
}

#[derive(Deserialize)]
struct Head {
    version: u32,
    #[serde(default)]
    pid: u32,
    #[serde(default)]
    request: String,
}

impl Request {
    /// Returns the line to send.
    pub(super) fn to_line(&self) -> Vec<u8> {
        line(None, self)
    }

    /// Parses a line that a command sent.
    ///
    /// # Errors
    /// Why the request is not valid, as a text for the one who sent it.
    pub(super) fn parse(line: &[u8]) -> Result<Self, String> {
        let head = Head::parse(line)?;
        match serde_json::from_slice(line) {
            Ok(Self::Unknown) => Err(format!("this release does not know the request {:?}", head.request)),
            Ok(request) => Ok(request),
            Err(error) => Err(format!("the request is not valid: {error}")),
        }
    }
}

impl Answer {
    /// Returns the line to send.
    pub(super) fn to_line(&self) -> Vec<u8> {
        line(Some(self.pid), &self.outcome)
    }

    /// Parses a line that a funnel sent.
    ///
    /// # Errors
    /// Why the answer is not valid.
    pub(super) fn parse(line: &[u8]) -> Result<Self, String> {
        let head = Head::parse(line)?;
        let outcome = serde_json::from_slice(line).map_err(|error| format!("the answer is not valid: {error}"))?;
        Ok(Self { pid: head.pid, outcome })
    }
}

impl Head {
    fn parse(line: &[u8]) -> Result<Self, String> {
        let head: Self =
            serde_json::from_slice(line).map_err(|error| format!("it is not a message of this protocol: {error}"))?;
        if head.version > VERSION {
            return Err(format!("it has version {}, and this release knows versions up to {VERSION}", head.version));
        }
        Ok(head)
    }
}

fn line(pid: Option<u32>, content: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(&Sent { version: VERSION, pid, content }).expect("texts and numbers are JSON");
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use iroh::SecretKey;

    use super::*;

    #[test]
    fn every_message_is_read_as_it_was_written() {
        let peer = SecretKey::from_bytes(&[7; 32]).public();
        let roster = "/srv/peers.toml".to_owned();
        for request in [
            Request::Deny { peer: "st. mary\n".to_owned(), roster: roster.clone() },
            Request::Undeny { peer, roster: roster.clone() },
            Request::Reload { roster: roster.clone() },
            Request::Status,
        ] {
            let line = request.to_line();
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            assert_eq!(Request::parse(&line), Ok(request));
        }
        let status = Status {
            endpoint_id: peer,
            release: "0.1.0".to_owned(),
            roster: Some(roster.clone()),
            roster_health: "ok".to_owned(),
        };
        for outcome in [
            Outcome::InForce { peer: Some(peer) },
            Outcome::InForce { peer: None },
            Outcome::NotInForce { reason: "late".to_owned() },
            Outcome::UnknownPeer,
            Outcome::AdmitsNoPeer,
            Outcome::OtherRoster { roster: Some(roster) },
            Outcome::Status(status),
            Outcome::Invalid { reason: "why".to_owned() },
        ] {
            let answer = Answer { pid: 7, outcome };
            assert_eq!(Answer::parse(&answer.to_line()), Ok(answer));
        }
    }

    #[test]
    fn fields_of_a_newer_release_are_ignored_and_those_of_an_older_one_may_be_absent() {
        let line = br#"{"version":1,"request":"reload","roster":"/r","reason":{"why":["not"]},"pid":3}"#;
        assert_eq!(Request::parse(line), Ok(Request::Reload { roster: "/r".to_owned() }));
        let line = br#"{"version":1,"pid":9,"outcome":"in-force","links":[1,2]}"#;
        assert_eq!(Answer::parse(line), Ok(Answer { pid: 9, outcome: Outcome::InForce { peer: None } }));
        let id = SecretKey::from_bytes(&[7; 32]).public();
        let line = format!(r#"{{"version":1,"pid":9,"outcome":"status","endpoint_id":"{id}","release":"0.0.9"}}"#);
        let Ok(Answer { outcome: Outcome::Status(status), .. }) = Answer::parse(line.as_bytes()) else { panic!() };
        assert_eq!((status.roster, &*status.roster_health), (None, ""));
    }

    #[test]
    fn what_only_a_newer_release_knows_is_named_and_not_guessed() {
        let unknown = Request::parse(br#"{"version":1,"request":"dance","roster":"/r"}"#).unwrap_err();
        assert!(unknown.contains(r#"does not know the request "dance""#), "{unknown}");
        let newer = Request::parse(br#"{"version":2,"request":"status"}"#).unwrap_err();
        assert!(newer.contains("version 2"), "{newer}");
        let answer = Answer::parse(br#"{"version":1,"pid":9,"outcome":"danced"}"#).unwrap();
        assert_eq!(answer.outcome, Outcome::Unknown);
    }

    #[test]
    fn what_is_not_a_message_is_refused_with_the_reason() {
        let deep = "[".repeat(100_000);
        for line in [
            "",
            "\n",
            "null",
            "[]",
            "{}",
            r#"{"request":"status"}"#,
            r#"{"version":-1,"request":"status"}"#,
            r#"{"version":1}"#,
            r#"{"version":1,"request":"deny","peer":1,"roster":"/r"}"#,
            r#"{"version":1,"request":"undeny","peer":"nobody","roster":"/r"}"#,
            &deep,
        ] {
            assert!(Request::parse(line.as_bytes()).is_err(), "{line}");
            assert!(Answer::parse(line.as_bytes()).is_err(), "{line}");
        }
    }
}
