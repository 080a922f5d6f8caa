//! Links without end, strangers, and what QUIC offers besides bi-streams.

use std::{
    net::{Ipv4Addr, UdpSocket},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use flower_iroh_funnel::{ALPN, transport::Code};
use futures_util::{StreamExt, future::join_all, poll, stream::FuturesUnordered};
use iroh::endpoint::Connection;
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
};

use crate::{
    attacker::{Attacker, code},
    honest::Scene,
    support::guarded,
};

/// The code with which a link ends. Where its refusal comes first, there is no link at all.
async fn end_of(link: &Result<Connection, Option<Code>>) -> Option<Code> {
    match link {
        Ok(link) => code(&link.closed().await),
        Err(code) => *code,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_opens_links_without_end_keeps_the_first_ones_and_gets_no_others() {
    guarded(async {
        let mut scene = Scene::start().await;
        let attacker = scene.attacker().await;
        let mut links = Vec::new();
        for _ in 0..4 {
            links.push(attacker.serving_link().await);
        }
        let mut further = Vec::new();
        for _ in 0..16 {
            further.push(attacker.try_link().await);
        }
        for code in join_all(further.iter().map(end_of)).await {
            assert_eq!(code, Some(Code::OVERLOADED));
        }
        scene.honest.goes_on().await;
        assert!(links.iter().all(|link| link.close_reason().is_none()));
        scene.end().await;
    })
    .await;
}

/// A link of another endpoint with the same key that says nothing more once it serves, as after its process was killed.
async fn silent_link(of: &Attacker) {
    let (ready, is_ready) = oneshot::channel();
    let (key, target) = (of.endpoint.secret_key().clone(), of.target.clone());
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let silent = Attacker::new(key, target).await;
            let _link = silent.serving_link().await;
            ready.send(()).unwrap();
            loop {
                thread::park();
            }
        });
    });
    is_ready.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_past_a_peers_limit_takes_the_place_of_a_silent_one_and_of_no_other() {
    guarded(async {
        let mut scene = Scene::start().await;
        let attacker = scene.attacker().await;
        let mut links = vec![attacker.serving_link().await];
        silent_link(&attacker).await;
        for _ in 0..3 {
            links.push(attacker.serving_link().await);
        }
        let past = attacker.try_link().await;
        assert_eq!(end_of(&past).await, Some(Code::OVERLOADED));
        assert!(links.iter().all(|link| link.close_reason().is_none()));
        scene.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_of_many_peers_past_the_limit_are_refused_and_those_who_are_in_go_on() {
    guarded(async {
        let mut scene = Scene::with(8, |limits| limits.max_links = 3).await;
        let mut links = Vec::new();
        for _ in 0..8 {
            links.push(scene.attacker().await.try_link().await);
        }
        // Which two come before the others is not said.
        let mut ends: FuturesUnordered<_> = links.iter().map(end_of).collect();
        for _ in 0..6 {
            assert_eq!(ends.next().await.unwrap(), Some(Code::OVERLOADED));
        }
        scene.honest.goes_on().await;
        assert!(poll!(ends.next()).is_pending(), "those who are in stay");
        scene.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_come_in_crowds_are_refused_one_by_one() {
    guarded(async {
        let scene = Scene::start().await;
        let strangers = join_all((0..8).map(|_| scene.stranger())).await;
        for _ in 0..25 {
            let refused = strangers.iter().map(async |stranger| end_of(&stranger.try_link().await).await);
            for code in join_all(refused).await {
                assert_eq!(code, Some(Code::REFUSED));
            }
        }
        scene.end().await;
    })
    .await;
}

/// A second address of this machine to come from, unless it has none: then it says that the test is skipped.
fn elsewhere() -> Option<Ipv4Addr> {
    let elsewhere = Ipv4Addr::new(127, 0, 0, 2);
    if UdpSocket::bind((elsewhere, 0)).is_err() {
        eprintln!("skipped: this machine has no {elsewhere}, a second address to come from");
        return None;
    }
    Some(elsewhere)
}

/// More at once than are waited for, and each comes again as soon as it is sent away.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_at_the_door_of_enrolments_keep_nobody_out_who_is_invited() {
    let Some(elsewhere) = elsewhere() else { return };
    guarded(async {
        let scene = Scene::start().await;
        let alpn = [ALPN, b"/enrol"].concat();
        // With those of its own address, an invited peer would share their attempts.
        let strangers = join_all((0..4).map(|_| scene.stranger_at(elsewhere))).await;
        let (sent_away, mut seen) = watch::channel(0);
        let silent = join_all(strangers.iter().cycle().take(96).map(async |stranger| {
            loop {
                // In such a crowd, some do not even get through the handshake.
                let Ok(link) = stranger.link_for(&alpn).await else { continue };
                // It may have given way before it has said anything.
                let mut stream = link.open_bi().await;
                if let Ok((secret, _)) = &mut stream {
                    let _ = secret.write_all(&[7]).await;
                }
                assert_eq!(code(&link.closed().await), Some(Code::OVERLOADED));
                sent_away.send_modify(|count| *count += 1);
            }
        }));
        let enrolled = async {
            // From here on the door is crowded.
            seen.wait_for(|count| *count > 96).await.unwrap();
            scene.invited().await
        };
        tokio::select! {
            _ = silent => unreachable!("they never tire"),
            site = enrolled => site.stop().await,
        }
        scene.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_silent_enrolments_from_one_address_do_not_delay_an_invited_peer_from_another() {
    const CROWD: usize = 1000;
    let Some(elsewhere) = elsewhere() else { return };
    guarded(async {
        let scene = Scene::start().await;
        let began = Instant::now();
        scene.invited_as("first").await.stop().await;
        let alone = began.elapsed();
        let strangers = join_all((0..4).map(|_| scene.stranger_at(elsewhere))).await;
        let strangers: Vec<_> = strangers.into_iter().map(Arc::new).collect();
        let mut crowd = JoinSet::new();
        for (number, stranger) in strangers.iter().cycle().take(CROWD).enumerate() {
            let stranger = Arc::clone(stranger);
            crowd.spawn(async move {
                // Most give way in their handshake.
                if let Ok(link) = stranger.link_for(&[ALPN, b"/enrol"].concat()).await {
                    link.closed().await;
                }
            });
            if number % 10 == 9 {
                // The strangers' own cryptography is not to take all of this process's time.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        let began = Instant::now();
        let site = scene.invited_as("second").await;
        let beside = began.elapsed();
        while crowd.try_join_next().is_some() {}
        let left = crowd.len();
        eprintln!("an invited peer is in after {alone:?} alone, {beside:?} beside a crowd of which {left} are left");
        assert!(beside < Duration::from_secs(60), "{beside:?}");
        site.stop().await;
        crowd.shutdown().await;
        scene.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_at_the_door_of_enrolments_has_few_bytes_held_for_it() {
    guarded(async {
        let scene = Scene::start().await;
        let stranger = scene.stranger().await;
        let link = stranger.link_for(&[ALPN, b"/enrol"].concat()).await.unwrap();
        let (mut secret, _) = link.open_bi().await.unwrap();
        secret.write_all(&[7]).await.unwrap();
        let (mut unread, _) = link.open_bi().await.unwrap();
        let mut taken = 0;
        // Until it is sent away.
        while let Ok(written) = unread.write(&[7; 4096]).await {
            taken += written;
        }
        assert_eq!(code(&link.closed().await), Some(Code::OVERLOADED));
        assert!((1..=64 << 10).contains(&taken), "{taken}");
        scene.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_is_offered_no_unidirectional_streams_and_no_datagrams() {
    guarded(async {
        let mut scene = Scene::start().await;
        let attacker = scene.attacker().await;
        let session = attacker.session().await;
        assert_eq!(session.link.max_datagram_size(), None);
        let mut opening = Box::pin(session.link.open_uni());
        assert!(poll!(&mut opening).is_pending());
        scene.honest.goes_on().await;
        assert!(poll!(&mut opening).is_pending());
        scene.end().await;
    })
    .await;
}
