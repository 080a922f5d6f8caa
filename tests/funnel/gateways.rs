//! Gateways before a SuperLink: what they refuse, and when they end connections.

use bytes::Bytes;
use flower_iroh_funnel::{Api, Exposed, UpstreamState};
use futures_util::future::join_all;
use http::{Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::net::TcpListener;

use super::{
    nginx::Nginx,
    support::{LocalClient, Pair, Upstream, detail, echo, full, grpc_call, guarded, http_call},
    translation::frame,
};

/// It ends each connection after 20 requests, as it does by default after 1,000.
const NGINX: &str = "
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {
    listen LISTEN HTTP2;
    keepalive_requests 20;
    client_max_body_size 1m;
    location / { PASS://UPSTREAM; PASS_VERSION }
  }
}";
const CALLERS: usize = 20;
const CALLS: usize = 50;

#[tokio::test]
async fn an_upstream_whose_gateway_lets_only_calls_through_is_called() {
    guarded(async {
        for refusal in [StatusCode::FORBIDDEN, StatusCode::UNAUTHORIZED, StatusCode::NOT_FOUND] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let upstream = Upstream::unprobed(listener, move |request: Request<Incoming>| async move {
                if request.method() != "POST" || request.uri().path().ends_with("/FunnelProbe") {
                    return full(refusal, "text/html", "<h1>only calls</h1>");
                }
                let is_grpc = request.headers()[CONTENT_TYPE] == "application/grpc";
                if is_grpc { echo(request).await } else { full(StatusCode::OK, "application/protobuf", "reply") }
            });
            let pair = Pair::start(upstream.both_wires(), &[Api::Fleet]).await;
            let states = pair.inbound.funnel.upstreams().await;
            let fleet = states.iter().filter(|(api, ..)| *api == Api::Fleet);
            assert!(fleet.clone().all(|(.., state)| *state == UpstreamState::Unknown), "{refusal}: {states:?}");
            assert_eq!(fleet.count(), 2);
            let response = LocalClient::http(pair.dial).send(http_call("/v1/fleet/get-run", "x")).await.unwrap();
            assert_eq!(response.status(), 200, "{refusal}");
            let response = LocalClient::grpc(pair.dial).send(grpc_call("/flwr.proto.Fleet/GetRun", frame(b"x"))).await;
            assert_eq!(response.unwrap().headers().get("grpc-status"), None, "{refusal}");
            let states = pair.inbound.funnel.upstreams().await;
            let is_up = |(api, _, state): &(Api, _, UpstreamState)| *api == Api::Fleet && *state == UpstreamState::Up;
            assert!(states.iter().any(is_up), "an answer is better than a probe: {states:?}");
            pair.stop().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_an_nginx_that_ends_connections_every_call_succeeds() {
    if !Nginx::is_here() {
        return;
    }
    guarded(async {
        for (scheme, http2, pass, version) in
            [("grpc", "http2", "grpc_pass grpc", ""), ("http", "", "proxy_pass http", "proxy_http_version 1.1;")]
        {
            let servers = NGINX.replace("HTTP2", http2).replace("PASS_VERSION", version).replace("PASS", pass);
            let superlink = Upstream::echo().await;
            let nginx = Nginx::start(&servers, superlink.addr).await;
            let upstream = format!("{scheme}://{}", nginx.addr).parse().unwrap();
            let pair = Pair::start(Exposed::new().upstream(Api::Fleet, upstream), &[Api::Fleet]).await;
            let client = LocalClient::grpc(pair.dial);
            let caller = async |caller: usize| {
                for call in 0..CALLS {
                    let body = Bytes::from(vec![7; if call % 2 == 0 { 40 } else { 40_000 }]);
                    let method = if caller.is_multiple_of(2) { "send-node-heartbeat" } else { "push-object" };
                    let request = match scheme {
                        "http" => http_call(&format!("/v1/fleet/{method}"), body.clone()),
                        _ if caller.is_multiple_of(2) => grpc_call("/flwr.proto.Fleet/SendNodeHeartbeat", frame(&body)),
                        _ => grpc_call("/flwr.proto.Fleet/PushObject", frame(&body)),
                    };
                    let response = client.send(request).await.unwrap();
                    let (parts, answer) = response.into_parts();
                    assert_eq!(parts.status, 200, "{scheme}: {parts:?}");
                    let status = parts.headers.get("grpc-status");
                    assert_eq!(status, None, "{parts:?}");
                    let answer = answer.collect().await.unwrap();
                    let status = answer.trailers().and_then(|trailers| trailers.get("grpc-status").cloned());
                    assert!(status.is_none_or(|status| status == "0"));
                    assert!(answer.to_bytes().ends_with(&body));
                }
            };
            join_all((0..CALLERS).map(caller)).await;
            pair.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_is_too_large_for_nginx_is_refused_by_its_status() {
    if !Nginx::is_here() {
        return;
    }
    guarded(async {
        for (scheme, http2, pass) in [("grpc", "http2", "grpc_pass grpc"), ("http", "", "proxy_pass http")] {
            let servers = NGINX.replace("HTTP2", http2).replace("PASS_VERSION", "").replace("PASS", pass);
            let superlink = Upstream::start(async |request: Request<Incoming>| {
                let _ = request.into_body().collect().await;
                full(StatusCode::OK, "application/grpc", "")
            })
            .await;
            let nginx = Nginx::start(&servers, superlink.addr).await;
            let upstream = format!("{scheme}://{}", nginx.addr).parse().unwrap();
            let pair = Pair::start(Exposed::new().upstream(Api::Fleet, upstream), &[Api::Fleet]).await;
            let call = http_call("/v1/fleet/push-object", vec![7; 8_000_000]);
            let response = LocalClient::http(pair.dial).send(call).await.unwrap();
            assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE, "{scheme}");
            let call = grpc_call("/flwr.proto.Fleet/PushObject", frame(&[7; 8_000_000]));
            let response = LocalClient::grpc(pair.dial).send(call).await.unwrap();
            assert_eq!(response.headers()["grpc-status"], "8", "{scheme}");
            pair.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn json_and_events_of_the_runtime_api_pass_over_http_and_are_not_translated() {
    guarded(async {
        let superlink = Upstream::start(async |request: Request<Incoming>| {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let content_type = if body.ends_with(b"true}") { "text/event-stream" } else { "application/json" };
            full(StatusCode::OK, content_type, [b"{\"output\":", &body[..], b"}"].concat())
        })
        .await;
        let call = |body: &'static str| {
            let mut request = http_call("/v1/runtime/responses", body);
            request.headers_mut().insert(CONTENT_TYPE, "application/json".parse().unwrap());
            request
        };
        let http = Exposed::new().upstream(Api::Runtime, superlink.url("http"));
        let pair = Pair::start(http, &[Api::Runtime]).await;
        for (body, content_type) in [("{}", "application/json"), ("{\"stream\":true}", "text/event-stream")] {
            let response = LocalClient::http(pair.dial).send(call(body)).await.unwrap();
            assert_eq!(
                (response.status().as_u16(), &response.headers()[CONTENT_TYPE]),
                (200, &content_type.parse().unwrap())
            );
            let answer = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(answer, format!("{{\"output\":{body}}}"));
        }
        pair.stop().await;

        let grpc = Exposed::new().upstream(Api::Runtime, superlink.url("grpc"));
        let pair = Pair::start(grpc, &[Api::Runtime]).await;
        let response = LocalClient::http(pair.dial).send(call("{}")).await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_IMPLEMENTED);
        let detail = detail(response).await;
        assert!(detail.contains("/v1/runtime/responses is JSON, which is carried only where"), "{detail}");
        pair.stop().await;
    })
    .await;
}
