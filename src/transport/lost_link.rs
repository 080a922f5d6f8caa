//! A client layer that says `UNAVAILABLE`, and why, when a link is lost.

use std::{
    error::Error,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Status;
use tower_layer::Layer;
use tower_service::Service;

use super::ConnectError;

type BoxError = Box<dyn Error + Send + Sync>;

/// Wraps a tonic `Channel` in [`LostLink`].
///
/// ```
/// use flower_iroh_funnel::transport::LostLinkLayer;
/// use tower_layer::Layer;
/// # fn example(channel: tonic::transport::Channel) {
/// let channel = LostLinkLayer.layer(channel);
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct LostLinkLayer;

impl<S> Layer<S> for LostLinkLayer {
    type Service = LostLink<S>;

    fn layer(&self, inner: S) -> LostLink<S> {
        LostLink { inner }
    }
}

/// A client service whose calls end with `UNAVAILABLE` and the reason when their link is lost, before the response
/// or in the middle of it.
///
/// Stock tonic reports `UNKNOWN: transport error` or `CANCELLED` then, which no retry policy takes for what it is.
/// A call that had not been sent yet learns only that: it may be sent again, over another link. Errors that are not
/// the link's pass unchanged.
#[derive(Clone, Debug)]
pub struct LostLink<S> {
    inner: S,
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
        self.inner.poll_ready(cx).map_err(explain)
    }

    fn call(&mut self, request: Request<Req>) -> Self::Future {
        LostLinkFuture { inner: self.inner.call(request) }
    }
}

pin_project! {
    /// A call of [`LostLink`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless awaited"]
    pub struct LostLinkFuture<F> {
        #[pin]
        inner: F,
    }
}

impl<F, Res, E> Future for LostLinkFuture<F>
where
    F: Future<Output = Result<Response<Res>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<LostLinkBody<Res>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(self.project().inner.poll(cx)).map_err(explain)?;
        Poll::Ready(Ok(response.map(|inner| LostLinkBody { inner })))
    }
}

pin_project! {
    /// The response body of a [`LostLink`] call.
    #[derive(Debug)]
    pub struct LostLinkBody<B> {
        #[pin]
        inner: B,
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
        self.project().inner.poll_frame(cx).map_err(explain)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn explain(error: impl Into<BoxError>) -> BoxError {
    let error = error.into();
    match lost_link(&*error) {
        Some(reason) => Box::new(Status::unavailable(reason)),
        None => error,
    }
}

/// The reason, if the link or the session is what failed.
fn lost_link(error: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    let mut unsent = false;
    while let Some(error) = cause {
        if let Some(unreachable) = error.downcast_ref::<ConnectError>() {
            return Some(unreachable.to_string());
        }
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io.to_string());
        }
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            return h2.get_io().map(io::Error::to_string);
        }
        if let Some(hyper) = error.downcast_ref::<hyper::Error>() {
            // A request body that failed is the caller's business.
            if hyper.is_user() {
                return None;
            }
            // hyper names no reason then: it goes to the calls that were on their way.
            unsent |= hyper.is_canceled() || hyper.is_closed();
        }
        cause = error.source();
    }
    unsent.then(|| "the session ended before the call was sent".to_owned())
}
