//! A client layer that turns the loss of a link into `UNAVAILABLE` with the reason.

use std::{
    error::Error,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Status;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    ConnectError, SessionError,
    session_end::{LatestSession, SessionEnd},
};

type BoxError = Box<dyn Error + Send + Sync>;

/// Wraps a tonic `Channel` in [`LostLink`]. Each channel needs a layer of its own, which its connector
/// [reports to](super::IrohConnector::reporting_to).
///
/// ```
/// use flower_iroh_funnel::transport::{IrohConnector, LostLinkLayer};
/// use tower_layer::Layer;
/// # fn example(connector: IrohConnector, peer: iroh::EndpointId) -> Result<(), tonic::transport::Error> {
/// let lost_link = LostLinkLayer::new();
/// let channel = tonic::transport::Endpoint::from_shared(format!("iroh://{peer}"))?
///     .connect_with_connector_lazy(connector.reporting_to(&lost_link));
/// let channel = lost_link.layer(channel);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct LostLinkLayer {
    latest: LatestSession,
}

impl LostLinkLayer {
    /// Creates the layer of one channel. It keeps no link open.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn latest(&self) -> &LatestSession {
        &self.latest
    }
}

impl<S> Layer<S> for LostLinkLayer {
    type Service = LostLink<S>;

    fn layer(&self, inner: S) -> LostLink<S> {
        LostLink { inner, latest: self.latest.clone() }
    }
}

/// A client service whose calls end with `UNAVAILABLE` and the reason when their link is lost, before the response
/// or in the middle of it.
///
/// tonic alone reports `UNKNOWN: transport error` or `CANCELLED` then, which retry policies do not recognise
/// (<https://github.com/grpc/grpc-rust/issues/628>). The reason is the code with which the peer ended the session, the close
/// reason of the link, or the [`ConnectError`]; the status has it as its source too, as [`SessionError`] or `ConnectError`.
/// If the status says that the session ended before the call was sent, the call may be repeated safely. Other errors pass
/// unchanged.
#[derive(Clone, Debug)]
pub struct LostLink<S> {
    inner: S,
    latest: LatestSession,
}

impl<S, Req, Res> Service<Request<Req>> for LostLink<S>
where
    S: Service<Request<Req>, Response = Response<Res>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<LostLinkBody<Res>>;
    type Error = BoxError;
    type Future = LostLinkFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(|error| Session::of(&self.latest).explain(error))
    }

    fn call(&mut self, request: Request<Req>) -> Self::Future {
        LostLinkFuture { session: Session::of(&self.latest), inner: self.inner.call(request) }
    }
}

/// The session of one call.
#[derive(Clone, Debug)]
struct Session {
    latest: LatestSession,
    /// The latest when the call started.
    at_start: SessionEnd,
}

impl Session {
    fn of(latest: &LatestSession) -> Self {
        Self { at_start: latest.now(), latest: latest.clone() }
    }

    /// Replaces the error of a call by `UNAVAILABLE` and the reason, if the link or the session is what failed.
    fn explain(&self, error: impl Into<BoxError>) -> BoxError {
        let error = error.into();
        let Some(loss) = Loss::of(&*error) else { return error };
        let end = self.latest.end_since(&self.at_start);
        let mut status = Status::unavailable(loss.message(end.as_ref()));
        status.set_source(match (loss, end) {
            (Loss::Unreachable(_), _) | (_, None) => Arc::from(error),
            (_, Some(end)) => Arc::new(end),
        });
        Box::new(status)
    }
}

pin_project! {
    /// A call of [`LostLink`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless awaited"]
    pub struct LostLinkFuture<F> {
        #[pin]
        inner: F,
        session: Session,
    }
}

impl<F, Res, E> Future for LostLinkFuture<F>
where
    F: Future<Output = Result<Response<Res>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<LostLinkBody<Res>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx)).map_err(|error| this.session.explain(error))?;
        Poll::Ready(Ok(response.map(|inner| LostLinkBody { inner, session: this.session.clone() })))
    }
}

pin_project! {
    /// The response body of a [`LostLink`] call.
    #[derive(Debug)]
    pub struct LostLinkBody<B> {
        #[pin]
        inner: B,
        session: Session,
    }
}

impl<B> Body for LostLinkBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let this = self.project();
        this.inner.poll_frame(cx).map_err(|error| this.session.explain(error))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// How a call lost its session.
enum Loss {
    /// There was none; with the reason.
    Unreachable(String),
    /// It failed while the call was in flight; with what HTTP/2 knows of it.
    InFlight(String),
    /// It ended before the call was sent. hyper gives no reason then.
    NotSent,
}

impl Loss {
    fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        let mut is_unsent = false;
        while let Some(error) = cause {
            if let Some(unreachable) = error.downcast_ref::<ConnectError>() {
                return Some(Self::Unreachable(unreachable.to_string()));
            }
            if let Some(io) = error.downcast_ref::<io::Error>() {
                return Some(Self::InFlight(io.to_string()));
            }
            if let Some(h2) = error.downcast_ref::<h2::Error>() {
                return h2.get_io().map(|io| Self::InFlight(io.to_string()));
            }
            if let Some(hyper) = error.downcast_ref::<hyper::Error>() {
                // A request body that failed concerns the caller alone.
                if hyper.is_user() {
                    return None;
                }
                is_unsent |= hyper.is_canceled() || hyper.is_closed();
            }
            cause = error.source();
        }
        is_unsent.then_some(Self::NotSent)
    }

    fn message(&self, end: Option<&SessionError>) -> String {
        match (self, end) {
            (Self::Unreachable(reason), _) | (Self::InFlight(reason), None) => reason.clone(),
            (Self::InFlight(_), Some(end)) => end.to_string(),
            (Self::NotSent, None) => "the session ended before the call was sent".to_owned(),
            (Self::NotSent, Some(end)) => format!("the session ended before the call was sent: {end}"),
        }
    }
}
