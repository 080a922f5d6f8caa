//! From a name to the peer that has it.

use std::{error::Error, fmt, path::PathBuf};

use iroh::EndpointId;

use super::{RosterError, RosterFile, Standing};

/// How many names a message lists.
const LISTED: usize = 20;

impl RosterFile {
    /// The id of the peer that is called `name` here.
    ///
    /// # Errors
    /// [`UnknownName`] if nobody is, or if that peer is shut out; it lists the names that there are.
    pub fn peer_id(&self, name: &str) -> Result<EndpointId, UnknownName> {
        let unknown = |problem| UnknownName { name: name.to_owned(), path: self.path().to_owned(), problem };
        let roster = self.load().map_err(|error| unknown(Problem::Roster(error)))?;
        match roster.find(name) {
            Some(peer) if peer.standing == Standing::Allowed => Ok(peer.id),
            Some(_) => Err(unknown(Problem::ShutOut)),
            None => Err(unknown(Problem::Names(names(roster.peers().iter().filter_map(|peer| peer.name.as_ref()))))),
        }
    }
}

/// Names as a message lists them.
pub fn names(all: impl IntoIterator<Item = impl fmt::Display>) -> String {
    let mut all: Vec<_> = all.into_iter().map(|name| name.to_string()).collect();
    all.sort();
    let more = all.len().saturating_sub(LISTED);
    all.truncate(LISTED);
    match (all.is_empty(), more) {
        (true, _) => "it names nobody".to_owned(),
        (false, 0) => format!("it names {}", all.join(", ")),
        (false, more) => format!("it names {} and {more} more", all.join(", ")),
    }
}

/// A name that leads to no peer.
#[derive(Debug)]
pub struct UnknownName {
    name: String,
    path: PathBuf,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    Roster(RosterError),
    ShutOut,
    Names(String),
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, path) = (&self.name, self.path.display());
        match &self.problem {
            Problem::Roster(error) => write!(f, "{name:?} cannot be looked for in the roster: {error}"),
            Problem::ShutOut => write!(f, "{name:?} is shut out by the roster {path}, and not dialled"),
            Problem::Names(names) => write!(f, "{name:?} is no peer's name in the roster {path}: {names}"),
        }
    }
}

impl Error for UnknownName {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.problem {
            Problem::Roster(error) => error.source(),
            Problem::ShutOut | Problem::Names(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use iroh::SecretKey;

    use super::*;
    use crate::{admission::roster::Roster, protocol::Api};

    #[test]
    fn a_name_leads_to_its_peer_and_a_wrong_one_to_the_names_that_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let file = RosterFile::new(folder.path().join("peers.toml"));
        assert!(file.peer_id("alpha").unwrap_err().to_string().ends_with("it names nobody"));
        let ids = ["alpha", "beta", "gone"].map(|name| {
            let id = SecretKey::generate().public();
            file.update(|roster| roster.allow(id, name.parse().ok(), Api::Fleet.into())).unwrap().unwrap();
            id
        });
        let deny = |roster: &mut Roster| {
            roster.deny(ids[2]);
            Ok::<_, ()>(())
        };
        file.update(deny).unwrap().unwrap();
        assert_eq!(file.peer_id("beta").unwrap(), ids[1]);
        let error = file.peer_id("gamma").unwrap_err().to_string();
        assert!(error.ends_with("peers.toml: it names alpha, beta, gone"), "{error}");
        let error = file.peer_id("gone").unwrap_err().to_string();
        assert!(error.contains("is shut out"), "{error}");
    }

    #[test]
    fn a_list_of_names_has_an_end() {
        assert!(names(1000..1500).ends_with("1019 and 480 more"));
    }
}
