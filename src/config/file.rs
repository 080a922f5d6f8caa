//! The configuration file.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use toml::{Table, Value};

use super::{
    CallLimits, Exposed, FunnelConfig, FunnelConfigBuilder, Grant, PeerConfig, Problems, default_limits, grant::Right,
    lookups::Settings,
};
use crate::{
    address_lookup::{InvalidPeer, parse_peer, shown},
    admission::roster::RosterFile,
    atomic_file::{expand_home, without_bom},
    protocol::Api,
    transport::IncomingLimits,
};

/// The largest number of links or calls: more than a machine has room for.
const MAX_COUNT: usize = 1_000_000;
/// The largest number of MiB: a TiB.
const MAX_MEBIBYTES: u64 = 1 << 20;
/// The longest time, in seconds: a day.
const MAX_SECONDS: f64 = 86_400.0;

/// Shows a value that is not a valid number, without the content of what is not a number.
fn brief(value: &Value) -> String {
    match value {
        Value::Integer(_) | Value::Float(_) => value.to_string(),
        other => format!("a {}", other.type_str()),
    }
}

/// Parses a configuration file. The builder has every mistake in it.
pub(super) fn read(text: &str) -> FunnelConfigBuilder {
    let text = without_bom(text);
    let table = match text.parse::<Table>() {
        Ok(table) => table,
        Err(error) => return FunnelConfig::builder().mistake(syntax(text, &error)),
    };
    let mut problems = Problems::default();
    let builder = root(Fields::new(String::new(), table, &mut problems));
    builder.with_problems(problems)
}

/// Describes a syntax error without the line itself, which may contain a token.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start);
    let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
    format!("line {line}: {}", error.message())
}

