//! The outbound end: from a Flower client on this machine into the tunnel.

use http::{Request, Response, header::ORIGIN};
use hyper::body::Incoming;
use tracing::{Instrument, debug, debug_span};

use super::redelivery::Redelivery;
use crate::{
    hop::{self, Body},
    protocol::{Failure, Route, Wire},
    tunnel::{Size, Tunnel},
};

/// Answers one request of a local Flower client.
///
/// Calls pass as they came; what the peer may call is the inbound end's decision. Only what no funnel would pass is
/// refused here already.
pub(crate) async fn answer(tunnel: Tunnel, redelivery: Redelivery, request: Request<Incoming>) -> Response<Body> {
    let wire = Wire::of_request(&request);
    if request.headers().contains_key(hop::PASSED) {
        // In HTTP's form always: the inbound funnel that took this port for a SuperLink has to see that it is none.
        let failure =
            Failure::refused("this port leads to another funnel's SuperLink, and calls pass two funnels, not more");
        return failure.response(Wire::Http).map(hop::full);
    }
    let answered = match Route::of(&request) {
        _ if request.headers().contains_key(ORIGIN) => Err(Failure::refused("this port is not for web pages")),
        Ok(route @ (Route::Hello | Route::Passthrough)) => {
            Err(Failure::refused(format_args!("{route} is spoken between funnels")))
        }
        Ok(route) => {
            let span = debug_span!("outbound", peer = %tunnel.peer().fmt_short(), call = %route);
            carry(tunnel, redelivery, &route, request, wire).instrument(span).await
        }
        Err(refusal) => Err(Failure::refused(refusal)),
    };
    answered.unwrap_or_else(|failure| {
        debug!(%failure, "answered by the funnel");
        failure.response(wire).map(hop::full)
    })
}

async fn carry(
    tunnel: Tunnel,
    redelivery: Redelivery,
    route: &Route,
    request: Request<Incoming>,
    wire: Wire,
) -> Result<Response<Body>, Failure> {
    let version = request.version();
    let request = request.map(|body| hop::received(version, body));
    let once = match route {
        Route::Call { api, method, .. } => redelivery.watch(tunnel.peer(), *api, method, wire),
        Route::Health | Route::Hello | Route::Passthrough => None,
    };
    let size = Size::of(route);
    let send = move |request| async move {
        let (response, lane) = tunnel.call(size, request).await?;
        Ok(hop::onward_response(hop::received_response(response), wire, "the tunnel", lane))
    };
    match once {
        None => send(request).await,
        Some(once) => once.carry(request, send, ()).await,
    }
}
