//! Several funnels that use one key.

use std::time::Duration;

use flower_iroh_funnel::{ALPN, Api, DownReason, Error, Funnel, PeerDown, SecretKey, identity, transport::Code};
use futures_util::future::join_all;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    raw_peer::on_loopback,
    support::{LocalClient, Running, Upstream, full, guarded, http_call, join, loopback},
};

/// How long the calls of this test take.
const CALL: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn of_five_funnels_with_one_key_four_go_on_and_the_fifth_reports_why_it_does_not() {
    guarded(async {
        let upstream = Upstream::start(|_: Request<Incoming>| async {
            sleep(CALL).await;
            full(StatusCode::OK, "application/protobuf", "answer")
        });
        let upstream = upstream.await;
        let key = SecretKey::generate();
        let exposed = upstream.both_wires().allow(key.public(), [Api::Fleet]);
        let inbound = Running::start(loopback().expose(exposed).build().unwrap()).await;
        let peer = inbound.funnel.endpoint_addr().await;
        let mut sites = Vec::new();
        for _ in 0..4 {
            let site = join(peer.clone(), key.clone()).await;
            site.funnel.connect_to_peer(peer.clone()).await.unwrap();
            sites.push(site);
        }
        let fifth = join(peer.clone(), key.clone()).await;
        let calls = join_all(sites.iter().map(async |site| {
            let client = LocalClient::http(site.funnel.local_addrs()[0]);
            for _ in 0..2 {
                let response = client.send(http_call("/v1/fleet/get-run", "")).await.unwrap();
                assert_eq!(response.status(), StatusCode::OK);
            }
        }));
        let (refused, _) = tokio::join!(fifth.funnel.connect_to_peer(peer.clone()), calls);
        let down = refused.unwrap_err();
        assert_eq!(down.peer_down().map(PeerDown::reason), Some(DownReason::Overloaded), "{down}");
        assert!(down.to_string().contains("too many links of one peer: 4 others have its key"), "{down}");
        assert!(sites.iter().all(|site| site.funnel.peer(peer.id).down().is_none()));

        // Its turn comes once one of the others has left.
        sites.pop().unwrap().stop().await;
        fifth.funnel.peer(peer.id).ready(|_| {}).await;
        for site in sites.into_iter().chain([fifth]) {
            site.stop().await;
        }
        inbound.stop().await;
    })
    .await;
}

/// The other side is no funnel, so that it can count.
#[tokio::test(flavor = "multi_thread")]
async fn a_funnel_that_is_refused_for_a_limit_tries_again_a_few_times_in_ten_seconds() {
    guarded(async {
        let peer = on_loopback(SecretKey::generate()).alpns(vec![ALPN.to_vec()]).bind().await.unwrap();
        let site = join(peer.addr(), SecretKey::generate()).await;
        let (mut attempts, begin) = (0, Instant::now());
        while let Ok(incoming) = timeout(Duration::from_secs(10).saturating_sub(begin.elapsed()), peer.accept()).await {
            let Ok(link) = incoming.unwrap().await else { continue };
            link.close(Code::OVERLOADED.into(), b"too many links");
            attempts += 1;
        }
        assert!((2..=6).contains(&attempts), "{attempts}");
        site.stop().await;
        peer.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_second_funnel_of_one_process_with_the_same_key_file_is_refused_until_the_first_has_closed() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let key_file = folder.path().join("secret.key");
        let start = async || Funnel::new(loopback().key_file(&key_file).build().unwrap()).await;
        let is_refused = |second: Result<Funnel, Error>| {
            let error = second.map(|_| ()).unwrap_err();
            assert!(!error.is_mistake(), "waiting may help");
            error.to_string().contains("another funnel of this process")
        };
        let first = start().await.unwrap();
        assert!(is_refused(start().await));
        identity::load_or_create(&key_file).expect("others can read the key");
        first.close().await;

        let second = start().await.unwrap();
        let serving = tokio::spawn({
            let funnel = second.clone();
            async move { funnel.serve().await }
        });
        assert!(is_refused(start().await));
        second.shutdown();
        serving.await.unwrap().unwrap();

        let third = start().await.unwrap();
        assert!(is_refused(start().await));
        drop(third);
        start().await.unwrap().close().await;
    })
    .await;
}