fn root(mut fields: Fields<'_>) -> FunnelConfigBuilder {
    let mut builder = FunnelConfig::builder();
    if let Some(alpn) = fields.string("alpn") {
        builder = builder.alpn(alpn);
    }
    if fields.has("relay_mode") {
        builder = builder.relays(fields.strings("relay_mode"), "relay_mode:");
    }
    if fields.flag("allow_http_relay") {
        builder = builder.allow_http_relay();
    }
    if fields.has("lookup") {
        builder = builder.lookup_texts(fields.strings("lookup"), "lookup:");
    }
    if fields.has("publish") {
        builder = builder.publication_texts(fields.strings("publish"), "publish:");
    }
    for relay_ca in fields.strings("relay_ca") {
        builder = builder.relay_ca_file(expand_home(relay_ca));
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
    for listen_name in fields.strings("listen_names") {
        builder = builder.listen_name(listen_name);
    }
    if let Some(seconds) = fields.seconds("drain_timeout_s", 0.0) {
        builder = builder.drain_timeout(seconds);
    }
    if let Some(key_file) = fields.path("key_file") {
        builder = builder.key_file(key_file);
    }
    if let Some(state_dir) = fields.path("state_dir") {
        builder = builder.state_dir(state_dir);
    }
    if fields.flag("local_tls") {
        builder = builder.local_tls();
    }
    let (mut limits, mut call_limits) = (default_limits(), CallLimits::default());
    if let Some(exposed) = fields.table("expose") {
        builder = builder.expose(expose(exposed, &mut limits, &mut call_limits));
    }
    builder = builder.incoming_limits(limits).call_limits(call_limits);
    fields.each_table("peer", |fields| {
        builder = match peer(fields) {
            Some(Peer::Known(peer)) => builder.clone().peer(peer),
            Some(Peer::Named { place, wanted, settings }) => builder.clone().named_peer(place, wanted, settings),
            Some(Peer::Missing(path)) => builder.clone().missing_ticket_file(path),
            None => return,
        };
    });
    fields.end();
    builder
}

fn expose(mut fields: Fields<'_>, limits: &mut IncomingLimits, call_limits: &mut CallLimits) -> Exposed {
    let mut exposed = Exposed::new();
    if let Some(path) = fields.path("superlink_ca") {
        exposed = exposed.superlink_ca(path);
    }
    fields.count("max_links", &mut limits.max_links);
    fields.count("max_links_per_peer", &mut limits.max_links_per_peer);
    fields.count("max_calls_per_peer", &mut call_limits.max_calls_per_peer);
    fields.count("max_bulk_calls_per_peer", &mut call_limits.max_bulk_calls_per_peer);
    fields.count("max_calls_at_upstreams", &mut call_limits.max_calls_at_upstreams);
    if let Some(pause) = fields.seconds("max_pause_s", 1.0) {
        call_limits.max_pause = pause;
    }
    fields.mebibytes("max_request_mib", &mut call_limits.max_request);
    fields.mebibytes("max_mib_per_peer", &mut call_limits.max_bytes_per_peer);
    if let Some(mut upstreams) = fields.table("upstream") {
        for api in Api::ALL {
            for text in upstreams.strings(api.name()) {
                let added = exposed.add_upstreams(api, &text);
                upstreams.report(api.name(), &text, added);
            }
        }
        upstreams.end();
    }
    if let Some(text) = fields.string("superlink") {
        let added = exposed.add_superlink(&text);
        fields.report("superlink", &text, added);
    }
    if !exposed.has_upstreams() {
        exposed = exposed.local_superlink();
    }
    if let Some(target) = fields.parse("passthrough") {
        exposed = exposed.passthrough(target);
    }
    for api in fields.parse_list::<Api>("allow_any") {
        if api.trusts_its_callers() {
            fields.mistake("allow_any", format_args!("{api} must be named for each peer: it trusts its callers"));
        } else {
            exposed = exposed.allow_any([api]);
        }
    }
    if let Some(roster) = fields.path("roster") {
        exposed = exposed.roster(RosterFile::new(roster));
    }
    if let Some(audit_log) = fields.path("audit_log") {
        exposed = exposed.audit_log(audit_log);
    }
    fields.each_table("allow", |mut allow| {
        let names = if allow.has("apis") { allow.parse_list("apis") } else { vec![Right::Api(Api::Fleet)] };
        let passthrough = allow.flag("passthrough").then_some(Right::Passthrough);
        let rights = names.into_iter().chain(passthrough).collect();
        let peer = allow.required("peer").and_then(|peer| allow.parse_text("peer", &peer));
        if let Some(peer) = peer {
            exposed = exposed.clone().grant(Grant { peer, rights });
        }
        allow.end();
    });
    fields.end();
    exposed
}

enum Peer {
    Known(PeerConfig),
    Named {
        place: String,
        wanted: InvalidPeer,
        settings: Settings,
    },
    /// Its ticket file does not exist yet.
    Missing(PathBuf),
}

fn peer(mut fields: Fields<'_>) -> Option<Peer> {
    let settings = Settings {
        name: fields.string("name"),
        listen: fields.parse("listen"),
        is_passthrough: fields.flag("passthrough"),
    };
    let place = format!("{}peer:", fields.path);
    let peer = fields.required("peer").map(|peer| parse_peer(&peer));
    let peer = match peer? {
        Ok(peer) => Some(Peer::Known(settings.of(peer.into()))),
        Err(wanted) if wanted.may_be_name() => Some(Peer::Named { place, wanted, settings }),
        Err(error) => {
            let problem = format!("{}peer: {error}", fields.path);
            fields.problems.add(problem, error.is_mistake());
            error.missing_file().map(|path| Peer::Missing(path.to_owned()))
        }
    };
    fields.end();
    peer
}

/// A table that is being read. Keys are removed as they are read; those that are left are unknown.
struct Fields<'a> {
    path: String,
    table: Table,
    problems: &'a mut Problems,
}

impl<'a> Fields<'a> {
    fn new(path: String, table: Table, problems: &'a mut Problems) -> Self {
        Self { path, table, problems }
    }

    fn mistake(&mut self, key: &str, problem: impl fmt::Display) {
        self.problems.mistake(format!("{}{key}: {problem}", self.path));
    }

