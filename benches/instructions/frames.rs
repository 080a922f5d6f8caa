//! A body in frames of a given size, as a socket would yield it.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

#[derive(Clone)]
pub(crate) struct Frames {
    data: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Frames {
    pub(crate) fn new(mut content: Bytes, size: usize) -> Self {
        let mut data = VecDeque::new();
        while !content.is_empty() {
            data.push_back(content.split_to(content.len().min(size)));
        }
        Self { data, trailers: None }
    }

    pub(crate) fn with_trailers(mut self, trailers: HeaderMap) -> Self {
        self.trailers = Some(trailers);
        self
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.pop_front().map(Frame::data);
        let frame = data.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.iter().map(|data| data.len() as u64).sum())
    }
}
