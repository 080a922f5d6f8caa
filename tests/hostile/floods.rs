//! Frames without end, each kind that has been used against HTTP/2 servers.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use tokio_util::task::AbortOnDropHandle;

use crate::{
    attacker::End,
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, PING, RST_STREAM, SETTINGS,
        WINDOW_UPDATE, call, call_head, frame, setting,
    },
    honest::Scene,
    support::guarded,
};

/// Far past every bound.
const TIMES: u32 = 20_000;
/// What a session may take in of a flood whose answers are not read: the windows of QUIC and HTTP/2, and what is read
/// ahead.
const HELD_BACK: usize = 16 << 20;

/// The flood ends its own session, by its name, and nothing else.
async fn ends_its_session(flood: impl Fn(u32) -> Vec<u8> + Send + 'static) {
    guarded(async {
        let mut scene = Scene::start().await;
        let session = scene.attacker().await.session().await;
        let link = session.link.clone();
        assert_eq!(session.flood(TIMES, flood).await, End::GoAway(ENHANCE_YOUR_CALM));
        assert!(link.close_reason().is_none());
        scene.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_continued_without_end_ends_its_session() {
    ends_its_session(|round| match round {
        0 => frame(HEADERS, END_STREAM, 1, &call_head("/v1/fleet/get-run")),
        _ => frame(CONTINUATION, 0, 1, &[]),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_long_ends_its_session() {
    // A header with a value of 10,000 bytes, as HPACK writes it.
    let field = [&[0, 1, b'x', 0x7f, 0x91, 0x4d][..], &[b'v'; 10_000]].concat();
    ends_its_session(move |round| match round {
        0 => frame(HEADERS, END_STREAM, 1, &call_head("/v1/fleet/get-run")),
        _ => frame(CONTINUATION, 0, 1, &field.repeat(6)),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_grows_when_it_is_decoded_ends_its_session() {
    ends_its_session(|round| {
        // A header of 3,000 bytes goes into HPACK's table, and is then named by one byte, again and again.
        let remembered = [&[0x40, 1, b'x', 0x7f, 0xb9, 0x16][..], &[b'v'; 3_000]].concat();
        let head = [call_head("/v1/fleet/get-run"), remembered, vec![0xbe; 50_000]].concat();
        frame(HEADERS, END_HEADERS | END_STREAM, 2 * round + 1, &head)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_reset_as_soon_as_they_are_made_end_their_session() {
    ends_its_session(|round| {
        let pair = |index| {
            let stream = 2 * (100 * round + index) + 1;
            [call(stream, "/v1/fleet/get-run"), frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())].concat()
        };
        (0..100).flat_map(pair).collect()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_break_the_rules_end_their_session() {
    // A method and nothing else.
    ends_its_session(|round| frame(HEADERS, END_HEADERS | END_STREAM, 2 * round + 1, &[0x83])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_empty_pieces_ends_its_session() {
    ends_its_session(|round| match round {
        0 => frame(HEADERS, END_HEADERS, 1, &call_head("/v1/fleet/push-object")),
        _ => frame(DATA, 0, 1, &[]),
    })
    .await;
}

/// A flood of what has to be answered, by a peer that reads no answer: it comes to a halt.
async fn is_held_back(flood: Vec<u8>) {
    guarded(async {
        let mut scene = Scene::start().await;
        let mut session = scene.attacker().await.session().await;
        let written = Arc::new(AtomicUsize::new(0));
        let _writing = AbortOnDropHandle::new(tokio::spawn({
            let written = Arc::clone(&written);
            async move {
                while session.write(&flood).await.is_ok() {
                    written.fetch_add(flood.len(), SeqCst);
                }
            }
        }));
        let mut before = None;
        while before.replace(written.load(SeqCst)) != Some(written.load(SeqCst)) {
            scene.honest.goes_on().await;
            assert!(written.load(SeqCst) < HELD_BACK, "{} bytes were taken", written.load(SeqCst));
        }
        assert_ne!(before, Some(0));
        scene.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_whose_answers_nobody_reads_are_held_back() {
    is_held_back(frame(PING, 0, 0, &[0; 8]).repeat(1000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_whose_answers_nobody_reads_are_held_back() {
    is_held_back(setting(5, 16_384).repeat(1000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_are_answered_one_by_one_beside_an_honest_peer() {
    guarded(async {
        let mut scene = Scene::start().await;
        let mut session = scene.attacker().await.session().await;
        session.write(&call(1, "/v1/fleet/get-run")).await.unwrap();
        for _ in 0..20 {
            session.write(&frame(PING, 0, 0, &[0; 8]).repeat(500)).await.unwrap();
            for _ in 0..500 {
                session.frame_of(PING).await.unwrap();
            }
        }
        scene.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_of_windows_that_nobody_uses_cost_their_sender_only() {
    guarded(async {
        let mut scene = Scene::start().await;
        let mut session = scene.attacker().await.session().await;
        for _ in 0..100 {
            session.write(&frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes()).repeat(1000)).await.unwrap();
        }
        session.write(&call(1, "/v1/fleet/get-run")).await.unwrap();
        session.frame_of(HEADERS).await.unwrap();
        // Past 2^31 there is no window any more.
        let most = frame(WINDOW_UPDATE, 0, 0, &i32::MAX.to_be_bytes());
        session.write(&most).await.unwrap();
        assert_eq!(session.ended().await, End::GoAway(FLOW_CONTROL_ERROR));
        scene.end().await;
    })
    .await;
}

const FLOW_CONTROL_ERROR: u32 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn settings_beyond_measure_end_their_session() {
    guarded(async {
        let mut scene = Scene::start().await;
        let attacker = scene.attacker().await;
        // An initial window past 2^31, and half a setting.
        for settings in [setting(4, u32::MAX), frame(SETTINGS, 0, 0, &[0; 5])] {
            let mut session = attacker.session().await;
            session.write(&settings).await.unwrap();
            assert!(matches!(session.ended().await, End::GoAway(_)));
        }
        scene.end().await;
    })
    .await;
}
