//! Parses a request line into a route, by a grammar that normalises nothing.
//!
//! ```text
//! /flwr.proto.{Service}/{Method}   Service and Method: a letter, then letters and digits
//! /v1/{api}/{kebab-name}           lower-case words of letters and digits, joined by single hyphens
//! /health
//! /.funnel/hello                   between funnels
//! /.funnel/passthrough             between funnels, where pass-through is granted
//! ```
//! Anything else is refused and never repaired: with a path that two programs read differently, a caller could reach one API
//! under the name of another.

use std::fmt;

use http::{Method, Request, Version, uri::PathAndQuery};

use super::{Api, Wire};

/// The path at which one funnel asks another what it may call.
pub const HELLO_PATH: &str = "/.funnel/hello";

/// The path at which one funnel passes the bytes of a connection through to another.
pub const PASSTHROUGH_PATH: &str = "/.funnel/passthrough";

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// A Flower call.
    Call {
        /// The API it belongs to. Which peers may make the call depends on nothing else.
        api: Api,
        /// The wire it is written in.
        wire: Wire,
        /// The method, `None` if no Flower up to 1.42 has it.
        method: Option<&'static super::Method>,
        /// The path as it was received. It ends with the method: `PullMessages` or `pull-messages`.
        path: PathAndQuery,
    },
    /// The health check of a SuperLink.
    Health,
    /// The hello of a funnel.
    Hello,
    /// Pass-through of bytes to the configured target, which no request can name.
    Passthrough,
}

/// Why a request is refused before it is forwarded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The path is outside the grammar.
    #[error("the path is not a Flower call")]
    Path,
    /// The service or API is not Flower's.
    #[error("{0} is not a Flower API that this funnel knows")]
    UnknownApi(String),
    /// The path does not take this HTTP method.
    #[error("{0} is not the HTTP method of this path")]
    Method(Method),
    /// The request line has more than a path.
    #[error("the request line has more than a path")]
    Form,
}

impl Route {
    /// Parses a request line.
    ///
    /// # Errors
    /// [`Refusal`] for everything outside the grammar.
    pub fn of<B>(request: &Request<B>) -> Result<Self, Refusal> {
        let uri = request.uri();
        let absolute_form = request.version() < Version::HTTP_2 && uri.authority().is_some();
        if absolute_form || uri.query().is_some() {
            return Err(Refusal::Form);
        }
        let (route, methods): (_, &[Method]) = match uri.path() {
            "/health" => (Self::Health, &[Method::GET, Method::HEAD]),
            HELLO_PATH => (Self::Hello, &[Method::GET]),
            PASSTHROUGH_PATH => (Self::Passthrough, &[Method::POST]),
            _ => (Self::call(uri.path_and_query().ok_or(Refusal::Path)?)?, &[Method::POST]),
        };
        if !methods.contains(request.method()) {
            return Err(Refusal::Method(request.method().clone()));
        }
        Ok(route)
    }

    /// Returns whether the call may move megabytes, as a call of an unknown method may.
    pub(crate) fn is_bulk(&self) -> bool {
        match self {
            Self::Call { method, .. } => method.is_none_or(super::Method::is_bulk),
            Self::Passthrough => true,
            Self::Health | Self::Hello => false,
        }
    }

    /// Returns the wire that a call is written in, and HTTP for all other requests.
    pub fn wire(&self) -> Wire {
        match self {
            Self::Call { wire, .. } => *wire,
            Self::Health | Self::Hello | Self::Passthrough => Wire::Http,
        }
    }

    /// Returns the name of the API, for logs; `-` if the request is not a Flower call.
    pub(crate) fn api_name(&self) -> &'static str {
        match self {
            Self::Call { api, .. } => api.name(),
            Self::Health | Self::Hello | Self::Passthrough => "-",
        }
    }

    /// Returns the method as the path spells it, or the kind of request if it is not a Flower call.
    pub(crate) fn method_name(&self) -> &str {
        match self {
            Self::Call { path, .. } => path.path().rsplit('/').next().unwrap_or_default(),
            Self::Health => "health",
            Self::Hello => "hello",
            Self::Passthrough => "pass-through",
        }
    }

    fn call(path: &PathAndQuery) -> Result<Self, Refusal> {
        let (api, wire, method) = if let Some(rest) = path.path().strip_prefix("/flwr.proto.") {
            let (service, method) = two_segments(rest, is_identifier)?;
            let api = Api::of_service(service).ok_or_else(|| Refusal::UnknownApi(service.to_owned()))?;
            (api, Wire::Grpc, method)
        } else {
            let rest = path.path().strip_prefix("/v1/").ok_or(Refusal::Path)?;
            let (segment, method) = two_segments(rest, is_kebab)?;
            let api = Api::of_segment(segment).ok_or_else(|| Refusal::UnknownApi(segment.to_owned()))?;
            (api, Wire::Http, method)
        };
        Ok(Self::Call { api, wire, method: super::Method::find(api, method), path: path.clone() })
    }
}

