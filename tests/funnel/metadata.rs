//! Responses whose headers or trailers are larger than the tunnel carries.

use bytes::Bytes;
use flower_iroh_funnel::{Api, protocol::Wire};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use super::support::{Body, LocalClient, Pair, Upstream, detail, full, grpc_call, guarded, http_call};

const FRAME: &[u8] = b"\0\0\0\0\x01x";
/// Past the 64 KiB of the tunnel.
const TOO_MUCH: usize = 70;
/// Within them.
const MUCH: usize = 40;

/// Values of one KiB.
fn large(kibibytes: usize) -> HeaderMap {
    let value = HeaderValue::try_from("v".repeat(1000)).unwrap();
    (0..kibibytes).map(|at| (HeaderName::try_from(format!("x-large-{at}")).unwrap(), value.clone())).collect()
}

/// Answers with headers and trailers as large as the request's `x-headers` and `x-trailers` say.
async fn answer(request: Request<Incoming>) -> Response<Body> {
    let size = |name| request.headers().get(name).map_or(0, |value| value.to_str().unwrap().parse().unwrap());
    let (headers, trailers) = (size("headers"), size("trailers"));
    let mut response = if request.version() == http::Version::HTTP_2 {
        let mut ending = large(trailers);
        ending.insert("grpc-status", HeaderValue::from_static("0"));
        let body = Full::new(Bytes::from_static(FRAME)).with_trailers(async move { Some(Ok(ending)) });
        let mut response = Response::new(body.boxed());
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        response
    } else {
        full(StatusCode::OK, "application/protobuf", "x")
    };
    response.headers_mut().extend(large(headers));
    response
}

fn with(mut call: Request<Body>, headers: usize, trailers: usize) -> Request<Body> {
    call.headers_mut().insert("headers", headers.into());
    call.headers_mut().insert("trailers", trailers.into());
    call
}

#[tokio::test]
async fn metadata_past_the_limit_fails_with_a_reason_in_each_wires_form_and_others_go_on() {
    guarded(async {
        let upstream = Upstream::start(answer).await;
        for spoken in [Wire::Grpc, Wire::Http] {
            let pair = Pair::start(upstream.speaking(spoken), &[Api::Fleet]).await;
            let (grpc, http) = (LocalClient::grpc(pair.dial), LocalClient::http(pair.dial));
            let by_grpc = async |headers, trailers| {
                let call = with(grpc_call("/flwr.proto.Fleet/PullMessages", FRAME), headers, trailers);
                let response = grpc.send(call).await.unwrap();
                assert_eq!(response.status(), 200);
                let (parts, body) = response.into_parts();
                let trailers = body.collect().await.unwrap().trailers().cloned().unwrap_or(parts.headers);
                let text = |name| trailers.get(name).map_or(String::new(), |value| value.to_str().unwrap().to_owned());
                (text("grpc-status"), text("grpc-message"))
            };
            let by_http = async |headers, trailers| {
                http.send(with(http_call("/v1/fleet/pull-messages", "x"), headers, trailers)).await.unwrap()
            };

            assert_eq!(by_grpc(MUCH, 0).await.0, "0", "{spoken}");
            assert_eq!(by_http(MUCH, 0).await.status(), 200, "{spoken}");
            let (status, message) = by_grpc(TOO_MUCH, 0).await;
            assert!(status == "8" && message.contains("bytes of headers"), "{spoken}: {status} {message}");
            let response = by_http(TOO_MUCH, 0).await;
            assert_eq!(response.status(), 502, "{spoken}");
            let reason = detail(response).await;
            assert!(reason.contains("bytes of headers"), "{spoken}: {reason}");
            if spoken == Wire::Grpc {
                assert_eq!(by_grpc(0, MUCH).await.0, "0");
                let (status, message) = by_grpc(0, TOO_MUCH).await;
                assert!(status == "8" && message.contains("bytes of trailers"), "{status} {message}");
            }
            // Far past every limit, too.
            let (status, message) = by_grpc(300, 0).await;
            assert!(status == "8" && message.contains("headers"), "{spoken}: {status} {message}");
            assert_eq!(by_grpc(0, 0).await.0, "0", "{spoken}");
            pair.stop().await;
        }
    })
    .await;
}
