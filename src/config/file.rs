//! The configuration file.

use std::{fmt, str::FromStr, time::Duration};

use toml::{Table, Value};

use super::{Exposed, FunnelConfig, FunnelConfigBuilder, PeerConfig};
use crate::{
    address_lookup::{Relay, parse_peer},
    protocol::Api,
    upstream::{InvalidUpstream, Upstream},
};

/// The upstreams that one text stands for.
struct Candidates(Vec<Upstream>);

impl FromStr for Candidates {
    type Err = InvalidUpstream;

    fn from_str(text: &str) -> Result<Self, InvalidUpstream> {
        Upstream::candidates(text).map(Self)
    }
}

/// Reads a whole file, collecting what is wrong with it.
pub(super) fn read(text: &str) -> FunnelConfigBuilder {
    let table = match text.parse::<Table>() {
        Ok(table) => table,
        Err(error) => return FunnelConfig::builder().mistake(error),
    };
    let mut mistakes = Vec::new();
    let builder = root(Fields::new(String::new(), table, &mut mistakes));
    mistakes.into_iter().fold(builder, FunnelConfigBuilder::mistake)
}

fn root(mut fields: Fields<'_>) -> FunnelConfigBuilder {
    let mut builder = FunnelConfig::builder();
    if let Some(alpn) = fields.string("alpn") {
        builder = builder.alpn(alpn);
    }
    if let Some(relay) = fields.parse::<Relay>("relay_mode") {
        builder = builder.relay_mode(relay.into_mode());
    }
    if let Some(congestion_control) = fields.parse("congestion_control") {
        builder = builder.congestion_control(congestion_control);
    }
    if let Some(bind_addr) = fields.parse("bind_addr") {
        builder = builder.bind_addr(bind_addr);
    }
    if let Some(addr) = fields.parse("flower_grpc_addr") {
        builder = builder.flower_grpc_addr(addr);
    }
    if let Some(seconds) = fields.seconds("drain_timeout_s") {
        builder = builder.drain_timeout(seconds);
    }
    if let Some(key_file) = fields.string("key_file") {
        builder = builder.key_file(key_file);
    }
    if let Some(exposed) = fields.table("expose") {
        builder = builder.expose(expose(exposed));
    }
    fields.each_table("peer", |fields| {
        if let Some(peer) = peer(fields) {
            builder = builder.clone().peer(peer);
        }
    });
    fields.end();
    builder
}

fn expose(mut fields: Fields<'_>) -> Exposed {
    let mut exposed = Exposed::new();
    if let Some(mut upstreams) = fields.table("upstream") {
        for api in Api::ALL {
            for candidates in upstreams.parse_list::<Candidates>(api.name()) {
                exposed = candidates.0.into_iter().fold(exposed, |exposed, upstream| exposed.upstream(api, upstream));
            }
        }
        upstreams.end();
    }
    if let Some(Candidates(superlinks)) = fields.parse("superlink") {
        exposed = superlinks.into_iter().fold(exposed, Exposed::superlink);
    }
    if !exposed.has_upstreams() {
        exposed = exposed.local_superlink();
    }
    for api in fields.parse_list::<Api>("allow_any") {
        if api.trusts_its_callers() {
            fields.mistake("allow_any", format_args!("{api} must be named for each peer: it trusts its callers"));
        } else {
            exposed = exposed.allow_any([api]);
        }
    }
    fields.each_table("allow", |mut allow| {
        let apis = if allow.has("apis") { allow.parse_list("apis") } else { vec![Api::Fleet] };
        let peer = allow.required("peer").and_then(|peer| allow.parse_text("peer", &peer));
        if let Some(peer) = peer {
            exposed = exposed.clone().allow(peer, apis);
        }
        allow.end();
    });
    fields.end();
    exposed
}

fn peer(mut fields: Fields<'_>) -> Option<PeerConfig> {
    let name = fields.string("name");
    let listen = fields.parse("listen");
    let addr = match fields.required("peer").map(|peer| parse_peer(&peer)) {
        Some(Err(error)) => {
            fields.mistake("peer", error);
            None
        }
        addr => addr.and_then(Result::ok),
    };
    fields.end();
    let mut peer = PeerConfig::new(addr?);
    if let Some(name) = name {
        peer = peer.name(name);
    }
    if let Some(listen) = listen {
        peer = peer.listen(listen);
    }
    Some(peer)
}