    /// Reads a string that is required.
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
                self.mistake(key, format_args!("expected a string, found {}", other.type_str()));
                None
            }
        }
    }

    /// Reads a path, which may begin with `~/`.
    fn path(&mut self, key: &str) -> Option<PathBuf> {
        self.string(key).map(expand_home)
    }

    fn parse<T: FromStr<Err: fmt::Display>>(&mut self, key: &str) -> Option<T> {
        let text = self.string(key)?;
        self.parse_text(key, &text)
    }

    fn parse_text<T: FromStr<Err: fmt::Display>>(&mut self, key: &str, text: &str) -> Option<T> {
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.mistake(key, format_args!("{:?}: {error}", shown(text)));
                None
            }
        }
    }

    /// Adds a mistake if `text` could not be read.
    fn report<E: fmt::Display>(&mut self, key: &str, text: &str, read: Result<(), E>) {
        if let Err(error) = read {
            self.mistake(key, format_args!("{:?}: {error}", shown(text)));
        }
    }

    fn flag(&mut self, key: &str) -> bool {
        match self.table.remove(key) {
            None => false,
            Some(Value::Boolean(flag)) => flag,
            Some(other) => {
                self.mistake(key, format_args!("expected true or false, found {}", other.type_str()));
                false
            }
        }
    }

    /// Reads a string or a list of strings.
    fn strings(&mut self, key: &str) -> Vec<String> {
        let values = match self.table.remove(key) {
            None => return Vec::new(),
            Some(Value::Array(values)) => values,
            Some(value) => vec![value],
        };
        let mut strings = Vec::new();
        for value in values {
            match value {
                Value::String(text) => strings.push(text),
                other => self.mistake(key, format_args!("expected strings, found {}", other.type_str())),
            }
        }
        strings
    }

    /// Reads a string or a list of strings, and parses each.
    fn parse_list<T: FromStr<Err: fmt::Display>>(&mut self, key: &str) -> Vec<T> {
        let strings = self.strings(key);
        strings.iter().filter_map(|text| self.parse_text(key, text)).collect()
    }

    /// Sets `count` to the number, if the key is present.
    fn count(&mut self, key: &str, count: &mut usize) {
        let Some(value) = self.table.remove(key) else { return };
        match value.as_integer().and_then(|number| usize::try_from(number).ok()) {
            Some(number @ 1..=MAX_COUNT) => *count = number,
            _ => self
                .mistake(key, format_args!("it must be a whole number from 1 to {MAX_COUNT}, not {}", brief(&value))),
        }
    }

    /// Sets `bytes` to the number of MiB, if the key is present.
    fn mebibytes(&mut self, key: &str, bytes: &mut u64) {
        let Some(value) = self.table.remove(key) else { return };
        match value.as_integer().and_then(|number| u64::try_from(number).ok()) {
            Some(number @ 1..=MAX_MEBIBYTES) => *bytes = number << 20,
            _ => self.mistake(
                key,
                format_args!("it must be a whole number of MiB from 1 to {MAX_MEBIBYTES}, not {}", brief(&value)),
            ),
        }
    }

    /// Reads a number of seconds of at least `min`, at most a day.
    fn seconds(&mut self, key: &str, min: f64) -> Option<Duration> {
        let value = self.table.remove(key)?;
        let seconds = value.as_float().or_else(|| value.as_integer().map(|seconds| seconds as f64));
        match seconds.filter(|seconds| (min..=MAX_SECONDS).contains(seconds)) {
            Some(seconds) => Some(Duration::from_secs_f64(seconds)),
            None => {
                self.mistake(key, format_args!("it must be from {min} to {MAX_SECONDS} s, not {}", brief(&value)));
                None
            }
        }
    }

    fn table(&mut self, key: &str) -> Option<Fields<'_>> {
        match self.table.remove(key)? {
            Value::Table(table) => Some(Fields::new(format!("{}{key}.", self.path), table, self.problems)),
            other => {
                self.mistake(key, format_args!("expected a table, found {}", other.type_str()));
                None
            }
        }
    }

    /// Reads a list of tables, `[[key]]`, each with `read`.
    fn each_table(&mut self, key: &str, mut read: impl FnMut(Fields<'_>)) {
        let values = match self.table.remove(key) {
            None => return,
            Some(Value::Array(values)) => values,
            Some(other) => return self.mistake(key, format_args!("expected [[{key}]], found {}", other.type_str())),
        };
        for (index, value) in values.into_iter().enumerate() {
            match value {
                Value::Table(table) => {
                    read(Fields::new(format!("{}{key}[{index}].", self.path), table, self.problems));
                }
                other => self.mistake(key, format_args!("expected tables, found {}", other.type_str())),
            }
        }
    }

    /// Adds a mistake for each unknown key.
    fn end(self) {
        for key in self.table.keys() {
            self.problems.mistake(format!("{}{key}: no such key", self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use iroh::SecretKey;

    use super::*;
    use crate::{admission::Verdict, protocol::Route, transport::CongestionControl};

    fn key_file() -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let line = format!("key_file = {:?}\n", folder.path().join("secret.key"));
        (folder, line)
    }

    #[test]
    fn a_complete_file_is_read() {
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
            max_links = 50
            max_links_per_peer = 2
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
        assert_eq!((config.incoming_limits.max_links, config.incoming_limits.max_links_per_peer), (50, 2));
        assert_eq!(config.peers.len(), 2);
        let exposed = config.exposed.unwrap();
        assert_eq!(exposed.access.apis(site), [Api::Fleet, Api::Control].into_iter().collect());
        assert_eq!(exposed.access.apis(superlink), Api::Fleet.into());
        assert_eq!(exposed.upstreams.of(Api::Control).count(), 2);
    }

    #[test]
    fn tls_and_pass_through_are_read() {
        let (folder, key_file) = key_file();
        let ca = folder.path().join("ca.pem");
        let certificate = rcgen::generate_simple_self_signed(["superlink.example".to_owned()]).unwrap().cert;
        std::fs::write(&ca, certificate.pem()).unwrap();
        let (site, superlink) = (SecretKey::generate().public(), SecretKey::generate().public());
        let config = FunnelConfig::from_toml(&format!(
            r#"
            {key_file}
            local_tls = true
            [expose]
            superlink = "10.0.0.5:8000"
            superlink_ca = {ca:?}
            passthrough = "10.0.0.5:8000"
            [[expose.allow]]
            peer = "{site}"
            passthrough = true
            [[peer]]
            peer = "{superlink}"
            passthrough = true
            "#
        ))
        .build()
        .unwrap();
        assert!(config.local_tls && config.peers[0].is_passthrough());
        let exposed = config.exposed.unwrap();
        let fleet: Vec<_> = exposed.upstreams.of(Api::Fleet).map(ToString::to_string).collect();
        assert_eq!(fleet, ["https://10.0.0.5:8000", "grpcs://10.0.0.5:8000"]);
        assert_eq!(exposed.access.permits(site, &Route::Passthrough), Verdict::Allowed);
        assert_eq!(exposed.access.permits(superlink, &Route::Passthrough), Verdict::Denied);
    }

    #[test]
    fn an_invitation_in_a_wrong_place_is_not_shown_in_the_error() {
        let secret = "a".repeat(100);
        let text = format!("[expose]\n[[expose.allow]]\npeer = \"invite{secret}\"\n");
        let error = FunnelConfig::from_toml(&text).build().unwrap_err().to_string();
        assert!(error.contains("expose.allow") && !error.contains(&secret[..20]), "{error}");
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
            max_links = 0
            superlink = "ftp://127.0.0.1:8000"
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
            "expose.max_links: it must be a whole number from 1 to 1000000, not 0",
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
    fn numbers_outside_of_their_ranges_are_refused_with_the_range() {
        type Row = (&'static str, &'static str, &'static [&'static str], &'static [&'static str]);
        const COUNT: &str = "from 1 to 1000000";
        const ROWS: [Row; 9] = [
            ("max_links", COUNT, &["1", "1000000"], &["0", "1000001", "1.5"]),
            ("max_links_per_peer", COUNT, &["1", "1000000"], &["0", "1000001", "1.5"]),
            ("max_calls_per_peer", COUNT, &["1", "1000000"], &["0", "1000001", "1.5"]),
            ("max_bulk_calls_per_peer", COUNT, &["1", "1000000"], &["0", "1000001", "1.5"]),
            ("max_calls_at_upstreams", COUNT, &["1", "1000000"], &["0", "1000001", "1.5"]),
            ("max_request_mib", "from 1 to 1048576", &["1", "1048576"], &["0", "1048577", "1.5"]),
            ("max_mib_per_peer", "from 1 to 1048576", &["1", "1048576"], &["0", "1048577", "1.5"]),
            ("max_pause_s", "from 1 to 86400 s", &["1", "2.5", "86400"], &["0", "0.9", "86400.5"]),
            ("drain_timeout_s", "from 0 to 86400 s", &["0", "0.5", "86400"], &["-0.1", "86401"]),
        ];
        const NONSENSE: [&str; 9] =
            ["-1", "9223372036854775807", "1e300", "nan", "-nan", "inf", "-inf", "true", "\"one\""];
        for (key, range, good, bad) in ROWS {
            let place = if key == "drain_timeout_s" { "" } else { "[expose]" };
            let read = |value: &str| FunnelConfig::from_toml(&format!("{place}\n{key} = {value}")).build();
            for value in good {
                assert!(read(value).is_ok(), "{key} = {value}");
            }
            for value in bad.iter().chain(&NONSENSE) {
                let error = read(value).unwrap_err().to_string();
                assert!(error.contains(key) && error.contains(range), "{key} = {value}: {error}");
            }
        }
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
    fn a_peers_relay_without_tls_is_refused_unless_it_is_an_own_one_or_allowed() {
        let relay = "http://10.0.0.1:3340";
        let addr = iroh::EndpointAddr::from(SecretKey::generate().public()).with_relay_url(relay.parse().unwrap());
        let invitation = crate::address_lookup::Invitation::new(addr.clone()).to_string();
        let ticket = iroh_tickets::endpoint::EndpointTicket::new(addr).to_string();
        for peer in [ticket, invitation] {
            let peer = format!("[[peer]]\nname = \"north\"\npeer = \"{peer}\"");
            for more in ["", "relay_mode = \"https://relay.example.org\""] {
                let error = FunnelConfig::from_toml(&format!("{more}\n{peer}")).build().unwrap_err().to_string();
                for part in ["peer north: its relay is http://10.0.0.1:3340", "--relay", "allow_http_relay in the file"]
                {
                    assert!(error.contains(part), "{part} is not in {error}");
                }
            }
            let own = format!("relay_mode = [\"https://relay.example.org\", \"{relay}/\"]");
            for more in ["allow_http_relay = true", "relay_mode = \"off\"", &own] {
                FunnelConfig::from_toml(&format!("{more}\n{peer}")).build().unwrap();
            }
        }
    }

    #[test]
    fn listen_names_are_host_names() {
        let names = FunnelConfig::from_toml("listen_names = [\"funnel.example.org\", \"a_b\"]").build().unwrap();
        assert_eq!(names.listen_names, ["funnel.example.org", "a_b"]);
        for name in ["", "https://funnel.example.org", "funnel.example.org:9092", "*.example.org", "a b"] {
            let text = format!("listen_names = {name:?}");
            let error = FunnelConfig::from_toml(&text).build().unwrap_err().to_string();
            assert!(error.contains("it must be a host name"), "{error}");
        }
    }

    #[test]
    fn malformed_files_are_errors_and_never_panics() {
        assert!(FunnelConfig::from_toml("").build().is_ok());
        for text in ["=", "[[peer]]", "peer = 1", "expose = []", "expose = 1", "[expose]\nupstream = 3", "\u{0}"] {
            let error = FunnelConfig::from_toml(text).build().unwrap_err();
            assert!(!error.mistakes().is_empty(), "{text}");
        }
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    /// A line of a file with a known key, and a value that may be valid for it.
    fn line() -> impl Strategy<Value = String> {
        let key = "(alpn|relay_mode|lookup|publish|bind_addr|flower_grpc_addr|drain_timeout_s|congestion_control|expose|peer|max_links|apis)";
        let value = prop_oneof![
            "-?[0-9]{1,20}",
            "-?[0-9]{1,3}[.][0-9]e[0-9]{1,3}",
            "\"[ -!#-\\[\\]-~]{0,20}\"",
            "(true|\\[\\]|\\{\\}|\\[1, \"fleet\"\\]|\"127.0.0.1:0\")",
        ];
        prop_oneof![
            4 => (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
            1 => "(\\[expose\\]|\\[\\[peer\\]\\]|\\[\\[expose.allow\\]\\]|\\[expose.upstream\\])",
        ]
    }

    proptest! {
        #[test]
        fn a_key_that_does_not_exist_is_always_named(lines in prop::collection::vec(line(), 0..6)) {
            let text = format!("no_such_key = 1\n{}", lines.join("\n"));
            let error = FunnelConfig::from_toml(&text).build().unwrap_err();
            let is_toml = text.parse::<Table>().is_ok();
            let named = error.mistakes().iter().any(|mistake| mistake == "no_such_key: no such key");
            prop_assert_eq!(named, is_toml, "{}", error);
        }

        #[test]
        fn a_count_is_one_or_more(number in prop_oneof![any::<i64>(), -2..3i64, 999_999..1_000_002i64]) {
            let text = format!("[expose]\nmax_links = {number}");
            let limit = FunnelConfig::from_toml(&text).build().map(|config| config.incoming_limits.max_links);
            prop_assert_eq!(limit.ok(), usize::try_from(number).ok().filter(|number| (1..=MAX_COUNT).contains(number)));
        }
    }
}
