//! Keeps web pages away from the local port.
//!
//! A browser on this machine reaches the port for every page that it shows. It marks what a page sends (`origin`,
//! `sec-fetch-…`), unless the page's own name leads to this port (DNS rebinding). Such a name must be resolved, so that it is
//! neither an address nor a name without a dot, which nobody can register.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{
    HeaderName, HeaderValue, Request,
    header::{HOST, ORIGIN},
    uri::Authority,
};
use tracing::warn;

use crate::{protocol::CallError, transport::RateLimit};

/// The headers of browsers, which send at least one with what a page asks for.
static OF_BROWSERS: [HeaderName; 4] = [
    ORIGIN,
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static("sec-fetch-mode"),
    HeaderName::from_static("sec-fetch-dest"),
];
/// Names below this one lead to this machine (RFC 6761).
const LOCALHOST: &str = ".localhost";
/// The longest value that a message repeats, in characters.
const MAX_SHOWN: usize = 80;
/// The interval between two warnings: a page may try as often as it likes.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// The names by which local clients may dial the port, in addition to addresses and names without a dot. Clones share the
/// limit on warnings.
#[derive(Clone, Debug)]
pub(crate) struct LocalNames {
    configured: Arc<[String]>,
    warnings: Arc<RateLimit>,
}

impl LocalNames {
    pub(crate) fn new(configured: impl IntoIterator<Item = String>) -> Self {
        Self { configured: configured.into_iter().collect(), warnings: Arc::new(RateLimit::every(WARNING_INTERVAL)) }
    }

    /// Refuses a request that a web page may have sent. Warns of it too: a SuperNode shows no reason for a refusal.
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), CallError> {
        let refused = self.refuse_page(request).or_else(|| self.refuse_host(request));
        refused.map_or(Ok(()), |error| {
            self.warnings.run(|| warn!("a request at the local port was refused: {error}"));
            Err(error)
        })
    }

    fn refuse_page<B>(&self, request: &Request<B>) -> Option<CallError> {
        let sent = |name| Some((name, request.headers().get(name)?));
        let (name, value) = OF_BROWSERS.iter().find_map(sent)?;
        Some(CallError::refused(format_args!(
            "this port is not for web pages, and only a browser sends the header {name}: {}; use a program that sends none",
            shown(value.as_bytes())
        )))
    }

    /// Looks at what the client dialled: HTTP/2's `:authority`, and every `host`.
    fn refuse_host<B>(&self, request: &Request<B>) -> Option<CallError> {
        let authority = request.uri().authority().filter(|authority| !self.takes(authority));
        if let Some(authority) = authority {
            return Some(not_this_port(authority.as_str().as_bytes()));
        }
        let takes = |host: &HeaderValue| {
            host.is_empty() || Authority::try_from(host.as_bytes()).is_ok_and(|host| self.takes(&host))
        };
        let host = request.headers().get_all(HOST).iter().find(|host| !takes(host))?;
        Some(not_this_port(host.as_bytes()))
    }

    fn takes(&self, authority: &Authority) -> bool {
        let host = authority.host();
        if authority.as_str().contains('@') {
            return false;
        }
        if let Some(literal) = host.strip_prefix('[') {
            // An address may have a zone: `[fe80::1%25eth0]`.
            let address = literal.trim_end_matches(']').split('%').next().unwrap_or_default();
            return address.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6());
        }
        let name = host.strip_suffix('.').unwrap_or(host);
        let is_below_localhost = || {
            let start = name.len().checked_sub(LOCALHOST.len());
            start.and_then(|start| name.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(LOCALHOST))
        };
        !name.contains('.')
            || name.parse::<IpAddr>().is_ok()
            || is_below_localhost()
            || self.configured.iter().any(|configured| configured.eq_ignore_ascii_case(name))
    }
}

fn not_this_port(host: &[u8]) -> CallError {
    CallError::refused(format_args!(
        "this port is not known by the name {}, which a web page could have made to lead here (DNS rebinding): dial it by its \
         IP address or as localhost, or start the funnel with --listen-name NAME (listen_names in its file)",
        shown(host)
    ))
}

