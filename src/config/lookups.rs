//! Address lookup: the configured services, and the names of peers in a roster.

use std::{fmt, net::SocketAddr, str::FromStr};

use iroh::RelayMode;

use super::{FunnelConfig, FunnelConfigBuilder, PeerConfig};
use crate::{
    address_lookup::{InvalidPeer, Lookup, Publication, PublishTarget, Published},
    admission::roster::RosterFile,
};

/// The value for no services, if it is the only one.
const OFF: &str = "off";

/// What was set explicitly. The defaults depend on other values and are chosen last.
#[derive(Clone, Debug, Default)]
pub(super) struct Chosen {
    lookups: Option<Vec<Lookup>>,
    publications: Option<Vec<Publication>>,
    /// Peers of the file that are given by their names in the roster.
    named: Vec<NamedPeer>,
}

/// A peer of the file that is given by its name in the roster.
#[derive(Clone, Debug)]
struct NamedPeer {
    /// How many peers come before it.
    position: usize,
    /// Its position in the file, for error messages.
    place: String,
    wanted: InvalidPeer,
    settings: Settings,
}

/// The settings of a peer in a file, without its id.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) name: Option<String>,
    pub(super) listen: Option<SocketAddr>,
    pub(super) is_passthrough: bool,
}

impl Settings {
    /// Applies the settings to a peer.
    pub(super) fn of(self, mut peer: PeerConfig) -> PeerConfig {
        if self.is_passthrough {
            peer = peer.passthrough();
        }
        if let Some(name) = self.name {
            peer = peer.name(name);
        }
        if let Some(listen) = self.listen {
            peer = peer.listen(listen);
        }
        peer
    }
}

impl FunnelConfigBuilder {
    /// Sets [`FunnelConfig::lookups`].
    pub fn lookups(mut self, lookups: impl IntoIterator<Item = Lookup>) -> Self {
        self.chosen.lookups = Some(distinct(lookups));
        self
    }

    /// Sets [`FunnelConfig::lookups`] from text: each item is parsed as a [`Lookup`], and `off` alone means none. `place`
    /// is the prefix of mistakes, for instance `--lookup`.
    pub fn lookup_texts<T: AsRef<str>>(self, texts: impl IntoIterator<Item = T>, place: &str) -> Self {
        let (this, lookups) = self.parsed(texts, place);
        this.lookups(lookups)
    }

    /// Sets [`FunnelConfig::publications`].
    pub fn publications(mut self, publications: impl IntoIterator<Item = Publication>) -> Self {
        self.chosen.publications = Some(distinct(publications));
        self
    }

    /// Sets [`FunnelConfig::publications`] from text: each item is parsed as a [`Publication`], and `off` alone means none.
    /// `place` is the prefix of mistakes, for instance `--publish`.
    pub fn publication_texts<T: AsRef<str>>(self, texts: impl IntoIterator<Item = T>, place: &str) -> Self {
        let (this, publications) = self.parsed(texts, place);
        this.publications(publications)
    }

    /// Resolves the peers of the file that are given by their names in `roster`. If this is not called,
    /// [`build`](Self::build) uses the roster of [`FunnelConfig::exposed`].
    pub fn peer_names(mut self, roster: &RosterFile) -> Self {
        for NamedPeer { position, place, wanted, settings } in std::mem::take(&mut self.chosen.named) {
            self = match roster.peer_id(wanted.text()) {
                Ok(id) => {
                    let peers = &mut self.config.peers;
                    peers.insert(position.min(peers.len()), settings.of(PeerConfig::new(id)));
                    self
                }
                Err(error) => self.problem(format_args!("{place} {wanted}, and {error}"), error.is_mistake()),
            };
        }
        self
    }

    pub(super) fn named_peer(mut self, place: String, wanted: InvalidPeer, settings: Settings) -> Self {
        let position = self.config.peers.len() + self.chosen.named.len();
        self.chosen.named.push(NamedPeer { position, place, wanted, settings });
        self
    }

    /// Sets what was not set explicitly to its default, and resolves the remaining names.
    pub(super) fn with_defaults(mut self) -> Self {
        if let Some(roster) = self.config.exposed.as_ref().and_then(|exposed| exposed.roster.clone()) {
            self = self.peer_names(&roster);
        }
        for NamedPeer { place, wanted, .. } in std::mem::take(&mut self.chosen.named) {
            self = self.mistake(format_args!("{place} {wanted}, and there is no roster to look it up in as a name"));
        }
        let relays_are_n0s = matches!(self.config.relay_mode, RelayMode::Default | RelayMode::Staging);
        let publishes = relays_are_n0s && self.config.exposed.is_some() && self.chosen.lookups.is_none();
        let (lookups, publications) = (self.chosen.lookups.take(), self.chosen.publications.take());
        self.config.lookups = lookups.unwrap_or_else(|| relays_are_n0s.then_some(Lookup::N0).into_iter().collect());
        self.config.publications = publications
            .unwrap_or_else(|| publishes.then(|| Publication::new(PublishTarget::N0)).into_iter().collect());
        self
    }