fn two_segments(rest: &str, valid: fn(&str) -> bool) -> Result<(&str, &str), Refusal> {
    match rest.split_once('/') {
        Some((first, second)) if valid(first) && valid(second) => Ok((first, second)),
        _ => Err(Refusal::Path),
    }
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_kebab(text: &str) -> bool {
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    text.split('-').all(is_word)
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { api, .. } => write!(f, "{api}/{}", self.method_name()),
            Self::Health | Self::Hello | Self::Passthrough => f.write_str(self.method_name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(path: &str) -> Result<Route, Refusal> {
        Route::of(&Request::post(path).body(()).unwrap())
    }

    #[test]
    fn both_wires_lead_to_the_same_api() {
        for (wire, path, spelling) in [
            (Wire::Grpc, "/flwr.proto.Fleet/PullMessages", "PullMessages"),
            (Wire::Http, "/v1/fleet/pull-messages", "pull-messages"),
        ] {
            let route = post(path).unwrap();
            assert_eq!((route.wire(), route.method_name()), (wire, spelling));
            let Route::Call { api, method, .. } = route else { panic!("{path} is a call") };
            assert_eq!((api, method), (Api::Fleet, super::super::Method::find(Api::Fleet, "PullMessages")));
        }
        assert!(matches!(post("/v1/fleet/invent"), Ok(Route::Call { method: None, .. })));
    }

    #[test]
    fn a_path_that_two_programs_could_read_differently_is_refused() {
        for path in [
            "//v1/fleet/pull-messages",
            "/v1//fleet/pull-messages",
            "/v1/fleet//pull-messages",
            "/v1/fleet/../control/list-runs",
            "/v1/fleet/./pull-messages",
            "/v1/fleet/%2e%2e/control/list-runs",
            "/v1/fleet%2fpull-messages",
            "/v1/fleet/pull%2dmessages",
            "/v1/fleet/pull-messages;x=1",
            "/v1/fleet/pull-messages/",
            "/v1/fleet/pull-messages/more",
            "/v1/Fleet/pull-messages",
            "/v1/fleet/Pull-messages",
            "/v1/fleet/-pull",
            "/v1/fleet/pull--messages",
            "/v1/fleet/",
            "/v1/fleet",
            "/V1/fleet/pull-messages",
            "/v2/fleet/pull-messages",
            "/flwr.proto.Fleet/PullMessages/",
            "/flwr.proto.Fleet//PullMessages",
            "/flwr.proto.Fleet/",
            "/flwr.proto.Fleet",
            "/flwr.proto.Fleet/Pull.Messages",
            "/flwr.proto.Fleet%2fPullMessages",
            "/flwr.proto.sub.Fleet/PullMessages",
            "/FLWR.proto.Fleet/PullMessages",
            "/grpc.health.v1.Health/Check",
            "/health/",
            "/Health",
            "/",
            "/docs",
            "/openapi.json",
            "/.funnel/hello/",
        ] {
            assert_eq!(post(path), Err(Refusal::Path), "{path}");
        }
        for path in ["/flwr.proto.fleet/PullMessages", "/flwr.proto.FLEET/PullMessages", "/v1/simulation/run"] {
            assert!(matches!(post(path), Err(Refusal::UnknownApi(_))), "{path}");
        }
    }

    #[test]
    fn a_query_an_absolute_form_and_another_method_are_refused() {
        assert_eq!(post("/v1/fleet/pull-messages?x=1"), Err(Refusal::Form));
        assert_eq!(post("http://elsewhere/v1/fleet/pull-messages"), Err(Refusal::Form));
        let put = Request::put("/v1/fleet/pull-messages").body(()).unwrap();
        assert_eq!(Route::of(&put), Err(Refusal::Method(Method::PUT)));
        assert_eq!(post("/health"), Err(Refusal::Method(Method::POST)));
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    /// Paths of calls, and paths that differ a little from one.
    fn path() -> impl Strategy<Value = String> {
        let call = prop_oneof![
            "/flwr[.]proto[.](Fleet|Control|Runtime|GrpcAdapter|Nobody)/[A-Za-z][A-Za-z0-9]{0,12}",
            "/v1/(fleet|control|runtime|nobody)/[a-z0-9]{1,6}(-[a-z0-9]{1,6}){0,2}",
        ];
        let nearly = (call.clone(), any::<prop::sample::Index>(), "[ -~]{0,2}").prop_map(|(mut path, at, more)| {
            path.insert_str(at.index(path.len() + 1), &more);
            path
        });
        prop_oneof![1 => call, 3 => nearly, 1 => "/[ -~]{0,30}"]
    }

    proptest! {
        /// The decision is made on exactly the text that is forwarded.
        #[test]
        fn a_path_that_passes_is_written_from_its_route_again(path in path()) {
            let Ok(request) = Request::post(&path).body(()) else { return Ok(()) };
            let Ok(route) = Route::of(&request) else { return Ok(()) };
            let method = route.method_name().to_owned();
            let Route::Call { api, wire, .. } = route else { return Ok(()) };
            match wire {
                Wire::Http => prop_assert_eq!(request.uri().to_string(), format!("/v1/{api}/{method}")),
                Wire::Grpc => {
                    let sent = request.uri().path();
                    let service = sent.strip_prefix("/flwr.proto.").and_then(|rest| rest.strip_suffix(&*method));
                    let service = service.and_then(|service| service.strip_suffix('/')).unwrap();
                    prop_assert_eq!(Api::of_service(service), Some(api));
                    prop_assert!(request.uri().query().is_none());
                }
            }
        }

        #[test]
        fn what_is_read_differently_by_others_never_passes(path in path()) {
            let Ok(request) = Request::post(&path).body(()) else { return Ok(()) };
            let is_plain = request.uri().query().is_none()
                && request.uri().path().split('/').skip(1).all(|segment| !matches!(segment, "" | "." | ".."))
                && request.uri().path().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/.-".contains(&byte));
            prop_assert!(is_plain || Route::of(&request).is_err(), "{}", path);
        }
    }
}
