//! Translates calls from one wire to the other.

mod headers;
mod messages;
mod timeout;

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Response, Uri,
    header::{ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TE},
};
use http_body::Body;
use http_body_util::{BodyExt, Either, Full};

use self::messages::{Direction, Framing};
pub(crate) use self::{
    messages::{GRPC_HEADER, Messages},
    timeout::GRPC_TIMEOUT,
};
use super::{
    Api, BoxError, CallError, Method, MethodKind, Status, Wire,
    flower_error::{FlowerError, MAX_ERROR_BODY},
    wire::has_ok_status,
};

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/protobuf");
const PROTOBUF_STREAM: HeaderValue = HeaderValue::from_static("application/flower-protobuf-stream");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// Translates calls of one method from one wire to the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Translation {
    method: &'static Method,
    from: Wire,
}

/// The answer to a call, in the caller's wire.
pub(crate) struct Answer<B> {
    pub(crate) response: Response<Either<Messages<B>, Full<Bytes>>>,
    /// An error that the caller's wire has no status for.
    pub(crate) unmatched: Option<String>,
}

impl Translation {
    /// Creates the translation of the call with this path, which was received in wire `from`.
    ///
    /// # Errors
    /// The method is not in the table, so that its name in the other wire, and whether it streams, are unknown; or the other
    /// wire does not have it.
    pub(crate) fn of(api: Api, method: Option<&'static Method>, path: &str, from: Wire) -> Result<Self, CallError> {
        if method.is_some_and(|method| method.kind() == MethodKind::Json) {
            return Err(CallError::new(
                Status::UNIMPLEMENTED,
                format_args!(
                    "{path} is JSON, which is carried only where the {api} API is served over HTTP; here it is gRPC"
                ),
            ));
        }
        // Older services, such as Exec and GrpcAdapter, belong to the API but have other paths.
        match method.filter(|method| method.path(from) == path) {
            Some(method) => Ok(Self { method, from }),
            None => Err(CallError::new(
                if api == Api::Fleet { Status::UNAVAILABLE } else { Status::UNIMPLEMENTED },
                format_args!(
                    "the SuperLink's {api} API is {} here, and this funnel cannot carry {path} to it: it knows no such \
                     method",
                    from.other()
                ),
            )),
        }
    }

    /// Returns the wire in which the call was received.
    pub(crate) fn callers_wire(&self) -> Wire {
        self.from
    }

    /// Returns how long the caller waits for the whole call; `None` if the request has no deadline.
    pub(crate) fn deadline<B>(&self, request: &Request<B>) -> Result<Option<Duration>, CallError> {
        match self.from {
            Wire::Grpc => timeout::deadline(request.headers()),
            Wire::Http => Ok(None),
        }
    }

    /// Translates the request. Waits for the length of its message.
    pub(crate) async fn request<B>(&self, request: Request<B>) -> Result<Request<Messages<B>>, CallError>
    where
        B: Body<Data = Bytes, Error = BoxError> + Unpin,
    {
        let (parts, body) = request.into_parts();
        let (headers, body) = match self.from {
            Wire::Grpc => self.request_to_http(&parts.headers, body).await?,
            Wire::Http => request_to_grpc(&parts.headers, body)?,
        };
        let mut request = Request::new(body);
        *request.method_mut() = parts.method;
        *request.uri_mut() = Uri::try_from(self.method.path(self.from.other())).expect("the table has paths");
        *request.headers_mut() = headers;
        *request.extensions_mut() = parts.extensions;
        Ok(request)
    }

    async fn request_to_http<B>(&self, metadata: &HeaderMap, body: B) -> Result<(HeaderMap, Messages<B>), CallError>
    where
        B: Body<Data = Bytes, Error = BoxError> + Unpin,
    {
        let mut headers = headers::to_http(metadata)?;
        let mut message = Messages::new(body, Direction::Request, Framing::Grpc, Framing::Bare(0), true);
        let Some(length) = message.first().await.map_err(body_error)? else {
            return Err(CallError::new(Status::UNIMPLEMENTED, "the request has no message"));
        };
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(CONTENT_TYPE, PROTOBUF);
        headers.insert(ACCEPT, if self.method.streams() { PROTOBUF_STREAM } else { PROTOBUF });
        Ok((headers, message))
    }

    /// Returns the head of a response whose first message has not been received yet, if the caller expects a stream.
    pub(crate) fn head(&self) -> Option<Response<()>> {
        (self.from == Wire::Http && self.method.streams()).then(|| {
            let mut head = Response::new(());
            head.headers_mut().insert(CONTENT_TYPE, PROTOBUF_STREAM);
            head
        })
    }

    /// Translates the SuperLink's response. Waits for its first message or its error.
    pub(crate) async fn response<B>(&self, response: Response<B>) -> Result<Answer<B>, CallError>
    where
        B: Body<Data = Bytes, Error = BoxError> + Unpin,
    {
        match self.from {
            Wire::Grpc => self.response_to_grpc(response).await,
            Wire::Http => self.response_to_http(response).await,
        }
    }

