//! Who is let in, and what the others read.

use std::error::Error;

use flower_iroh_funnel::{
    ALPN, Api, DownReason, Exposed, PeerDown, SecretKey,
    transport::{Code, LinkLost},
};

use super::support::{
    LocalClient, Pair, RawPeer, Running, Upstream, detail, grpc_call, guarded, http_call, join, loopback,
};

#[tokio::test]
async fn a_peer_reaches_only_the_apis_that_were_named_for_it_although_all_stand_on_one_port() {
    guarded(async {
        let upstream = Upstream::echo().await;
        let exposed = || Exposed::new().superlink(upstream.url("http"));
        let pair = Pair::start(exposed(), &[Api::Fleet]).await;
        let client = LocalClient::http(pair.dial);
        assert_eq!(client.send(http_call("/v1/fleet/pull-messages", "x")).await.unwrap().status(), 200);
        for (path, api) in [("/v1/control/list-runs", "control"), ("/v1/runtime/pull-messages", "runtime")] {
            let response = client.send(http_call(path, "x")).await.unwrap();
            assert_eq!(response.status(), 403);
            let detail = detail(response).await;
            let command = format!("--allow {}={api}", pair.outbound.funnel.endpoint_id());
            assert!(detail.contains(&command), "{detail}");
        }
        pair.stop().await;

        let pair = Pair::start(exposed(), &[Api::Fleet, Api::Control]).await;
        let client = LocalClient::http(pair.dial);
        assert_eq!(client.send(http_call("/v1/control/list-runs", "x")).await.unwrap().status(), 200);
        assert_eq!(client.send(http_call("/v1/runtime/pull-messages", "x")).await.unwrap().status(), 403);
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_stranger_gets_no_link_and_reads_what_the_other_side_has_to_type() {
    guarded(async {
        let upstream = Upstream::echo().await;
        let exposed =
            Exposed::new().superlink(upstream.url("http")).allow(SecretKey::generate().public(), [Api::Fleet]);
        let inbound = Running::start(loopback().expose(exposed).build().unwrap()).await;
        let peer = inbound.funnel.endpoint_addr().await;

        let outbound = join(peer.clone(), SecretKey::generate()).await;
        let error = outbound.funnel.connect_to_peer(peer.clone()).await.unwrap_err();
        let command = format!("--allow {}", outbound.funnel.endpoint_id());
        assert_eq!(error.peer_down().map(PeerDown::reason), Some(DownReason::NotAdmitted), "{error}");
        let down = error.peer_down().unwrap();
        assert!(down.to_string().contains(&command), "{down}");
        let lost = error.peer_down().and_then(|down| down.source()?.downcast_ref::<LinkLost>()).unwrap();
        assert_eq!(lost.code(), Some(Code::REFUSED));

        let dial = outbound.funnel.local_addrs()[0];
        let response = LocalClient::http(dial).send(http_call("/v1/fleet/pull-messages", "x")).await.unwrap();
        assert_eq!(response.status(), 503);
        assert!(detail(response).await.contains(&command));
        let response = LocalClient::grpc(dial).send(grpc_call("/flwr.proto.Fleet/GetRun", "x")).await.unwrap();
        assert_eq!(response.headers()["grpc-status"], "14");

        let raw = RawPeer::new(SecretKey::generate(), peer.clone(), ALPN).await;
        let lost = raw.connector.link(peer.id).await.unwrap().closed().await;
        assert_eq!(lost.code(), Some(Code::REFUSED));
        raw.endpoint.close().await;
        outbound.stop().await;
        inbound.stop().await;
    })
    .await;
}

#[tokio::test]
async fn allow_any_lets_every_peer_reach_the_fleet_and_nothing_else() {
    guarded(async {
        let upstream = Upstream::echo().await;
        let exposed = Exposed::new().superlink(upstream.url("http")).allow_any([Api::Fleet]);
        let inbound = Running::start(loopback().expose(exposed).build().unwrap()).await;
        let outbound = join(inbound.funnel.endpoint_addr().await, SecretKey::generate()).await;
        let client = LocalClient::http(outbound.funnel.local_addrs()[0]);
        assert_eq!(client.send(http_call("/v1/fleet/pull-messages", "x")).await.unwrap().status(), 200);
        assert_eq!(client.send(http_call("/v1/control/list-runs", "x")).await.unwrap().status(), 403);
        outbound.stop().await;
        inbound.stop().await;
    })
    .await;
}

#[tokio::test]
async fn hello_tells_an_admitted_peer_what_it_may_call_and_in_which_wire() {
    guarded(async {
        let upstream = Upstream::echo().await;
        let exposed = Exposed::new().superlink(upstream.url("http")).superlink(upstream.url("grpc"));
        let pair = Pair::start(exposed, &[Api::Fleet, Api::Control]).await;
        let hello = pair.outbound.funnel.connect_to_peer(pair.peer.clone()).await.unwrap().hello().unwrap();
        assert_eq!(hello.version, env!("CARGO_PKG_VERSION"));
        let apis: Vec<_> = hello.apis.iter().map(|report| &*report.api).collect();
        assert_eq!(apis, ["fleet", "control"]);
        let wires: Vec<_> = hello.apis[0].wires.iter().map(|report| &*report.wire).collect();
        assert_eq!(wires, ["http", "grpc"]);
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_peer_of_another_protocol_version_is_told_so() {
    guarded(async {
        let upstream = Upstream::echo().await;
        let exposed = Exposed::new().superlink(upstream.url("http")).allow_any([Api::Fleet]);
        let newer = loopback().alpn("flower-iroh-funnel/2").expose(exposed).build().unwrap();
        let inbound = Running::start(newer).await;
        let peer = inbound.funnel.endpoint_addr().await;
        let outbound = join(peer.clone(), SecretKey::generate()).await;
        let error = outbound.funnel.connect_to_peer(peer).await.unwrap_err().to_string();
        assert!(error.contains("does not speak \"flower-iroh-funnel/1\""), "{error}");
        outbound.stop().await;
        inbound.stop().await;
    })
    .await;
}
