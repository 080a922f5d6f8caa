//! What one admitted peer can make a funnel hold, measured at the real binary.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use flower_iroh_funnel::{SecretKey, address_lookup::parse_peer};
use tokio::io::AsyncWriteExt;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    attacker::{Attacker, Session},
    frames::{DATA, END_HEADERS, HEADERS, PING, SETTINGS, call_head, frame, window},
    sides::{Sides, begin_call, guarded, http_server, read_head, response_head, status},
};

const LINKS: usize = 4;
/// With as many calls as may be bulk ones: 224.
const SESSIONS: usize = 56;
const CALLS_OF_SESSION: u32 = 4;
const OBJECT: usize = 1 << 20;
/// The most that the inbound funnel may have held, in KiB.
const PEAK_RSS: u64 = 320 << 10;

#[cfg_attr(not(target_os = "linux"), ignore = "reads /proc")]
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_takes_all_it_can_get_leaves_the_funnel_under_320_mib() {
    guarded(async {
        let superlink = http_server(|mut socket, _head| async move {
            let _ = socket.write_all(response_head(OBJECT as u64).as_bytes()).await;
            let _ = socket.write_all(&vec![7; OBJECT]).await;
        })
        .await;
        let key = SecretKey::generate();
        let sides = Sides::allowing(superlink, &[key.public().to_string()]).await;
        let before = sides.inbound.peak_rss();
        let target = parse_peer(&sides.inbound.stdout_line("ticket ").unwrap()).unwrap();
        let attacker = Attacker::new(key, target.addr().clone()).await;
        let mut links = Vec::new();
        for _ in 0..LINKS {
            links.push(attacker.link().await);
        }
        let (mut sessions, taken) = (Vec::new(), Arc::new(AtomicUsize::new(0)));
        for index in 0..SESSIONS {
            let mut session = Session::on(links[index % LINKS].clone()).await;
            session.begin().await;
            session.frame_of(SETTINGS).await.unwrap();
            for call in 0..CALLS_OF_SESSION {
                begin_call_that_is_not_taken(&mut session, 2 * call + 1).await;
            }
            sessions.push(AbortOnDropHandle::new(tokio::spawn(flood(session, Arc::clone(&taken)))));
        }
        // Until the funnel takes no more of it, while it goes on for others.
        loop {
            let before = taken.load(SeqCst);
            for _ in 0..20 {
                let mut socket = begin_call(sides.dial, "/v1/fleet/pull-object", 0).await;
                assert_eq!(status(&read_head(&mut socket).await.unwrap()), "200");
            }
            if before > 0 && taken.load(SeqCst) == before {
                break;
            }
        }
        let peak = sides.inbound.peak_rss();
        eprintln!("peak RSS {peak} KiB, {before} KiB before");
        assert!(peak < PEAK_RSS, "{peak} KiB at the peak");
    })
    .await;
}

/// Begins a call by a method that may stream, takes the head of the answer, and never any of its bytes.
async fn begin_call_that_is_not_taken(session: &mut Session, stream: u32) {
    session.write(&window(0)).await.unwrap();
    let head = frame(HEADERS, END_HEADERS, stream, &call_head("/v1/fleet/any-stream"));
    session.write(&head).await.unwrap();
    session.frame_of(HEADERS).await.unwrap();
}

/// Goes on with the bodies of its calls, and pings, whose answers it does not read, and counts what is taken of them.
async fn flood(mut session: Session, taken: Arc<AtomicUsize>) {
    let piece = frame(PING, 0, 0, &[0; 8]).repeat(100);
    let body = |call: u32| frame(DATA, 0, 2 * call + 1, &[7; 16_384]);
    let bodies = (0..CALLS_OF_SESSION).flat_map(body);
    let pieces: Vec<u8> = bodies.chain(piece).collect();
    let mut at = 0;
    while let Ok(length) = session.send.write(&pieces[at..]).await {
        taken.fetch_add(length, SeqCst);
        at = (at + length) % pieces.len();
    }
}