    fn parsed<T: FromStr<Err: fmt::Display>>(
        mut self,
        texts: impl IntoIterator<Item = impl AsRef<str>>,
        place: &str,
    ) -> (Self, Vec<T>) {
        let texts: Vec<_> = texts.into_iter().collect();
        if texts.len() == 1 && texts[0].as_ref() == OFF {
            return (self, Vec::new());
        }
        let mut values = Vec::new();
        for text in texts {
            match text.as_ref().parse() {
                Ok(value) => values.push(value),
                Err(error) => self = self.mistake(format_args!("{place} {error}")),
            }
        }
        (self, values)
    }
}

impl FunnelConfig {
    /// Returns a mistake for each publication that would always be empty.
    pub(super) fn empty_publications(&self) -> impl Iterator<Item = String> {
        let relay_alone = |publication: &&Publication| publication.published() == Published::Relay;
        let is_without = self.relay_mode == RelayMode::Disabled;
        self.publications.iter().filter(move |publication| is_without && relay_alone(publication)).map(|publication| {
            format!(
                "publish {publication}: this publishes the relay's URL, but no relay is configured; use \
                 {publication},addresses to publish direct addresses"
            )
        })
    }
}

fn distinct<T: PartialEq>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut distinct = Vec::new();
    for value in values {
        if !distinct.contains(&value) {
            distinct.push(value);
        }
    }
    distinct
}

#[cfg(test)]
mod tests {
    use iroh::SecretKey;

    use super::*;
    use crate::{config::Exposed, protocol::Api, upstream::Upstream};

    fn exposed() -> Exposed {
        let upstream: Upstream = "http://127.0.0.1:8000".parse().unwrap();
        Exposed::new().upstream(Api::Fleet, upstream)
    }

    fn chosen(builder: FunnelConfigBuilder) -> (Vec<String>, Vec<String>) {
        let config = builder.build().unwrap();
        let lookups = config.lookups.iter().map(ToString::to_string).collect();
        (lookups, config.publications.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn n0s_lookup_is_the_default_with_n0s_relays_only_and_only_an_exposing_funnel_is_published() {
        let none = Vec::<String>::new();
        let n0 = vec!["n0".to_owned()];
        let builder = FunnelConfig::builder;
        assert_eq!(chosen(builder()), (n0.clone(), none.clone()));
        assert_eq!(chosen(builder().expose(exposed())), (n0.clone(), n0.clone()));
        for relay in ["off", "https://relay.example.org"] {
            let own = builder().relays([relay], "").expose(exposed());
            assert_eq!(chosen(own), (none.clone(), none.clone()), "{relay}");
        }
        // Setting lookups turns the default publication off.
        assert_eq!(chosen(builder().expose(exposed()).lookup_texts(["off"], "")), (none.clone(), none.clone()));
        assert_eq!(chosen(builder().expose(exposed()).publication_texts(["off"], "")), (n0, none));
    }

    #[test]
    fn explicit_settings_apply_whatever_the_relays_are() {
        let lookups = ["mdns", "dns:example.org@10.0.0.53", "mdns"];
        let builder = FunnelConfig::builder()
            .relays(["off"], "")
            .lookup_texts(lookups, "--lookup")
            .publication_texts(["pkarr:https://dns.example.org/pkarr,addresses", "mdns"], "--publish");
        let (lookups, publications) = chosen(builder);
        assert_eq!(lookups, ["mdns", "dns:example.org@10.0.0.53:53"]);
        assert_eq!(publications, ["pkarr:https://dns.example.org/pkarr,addresses", "mdns"]);
    }

    #[test]
    fn mistakes_in_lookups_are_reported_with_the_others() {
        let error = FunnelConfig::builder()
            .relays(["off"], "--relay")
            .lookup_texts(["off", "mdns", "dns:"], "--lookup")
            .publication_texts(["everywhere", "n0"], "--publish")
            .build()
            .unwrap_err();
        for part in
            ["--lookup \"off\" is not a valid lookup", "--lookup \"dns:\"", "--publish \"everywhere\"", "no relay"]
        {
            assert!(error.mistakes().iter().any(|mistake| mistake.contains(part)), "{part} is not in {error}");
        }
        assert_eq!(error.mistakes().len(), 4, "{error}");
    }

    #[test]
    fn peers_of_a_file_may_be_given_by_their_roster_names() {
        let folder = tempfile::tempdir().unwrap();
        let roster = RosterFile::new(folder.path().join("peers.toml"));
        let id = SecretKey::generate().public();
        roster.update(|roster| roster.allow(id, "clinic".parse().ok(), Api::Fleet.into())).unwrap().unwrap();
        let file = |name: &str| format!("[[peer]]\nname = \"north\"\npeer = \"{name}\"\nlisten = \"127.0.0.1:1\"");
        let config = FunnelConfig::from_toml(&file("clinic")).peer_names(&roster).build().unwrap();
        assert_eq!((config.peers[0].id(), config.peers[0].has_name("north")), (id, true));
        assert_eq!(config.peers[0].listen.map(|listen| listen.port()), Some(1));

        let error = FunnelConfig::from_toml(&file("clinik")).peer_names(&roster).build().unwrap_err().to_string();
        assert!(error.contains("peer[0].peer:") && error.contains("it names clinic"), "{error}");
        let own = format!("[expose]\nroster = {:?}\n{}", roster.path(), file("clinic"));
        assert_eq!(FunnelConfig::from_toml(&own).build().unwrap().peers[0].id(), id);
        let error = FunnelConfig::from_toml(&file("clinic")).build().unwrap_err().to_string();
        assert!(error.contains("no roster to look it up in"), "{error}");
    }
}
