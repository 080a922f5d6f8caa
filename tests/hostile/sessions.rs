//! Sessions and calls that are begun and never go on.

use flower_iroh_funnel::transport::Code;
use futures_util::future::join_all;

use crate::{
    attacker::{End, Session},
    frames::{
        ACK, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, call, call_head, frame,
        window,
    },
    honest::Scene,
    support::guarded,
};

/// As `CallLimits::max_calls_per_peer`.
const MAX_CALLS: u32 = 256;
/// As in `FunnelConfig`.
const MAX_SESSIONS: usize = 64;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_never_gets_to_a_call_is_ended() {
    guarded(async {
        let mut scene = Scene::start().await;
        let link = scene.attacker().await.link().await;
        let begun = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        let half_a_head = &frame(HEADERS, END_HEADERS, 1, &call_head("/v1/fleet/get-run"))[..20];
        let no_end_of_head = frame(HEADERS, END_STREAM, 1, &call_head("/v1/fleet/get-run"));
        let beginnings: [&[u8]; 6] = [
            b"P",
            &PREFACE[..12],
            &begun,
            &[&begun, half_a_head].concat(),
            &[&begun, &no_end_of_head[..]].concat(),
            &[&begun, &frame(PING, 0, 0, &[0; 8])[..]].concat(),
        ];
        let ends = beginnings.map(|beginning| {
            let link = link.clone();
            async move {
                let mut session = Session::on(link).await;
                session.write(beginning).await.unwrap();
                session.ended().await
            }
        });
        for (end, beginning) in join_all(ends).await.into_iter().zip(beginnings) {
            assert_eq!(end, End::Reset(Some(Code::CANCELLED)), "after {beginning:?}");
        }
        assert!(link.close_reason().is_none());
        scene.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_past_a_peers_limit_are_refused_on_whichever_link_they_come() {
    guarded(async {
        let mut scene = Scene::start().await;
        let attacker = scene.attacker().await;
        let links = [attacker.link().await, attacker.link().await];
        let mut sessions = Vec::new();
        for index in 0..MAX_SESSIONS {
            let mut session = Session::on(links[index % 2].clone()).await;
            session.begin().await;
            // Without a call it would be ended before all are there, on a busy machine.
            session.write(&call(1, "/v1/fleet/get-run")).await.unwrap();
            session.frame_of(HEADERS).await.unwrap();
            sessions.push(session);
        }
        for link in links {
            let mut past = Session::on(link).await;
            // It may be refused before it has written all of its beginning.
            let _ = past.write(PREFACE).await;
            assert_eq!(past.ended().await, End::Reset(Some(Code::OVERLOADED)));
        }
        scene.honest.goes_on().await;
        for mut session in sessions {
            session.write(&frame(PING, 0, 0, &[0; 8])).await.unwrap();
            assert_eq!(session.frame_of(PING).await.unwrap().flags, ACK, "those who are in go on");
        }
        scene.end().await;
    })
    .await;
}

/// A call whose response the attacker does not take.
async fn begin_call(session: &mut Session, stream: u32) {
    let head = frame(HEADERS, END_HEADERS, stream, &call_head("/v1/fleet/get-run"));
    session.write(&[head, frame(DATA, END_STREAM, stream, &[7; 100])].concat()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_past_a_peers_limit_are_answered_as_unavailable_until_others_end() {
    guarded(async {
        let mut scene = Scene::start().await;
        let attacker = scene.attacker().await;
        let link = attacker.link().await;
        let begun = async || {
            let mut session = Session::on(link.clone()).await;
            session.begin().await;
            session.write(&window(0)).await.unwrap();
            session
        };
        let mut session = begun().await;
        for call in 0..MAX_CALLS {
            begin_call(&mut session, 2 * call + 1).await;
            // The head of the answer is there, its body waits for ever.
            assert_ne!(session.frame_of(HEADERS).await.unwrap().flags & END_HEADERS, 0);
        }
        let mut other = begun().await;
        other.write(&call(1, "/v1/fleet/get-run")).await.unwrap();
        let refused = other.frame_of(HEADERS).await.unwrap();
        assert!(refused.payload.starts_with(STATUS_503), "{refused:?}");
        scene.honest.goes_on().await;

        session.write(&frame(RST_STREAM, 0, 1, &8u32.to_be_bytes())).await.unwrap();
        let mut stream = 1;
        loop {
            stream += 2;
            other.write(&call(stream, "/v1/fleet/get-run")).await.unwrap();
            if other.frame_of(HEADERS).await.unwrap().payload[0] == STATUS_200 {
                break;
            }
        }
        scene.end().await;
    })
    .await;
}

/// `:status: 503` as HPACK writes it first: a name of its table with a value of its own, to be remembered.
const STATUS_503: &[u8] = &[0x48, 0x83, 0x6c, 0x0c, 0xff];
/// `:status: 200` stands in its table.
const STATUS_200: u8 = 0x88;