fn shown(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let cut: String = text.chars().take(MAX_SHOWN).collect();
    if cut.len() < text.len() { format!("{cut:?}…") } else { format!("{cut:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(names: &LocalNames, host: &str) -> bool {
        let by_header = names.check(&Request::post("/v1/fleet/get-run").header(HOST, host).body(()).unwrap()).is_ok();
        if let Ok(uri) = format!("http://{host}/v1/fleet/get-run").parse::<http::Uri>() {
            assert_eq!(names.check(&Request::post(uri).body(()).unwrap()).is_ok(), by_header, "{host}");
        }
        by_header
    }

    #[test]
    fn addresses_and_names_that_nobody_can_register_are_taken() {
        let names = LocalNames::new(["funnel.example.org".to_owned()]);
        for host in [
            "localhost",
            "LOCALHOST:9092",
            "localhost.",
            "site.localhost:9092",
            "127.0.0.1:9092",
            "127.1.2.3",
            "[::1]:9092",
            "[fe80::1%25eth0]:9092",
            "192.0.2.7:9092",
            "[2001:db8::7]",
            "funnel:9092",
            "funnel.example.org:9092",
            "Funnel.Example.ORG.",
        ] {
            assert!(takes(&names, host), "{host}");
        }
    }

    #[test]
    fn names_that_a_page_may_have_are_refused_with_the_way_out() {
        let names = LocalNames::new(["funnel.example.org".to_owned()]);
        for host in [
            "rebind.example",
            "rebind.example:9092",
            "a.funnel.example.org",
            "funnel.example.org.rebind.example",
            "localhost.rebind.example",
            "notlocalhost.example",
            "evil.xlocalhost",
            "127.0.0.1.rebind.example",
            "127.0.0.1@rebind.example",
            "rebind.example@localhost",
            "[rebind.example]",
            "[127.0.0.1]",
            "localhost, rebind.example",
            "127.0.0.1:9092:rebind",
        ] {
            assert!(!takes(&names, host), "{host}");
        }
        let request = Request::post("/").header(HOST, "rebind.example:9092").body(()).unwrap();
        let error = names.check(&request).unwrap_err().to_string();
        for part in ["\"rebind.example:9092\"", "--listen-name", "localhost"] {
            assert!(error.contains(part), "{part} is not in {error}");
        }
    }

    #[test]
    fn one_wrong_name_among_several_is_enough() {
        let names = LocalNames::new([]);
        let request = Request::post("http://localhost/").header(HOST, "rebind.example").body(()).unwrap();
        assert!(names.check(&request).is_err());
        let request = Request::post("/").header(HOST, "localhost").header(HOST, "rebind.example").body(()).unwrap();
        assert!(names.check(&request).is_err());
        let without = Request::post("/").body(()).unwrap();
        assert!(names.check(&without).is_ok());
    }

    #[test]
    fn what_only_a_browser_sends_is_refused_and_a_long_value_is_cut() {
        let names = LocalNames::new([]);
        for name in ["origin", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest"] {
            let value = format!("https://{}.example", "e".repeat(300));
            let request = Request::get("/health").header(HOST, "localhost").header(name, value).body(()).unwrap();
            let error = names.check(&request).unwrap_err().to_string();
            assert!(error.contains("not for web pages") && error.contains(name) && error.len() < 300, "{error}");
        }
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_host_is_decided_and_a_name_with_a_dot_is_refused(
            noise in "[!-~]{0,30}",
            name in "[a-z]{1,8}(\\.[a-z]{2,6}){1,3}\\.?(:[0-9]{1,5})?",
        ) {
            let names = LocalNames::new([]);
            for (host, may_be_taken) in [(&noise, true), (&name, name.contains(".localhost"))] {
                let request = Request::post("/").header(HOST, host).body(()).unwrap();
                prop_assert!(names.check(&request).is_err() || may_be_taken, "{}", host);
            }
        }
    }
}
