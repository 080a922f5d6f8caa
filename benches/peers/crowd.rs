//! All peers: a funnel for each, with a key, an endpoint and a link of its own.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use flower_iroh_funnel::{EndpointAddr, Funnel, FunnelConfig, PeerConn, RelayMode};
use futures_util::{StreamExt, TryStreamExt, stream};
use iroh_tickets::endpoint::EndpointTicket;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines, Stdin, stdin},
    sync::Notify,
    task::JoinSet,
};

use crate::{
    failure::{Context, Failure},
    poll::poll,
    role::Crowd,
};

/// Peers that connect at the same time.
const DIALS: usize = 32;

/// How connecting went.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Connected {
    /// From the first dial to the last first answer.
    pub(crate) seconds: f64,
}

/// How polling went.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Of the polls that were due in the window, sorted, from when each was due.
    pub(crate) latencies_ms: Vec<f64>,
    /// Polls that failed.
    pub(crate) failed: usize,
    /// Some of their reasons.
    pub(crate) reasons: BTreeSet<String>,
}

/// Does what stdin says, until it ends.
pub(crate) async fn run(crowd: &Crowd) -> Result<(), Failure> {
    let ticket: EndpointTicket = crowd.ticket.parse().context("ticket")?;
    let mut lines = BufReader::new(stdin()).lines();
    let funnels: Vec<Funnel> =
        stream::iter(0..crowd.peers).map(|_| bind()).buffer_unordered(DIALS).try_collect().await?;
    println!("bound");
    hear(&mut lines).await?;
    let started = Instant::now();
    let peers = connect(&funnels, ticket.endpoint_addr()).await?;
    say("connected", &Connected { seconds: started.elapsed().as_secs_f64() })?;
    hear(&mut lines).await?;
    say("outcome", &poll_all(peers, crowd).await)?;
    // What the funnel uses is read while the peers live.
    while lines.next_line().await?.is_some() {}
    Ok(())
}

async fn bind() -> Result<Funnel, Failure> {
    let config = FunnelConfig::builder().bind_addr("127.0.0.1:0".parse()?).relay_mode(RelayMode::Disabled);
    Ok(Funnel::new(config.build()?).await?)
}

async fn connect(funnels: &[Funnel], inbound: &EndpointAddr) -> Result<Vec<PeerConn>, Failure> {
    let connected = stream::iter(funnels.iter().enumerate()).map(|(node, funnel)| async move {
        let peer = funnel.connect_to_peer(inbound.clone()).await?;
        poll(&peer, node as u64).await?;
        Ok::<_, Failure>(peer)
    });
    connected.buffered(DIALS).try_collect().await
}

/// Every peer has a moment of its own in each period. The first period is not measured.
async fn poll_all(peers: Vec<PeerConn>, crowd: &Crowd) -> Outcome {
    let count = peers.len();
    let first = Instant::now();
    let measured = first + crowd.every;
    let steady = Arc::new(Notify::new());
    let mut polling = JoinSet::new();
    for (node, peer) in peers.into_iter().enumerate() {
        let due = first + crowd.every.mul_f64(node as f64 / count as f64);
        polling.spawn(poll_again(peer, node as u64, due, measured, (crowd.every, crowd.window), Arc::clone(&steady)));
    }
    // The first peer's second poll.
    steady.notified().await;
    println!("steady");
    let mut outcome = Outcome::default();
    while let Some(polled) = polling.join_next().await {
        outcome.add(polled.unwrap_or_else(|error| Outcome::failed(&error)));
    }
    outcome.latencies_ms.sort_by(f64::total_cmp);
    outcome
}

async fn poll_again(
    peer: PeerConn,
    node: u64,
    mut due: Instant,
    measured: Instant,
    (every, window): (Duration, Duration),
    steady: Arc<Notify>,
) -> Outcome {
    let mut outcome = Outcome::default();
    while due < measured + window {
        tokio::time::sleep_until(due.into()).await;
        if due >= measured {
            steady.notify_one();
        }
        match poll(&peer, node).await {
            Ok(()) if due >= measured => outcome.latencies_ms.push(due.elapsed().as_secs_f64() * 1e3),
            Ok(()) => {}
            Err(failure) => outcome.add(Outcome::failed(&failure)),
        }
        due += every;
    }
    outcome
}

impl Outcome {
    fn failed(failure: &dyn std::fmt::Display) -> Self {
        Self { latencies_ms: Vec::new(), failed: 1, reasons: BTreeSet::from([failure.to_string()]) }
    }

    fn add(&mut self, other: Self) {
        self.latencies_ms.extend(other.latencies_ms);
        self.failed += other.failed;
        self.reasons.extend(other.reasons);
        while self.reasons.len() > 5 {
            self.reasons.pop_last();
        }
    }
}

async fn hear(lines: &mut Lines<BufReader<Stdin>>) -> Result<(), Failure> {
    lines.next_line().await?.ok_or("stdin has ended")?;
    Ok(())
}

fn say(word: &str, what: &impl Serialize) -> Result<(), Failure> {
    println!("{word} {}", serde_json::to_string(what)?);
    Ok(())
}
