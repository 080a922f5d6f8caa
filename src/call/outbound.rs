//! The outbound end: forwards calls from Flower clients on this machine into the tunnel.

use std::time::Duration;

use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use tracing::{Instrument, debug, info_span};

use super::{
    LocalNames,
    redelivery::Redelivery,
    request_body::{self, BodyFailure},
};
use crate::{
    hop::{self, Body, Relayed},
    protocol::{CallError, Method, Route, Wire},
    tunnel::{Size, Tunnel},
};

/// Handles one request of a local Flower client, and returns the response.
///
/// Calls are forwarded unchanged; the inbound end decides whether they are allowed. Only requests that no funnel forwards,
/// those that a web page may have sent, and those whose sender pauses for longer than `max_pause` are refused here.
pub(crate) async fn handle(
    tunnel: Tunnel,
    redelivery: Redelivery,
    max_pause: Duration,
    names: &LocalNames,
    request: Request<Incoming>,
) -> Response<Body> {
    if request.headers().contains_key(hop::PASSED) {
        // Always in HTTP, and marked: the inbound funnel that took this port for a SuperLink must recognise its mistake.
        let error =
            CallError::refused("this port leads to another funnel's SuperLink, and a call passes two funnels at most");
        let mut response = error.response(Wire::Http).map(hop::full);
        response.headers_mut().insert(hop::PASSED, HeaderValue::from_static("outbound"));
        return response;
    }
    let wire = Wire::of_request(&request);
    let route = names.check(&request).and_then(|()| Route::of(&request).map_err(CallError::refused));
    let peer = tunnel.peer().fmt_short();
    let span = match &route {
        Ok(route) => info_span!("outbound", %peer, api = route.api_name(), method = route.method_name()),
        Err(_) => info_span!("outbound", %peer),
    };
    let answered = async {
        let answered = match route {
            Ok(route) => forward(tunnel, redelivery, max_pause, route, request).await,
            Err(error) => Err(error),
        };
        answered.unwrap_or_else(|error| {
            debug!(%error, "answered by the funnel");
            error.response(wire).map(hop::full)
        })
    };
    answered.instrument(span).await
}

async fn forward(
    tunnel: Tunnel,
    redelivery: Redelivery,
    max_pause: Duration,
    route: Route,
    request: Request<Incoming>,
) -> Result<Response<Body>, CallError> {
    let (wire, size) = (route.wire(), Size::of(&route));
    let (replayable, kind) = match route {
        Route::Hello | Route::Passthrough => {
            return Err(CallError::refused(format_args!("{route} is for funnels only")));
        }
        Route::Health => (None, None),
        Route::Call { method, .. } => (redelivery.watch(tunnel.peer(), method, wire), method.map(Method::kind)),
    };
    let failure = BodyFailure::default();
    let limit = |body| request_body::without_long_pauses(body, kind, max_pause, &failure);
    let request = hop::received(request).map(limit);
    let send = move |request| async move {
        let (response, lane) = tunnel.call(size, request).await?;
        Ok(Relayed::received(response)?.for_caller(wire, "the tunnel", lane))
    };
    let answered = match replayable {
        None => send(request).await,
        Some(replayable) => replayable.forward(request, send, ()).await,
    };
    answered.map_err(|error| failure.or(error))
}