    async fn response_to_grpc<B>(&self, response: Response<B>) -> Result<Answer<B>, CallError>
    where
        B: Body<Data = Bytes, Error = BoxError> + Unpin,
    {
        let (parts, body) = response.into_parts();
        if !parts.status.is_success() {
            let content = beginning(body, MAX_ERROR_BODY).await;
            let (error, exact) = FlowerError::of_http(parts.status, &content, self.method.api());
            return Ok(self.error(&error, exact, || format!("HTTP status {}", parts.status)));
        }
        if is_encoded(&parts.headers) {
            return Err(CallError::unavailable("the SuperLink's answer has a Content-Encoding that was not requested"));
        }
        let single = !is(&parts.headers, &PROTOBUF_STREAM);
        let from = match (single, body.size_hint().exact()) {
            (false, _) => Framing::Stream,
            (true, Some(length)) => Framing::Bare(length),
            (true, None) => return Err(CallError::unavailable("the SuperLink's answer has no Content-Length")),
        };
        let messages = Messages::new(body, Direction::Response(self.method.api()), from, Framing::Grpc, single);
        let mut response = Response::new(Either::Left(messages));
        *response.headers_mut() = headers::to_grpc(&parts.headers).map_err(CallError::unavailable)?;
        response.headers_mut().insert(CONTENT_TYPE, GRPC);
        Ok(Answer { response, unmatched: None })
    }

    async fn response_to_http<B>(&self, response: Response<B>) -> Result<Answer<B>, CallError>
    where
        B: Body<Data = Bytes, Error = BoxError> + Unpin,
    {
        let (parts, body) = response.into_parts();
        let single = !self.method.streams();
        let direction = Direction::Response(self.method.api());
        let mut messages = Messages::new(body, direction, Framing::Grpc, Framing::Stream, single);
        let first = messages.first().await.map_err(body_error)?;
        // A response without a message may have its status in the headers.
        let ended = messages.trailers().unwrap_or(&parts.headers);
        let headers = headers::to_http(&parts.headers).map_err(CallError::unavailable)?;
        let mut response = match first {
            None if !has_ok_status(ended) => {
                let (error, exact) = FlowerError::of_grpc(ended, self.method.api());
                return Ok(self.error(&error, exact, || {
                    format!("gRPC status {}", ended.get("grpc-status").map_or("missing", |s| s.to_str().unwrap_or("?")))
                }));
            }
            None if single => return Err(CallError::unavailable("the SuperLink's answer has no message")),
            None => Response::new(Either::Right(Full::default())),
            Some(length) if single => {
                messages.write_as(Framing::Bare(length));
                let mut response = Response::new(Either::Left(messages));
                response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
                response
            }
            Some(_) => Response::new(Either::Left(messages)),
        };
        response.headers_mut().extend(headers);
        response.headers_mut().insert(CONTENT_TYPE, if single { PROTOBUF } else { PROTOBUF_STREAM });
        Ok(Answer { response, unmatched: None })
    }

    fn error<B>(&self, error: &FlowerError, exact: bool, was: impl Fn() -> String) -> Answer<B> {
        let unmatched = (!exact).then(|| format!("{} to {}: {error}", was(), self.method.path(self.from)));
        Answer { response: error.response(self.from).map(|body| Either::Right(Full::new(body))), unmatched }
    }
}

fn request_to_grpc<B>(headers: &HeaderMap, body: B) -> Result<(HeaderMap, Messages<B>), CallError>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    if !is(headers, &PROTOBUF) {
        return Err(CallError::new(Status::UNSUPPORTED_TYPE, "the request's Content-Type is not application/protobuf"));
    }
    if is_encoded(headers) {
        return Err(CallError::new(
            Status::UNSUPPORTED_TYPE,
            "the request has a Content-Encoding, and none is supported",
        ));
    }
    let Some(length) = body.size_hint().exact() else {
        return Err(CallError::new(Status::LENGTH_REQUIRED, "the request has no Content-Length"));
    };
    let mut metadata = headers::to_grpc(headers)?;
    metadata.insert(CONTENT_TYPE, GRPC);
    metadata.insert(TE, HeaderValue::from_static("trailers"));
    metadata.insert("grpc-accept-encoding", HeaderValue::from_static("identity"));
    Ok((metadata, Messages::new(body, Direction::Request, Framing::Bare(length), Framing::Grpc, true)))
}

/// Reads a body up to a length, or to where it ends or fails.
async fn beginning<B>(mut body: B, length: usize) -> Vec<u8>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut content = Vec::new();
    while let Some(Ok(frame)) = body.frame().await
        && content.len() < length
    {
        content.extend(frame.data_ref().into_iter().flatten().take(length - content.len()));
    }
    content
}

/// Returns whether the body is encoded, so that its bytes are not the message.
pub(crate) fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().any(|encoding| encoding != "identity")
}

/// Returns whether the content type is this one, with or without parameters.
fn is(headers: &HeaderMap, media_type: &HeaderValue) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let end = content_type.iter().position(|byte| *byte == b';').unwrap_or(content_type.len());
    content_type[..end].trim_ascii().eq_ignore_ascii_case(media_type.as_bytes())
}

/// Returns the error of a broken body: this funnel's own, or one that says that the connection ended.
fn body_error(error: BoxError) -> CallError {
    match error.downcast::<CallError>() {
        Ok(error) => *error,
        Err(error) => CallError::unavailable(format_args!("the body broke off: {error}")).caused_by(error),
    }
}