/// A table being read: what is taken is gone, what is left is unknown.
struct Fields<'a> {
    path: String,
    table: Table,
    mistakes: &'a mut Vec<String>,
}

impl<'a> Fields<'a> {
    fn new(path: String, table: Table, mistakes: &'a mut Vec<String>) -> Self {
        Self { path, table, mistakes }
    }

    fn mistake(&mut self, key: &str, problem: impl fmt::Display) {
        self.mistakes.push(format!("{}{key}: {problem}", self.path));
    }

    /// A string that must be there.
    fn required(&mut self, key: &str) -> Option<String> {
        if !self.has(key) {
            self.mistake(key, "it is missing");
        }
        self.string(key)
    }

    fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn string(&mut self, key: &str) -> Option<String> {
        match self.table.remove(key)? {
            Value::String(text) => Some(text),
            other => {
                self.mistake(key, format_args!("it is {} and must be a string", other.type_str()));
                None
            }
        }
    }

    fn parse<T: FromStr<Err: fmt::Display>>(&mut self, key: &str) -> Option<T> {
        let text = self.string(key)?;
        self.parse_text(key, &text)
    }

    fn parse_text<T: FromStr<Err: fmt::Display>>(&mut self, key: &str, text: &str) -> Option<T> {
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.mistake(key, format_args!("{text:?}: {error}"));
                None
            }
        }
    }

    /// One string or a list of them.
    fn parse_list<T: FromStr<Err: fmt::Display>>(&mut self, key: &str) -> Vec<T> {
        let values = match self.table.remove(key) {
            None => return Vec::new(),
            Some(Value::Array(values)) => values,
            Some(value) => vec![value],
        };
        let mut parsed = Vec::new();
        for value in values {
            match value {
                Value::String(text) => parsed.extend(self.parse_text(key, &text)),
                other => self.mistake(key, format_args!("{} stands where a string must", other.type_str())),
            }
        }
        parsed
    }

    fn seconds(&mut self, key: &str) -> Option<Duration> {
        let value = self.table.remove(key)?;
        let seconds = value.as_float().or_else(|| value.as_integer().map(|seconds| seconds as f64));
        let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        if duration.is_none() {
            self.mistake(key, "it must be a number of seconds");
        }
        duration
    }

    fn table(&mut self, key: &str) -> Option<Fields<'_>> {
        match self.table.remove(key)? {
            Value::Table(table) => Some(Fields::new(format!("{}{key}.", self.path), table, self.mistakes)),
            other => {
                self.mistake(key, format_args!("it is {} and must be a table", other.type_str()));
                None
            }
        }
    }

    /// Reads a list of tables, `[[key]]`, each with `read`.
    fn each_table(&mut self, key: &str, mut read: impl FnMut(Fields<'_>)) {
        let values = match self.table.remove(key) {
            None => return,
            Some(Value::Array(values)) => values,
            Some(other) => return self.mistake(key, format_args!("it is {} and must be [[{key}]]", other.type_str())),
        };
        for (index, value) in values.into_iter().enumerate() {
            match value {
                Value::Table(table) => {
                    read(Fields::new(format!("{}{key}[{index}].", self.path), table, self.mistakes));
                }
                other => self.mistake(key, format_args!("{} stands where a table must", other.type_str())),
            }
        }
    }

    fn end(self) {
        for key in self.table.keys() {
            self.mistakes.push(format!("{}{key}: no such key", self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use iroh::SecretKey;

    use super::*;
    use crate::transport::CongestionControl;

    fn key_file() -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let line = format!("key_file = {:?}\n", folder.path().join("secret.key"));
        (folder, line)
    }

    #[test]
    fn a_whole_file_is_read() {
        let (_folder, key_file) = key_file();
        let (site, superlink) = (SecretKey::generate().public(), SecretKey::generate().public());
        let config = FunnelConfig::from_toml(&format!(
            r#"
            {key_file}
            alpn = "test/1"
            congestion_control = "cubic"
            relay_mode = "off"
            bind_addr = "127.0.0.1:0"
            flower_grpc_addr = "127.0.0.1:19092"
            drain_timeout_s = 2.5

            [expose]
            superlink = "http://127.0.0.1:8000"
            allow_any = ["fleet"]
            [expose.upstream]
            fleet = "grpc://127.0.0.1:9092"
            control = ["http://127.0.0.1:8001", "grpc://127.0.0.1:9093"]
            [[expose.allow]]
            peer = "{site}"
            apis = ["fleet", "control"]

            [[peer]]
            name = "hospital"
            peer = "{superlink}"
            [[peer]]
            peer = "{superlink}"
            listen = "127.0.0.1:19093"
            "#
        ))
        .build()
        .unwrap();
        assert_eq!(config.alpn, b"test/1");
        assert_eq!(config.congestion_control, CongestionControl::Cubic);
        assert_eq!(config.drain_timeout, Duration::from_millis(2500));
        assert_eq!(config.peers.len(), 2);
        let exposed = config.exposed.unwrap();
        assert_eq!(exposed.access.apis(site), [Api::Fleet, Api::Control].into_iter().collect());
        assert_eq!(exposed.access.apis(superlink), Api::Fleet.into());
        assert_eq!(exposed.upstreams.of(Api::Control).count(), 2);
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let (_folder, key_file) = key_file();
        let error = FunnelConfig::from_toml(&format!(
            r#"
            {key_file}
            alpn = ""
            congestion_control = "reno"
            relay_mode = "on"
            bind_addr = "everywhere"
            drain_timeout_s = -1
            colour = "blue"
            [expose]
            superlink = "https://127.0.0.1:8000"
            [[expose.allow]]
            apis = ["simulation"]
            [[peer]]
            peer = "nobody"
            listen = 9092
            "#
        ))
        .build()
        .unwrap_err();
        let expected = [
            "relay_mode:",
            "bind_addr:",
            "drain_timeout_s:",
            "expose.superlink:",
            "expose.allow[0].apis:",
            "expose.allow[0].peer: it is missing",
            "peer[0].listen:",
            "peer[0].peer:",
            "colour: no such key",
            "alpn:",
            "congestion_control:",
        ];
        for part in expected {
            assert!(error.mistakes().iter().any(|mistake| mistake.starts_with(part)), "{part} is not in {error}");
        }
        assert_eq!(error.mistakes().len(), expected.len(), "{error}");
    }

    #[test]
    fn two_peers_cannot_listen_on_one_address() {
        let (_folder, key_file) = key_file();
        let peers: String =
            (0..2).map(|_| format!("[[peer]]\npeer = \"{}\"\n", SecretKey::generate().public())).collect();
        let error = FunnelConfig::from_toml(&format!("{key_file}{peers}")).build().unwrap_err();
        assert!(error.to_string().contains("would listen on 127.0.0.1:9092"), "{error}");
    }

    #[test]
    fn an_upstream_is_never_the_funnels_own_port() {
        let peer = format!("[[peer]]\npeer = \"{}\"\n", SecretKey::generate().public());
        let found = FunnelConfig::from_toml(&format!("[expose]\n{peer}")).build().unwrap().exposed.unwrap();
        assert_eq!(
            found.upstreams.of(Api::Fleet).map(ToString::to_string).collect::<Vec<_>>(),
            ["http://127.0.0.1:8000"]
        );
        let named = format!("[expose]\nsuperlink = \"grpc://127.0.0.1:9092\"\n{peer}");
        let error = FunnelConfig::from_toml(&named).build().unwrap_err().to_string();
        assert!(error.contains("this funnel's own port"), "{error}");
    }

    #[test]
    fn an_api_that_trusts_its_callers_is_never_open_to_anybody() {
        let error = FunnelConfig::from_toml("[expose]\nallow_any = [\"runtime\"]").build().unwrap_err().to_string();
        assert!(error.contains("must be named for each peer"), "{error}");
    }

    #[test]
    fn no_text_makes_it_panic() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let key_file = format!("key_file = {:?}\n", file.path().join("secret.key"));
        for text in ["", "=", "[[peer]]", "peer = 1", "expose = []", "expose = 1", "[expose]\nupstream = 3", "\u{0}"] {
            let error = FunnelConfig::from_toml(&format!("{key_file}{text}")).build().unwrap_err();
            assert!(!error.mistakes().is_empty(), "{text}");
        }
    }
}
