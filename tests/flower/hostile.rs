//! A real run beside peers that attack, some let in and some not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use flower_iroh_funnel::{EndpointAddr, SecretKey, address_lookup::parse_peer, transport::Code};
use futures_util::future::select_all;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    attacker::{Attacker, End, Session, code},
    flower::{Error, SuperLink},
    frames::{CONTINUATION, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, PING, RST_STREAM, call, call_head, frame},
    funnels::Funnels,
    real_flower::in_turn,
    training::train_with_nodes,
    versions::{V1_41, venvs},
};

/// Leaves Flower some of the machine: what is tried are the bounds, not who computes faster.
const PAUSE: Duration = Duration::from_millis(100);
/// An attack ends by itself after so many rounds, ten minutes or more.
const ROUNDS: u32 = 6_000;

#[derive(Clone, Copy, Debug)]
enum Attack {
    Resets,
    Continuations,
    UnreadPings,
    BegunSessions,
    Links,
    Stranger,
}

const ATTACKS: [Attack; 6] = [
    Attack::Resets,
    Attack::Continuations,
    Attack::UnreadPings,
    Attack::BegunSessions,
    Attack::Links,
    Attack::Stranger,
];

#[tokio::test(flavor = "multi_thread")]
async fn a_run_beside_five_peers_that_attack_and_a_stranger_ends_as_any_other() -> Result<(), Error> {
    in_turn(train_under_attack()).await
}

async fn train_under_attack() -> Result<(), Error> {
    let Some([superlink, first, second, cli]) = venvs([V1_41; 4]).await? else { return Ok(()) };
    let superlink = SuperLink::start(&superlink).await?;
    let keys: Vec<_> = ATTACKS.iter().map(|_| SecretKey::generate()).collect();
    let admitted = ATTACKS.iter().zip(&keys).filter(|(attack, _)| !matches!(attack, Attack::Stranger));
    let admitted: Vec<_> = admitted.map(|(_, key)| key.public().to_string()).collect();
    let funnels = Funnels::start_allowing(&superlink, &admitted).await?;
    let target = parse_peer(&funnels.ticket()).map_err(|error| Error::new(error.to_string()))?.addr().clone();
    let mut attacks = Vec::new();
    for (attack, key) in ATTACKS.into_iter().zip(keys) {
        attacks.push(Attacking::start(attack, key, target.clone()).await);
    }
    let result = train_with_nodes(&[first, second], &cli, funnels.dial()).await;
    result.map_err(|error| funnels.explain(superlink.explain(error)))?;
    for attack in attacks {
        attack.check()?;
    }
    funnels.stop().await?;
    superlink.stop().await
}

/// An attack that goes on in the background.
struct Attacking {
    attack: Attack,
    rounds: Arc<AtomicU32>,
    task: AbortOnDropHandle<()>,
}

impl Attacking {
    async fn start(attack: Attack, key: SecretKey, target: EndpointAddr) -> Self {
        let attacker = Attacker::new(key, target).await;
        let rounds = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&rounds);
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            for _ in 0..ROUNDS {
                round(attack, &attacker).await;
                counted.fetch_add(1, SeqCst);
                tokio::time::sleep(PAUSE).await;
            }
        }));
        Self { attack, rounds, task }
    }

    /// It was never let off its bound, and went on to the end of the run.
    fn check(self) -> Result<(), Error> {
        let (attack, rounds) = (self.attack, self.rounds.load(SeqCst));
        eprintln!("{attack:?}: {rounds} rounds");
        if rounds < ROUNDS && self.task.is_finished() {
            return Err(Error::new(format!("{attack:?} ended in another way than it should, after {rounds} rounds")));
        }
        if rounds == 0 { Err(Error::new(format!("{attack:?} never came to its end"))) } else { Ok(()) }
    }
}

/// One attack from its beginning to its bounded end.
async fn round(attack: Attack, attacker: &Attacker) {
    match attack {
        Attack::Resets => {
            let end = attacker.session().await.flood(100, resets).await;
            assert_eq!(end, End::GoAway(ENHANCE_YOUR_CALM));
        }
        Attack::Continuations => {
            let end = attacker.session().await.flood(100, continuations).await;
            assert_eq!(end, End::GoAway(ENHANCE_YOUR_CALM));
        }
        Attack::UnreadPings => {
            let mut session = attacker.session().await;
            for _ in 0..100 {
                session.write(&frame(PING, 0, 0, &[0; 8])).await.unwrap();
            }
        }
        Attack::BegunSessions => {
            let link = attacker.link().await;
            for _ in 0..50 {
                // Past its limit the funnel refuses them, perhaps before all is written.
                let _ = Session::on(link.clone()).await.write(b"PRI * HTTP").await;
            }
        }
        Attack::Links => {
            let mut links = Vec::new();
            for _ in 0..5 {
                links.push(attacker.link().await);
            }
            // The one that came last, which need not be the one that was opened last.
            let ends = links.iter().map(|link| Box::pin(link.closed()));
            let (first, ..) = select_all(ends).await;
            assert_eq!(code(&first), Some(Code::OVERLOADED));
        }
        Attack::Stranger => {
            let refused = match attacker.try_link().await {
                Ok(link) => code(&link.closed().await),
                Err(code) => code,
            };
            assert_eq!(refused, Some(Code::REFUSED));
        }
    }
}

fn resets(round: u32) -> Vec<u8> {
    let pair = |index| {
        let stream = 2 * (100 * round + index) + 1;
        [call(stream, "/v1/fleet/get-run"), frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())].concat()
    };
    (0..100).flat_map(pair).collect()
}

fn continuations(round: u32) -> Vec<u8> {
    match round {
        0 => frame(HEADERS, END_STREAM, 1, &call_head("/v1/fleet/get-run")),
        _ => frame(CONTINUATION, 0, 1, &[]),
    }
}
