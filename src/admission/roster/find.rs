//! Finds a peer by its name.

use std::{fmt, path::PathBuf};

use iroh::EndpointId;

use super::{RosterError, RosterFile, Standing};
use crate::{address_lookup::shown_name, report::chain};

/// The most names that a message lists.
const LISTED: usize = 20;

impl RosterFile {
    /// Returns the id of the peer that has this name in the roster.
    ///
    /// # Errors
    /// [`UnknownName`] if there is no such peer, with the names that there are, or if that peer is denied.
    pub fn peer_id(&self, name: &str) -> Result<EndpointId, UnknownName> {
        let (name, path) = (name.to_owned(), self.path().to_owned());
        let roster = match self.load() {
            Ok(roster) => roster,
            Err(source) => return Err(UnknownName(Kind::Roster { name, source })),
        };
        match roster.find(&name) {
            Some(peer) if peer.standing == Standing::Allowed => Ok(peer.id),
            Some(_) => Err(UnknownName(Kind::Denied { name, path })),
            None => {
                let names = names(roster.peers().iter().filter_map(|peer| peer.name.as_ref()));
                Err(UnknownName(Kind::Unknown { name, path, names }))
            }
        }
    }
}

/// Lists names for a message.
pub fn names(all: impl IntoIterator<Item = impl fmt::Display>) -> String {
    let mut all: Vec<_> = all.into_iter().map(|name| name.to_string()).collect();
    all.sort();
    let more = all.len().saturating_sub(LISTED);
    all.truncate(LISTED);
    match (all.is_empty(), more) {
        (true, _) => "it names no peer".to_owned(),
        (false, 0) => format!("it names {}", all.join(", ")),
        (false, more) => format!("it names {} and {more} more", all.join(", ")),
    }
}

/// A name that is not that of an admitted peer.
///
/// Its text is complete, with that of its source, the [`RosterError`].
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct UnknownName(Kind);

impl UnknownName {
    /// Returns whether the name, or the text of the roster, is wrong; otherwise the roster could not be read.
    pub fn is_mistake(&self) -> bool {
        match &self.0 {
            Kind::Roster { source, .. } => source.is_mistake(),
            Kind::Denied { .. } | Kind::Unknown { .. } => true,
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Kind {
    #[error("{} cannot be looked up in the roster: {}", shown_name(.name), chain(.source))]
    Roster { name: String, source: RosterError },
    #[error("{name:?} is denied by the roster {}, and is not dialled", .path.display())]
    Denied { name: String, path: PathBuf },
    #[error("{} is no peer's name in the roster {}: {names}", shown_name(.name), .path.display())]
    Unknown { name: String, path: PathBuf, names: String },
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
        assert!(file.peer_id("alpha").unwrap_err().to_string().ends_with("it names no peer"));
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
        assert!(error.contains("is denied"), "{error}");
    }

    #[test]
    fn a_list_of_names_has_an_end() {
        assert!(names(1000..1500).ends_with("1019 and 480 more"));
    }
}
