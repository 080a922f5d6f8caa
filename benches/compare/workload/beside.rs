//! Bulk to the server beside a TCP flow over the same link: who gets how much of it.

use std::{net::SocketAddr, time::Duration};

use crate::{
    failure::{Context, Failure},
    pace::Pace,
    peer::{Limit, Peer, tcp},
    role::Outcome,
};

/// Both flows go on for so long after the time that counts, since they are not counted from the same moment: a first byte
/// takes its time.
const MARGIN: Duration = Duration::from_secs(2);

/// What the servers of both have counted in the same time after the warm-up.
pub(super) async fn run<P: Peer>(
    peer: &P,
    sink: SocketAddr,
    congestion_control: Option<&str>,
    pace: &Pace,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let stream = tcp::dial(sink, congestion_control).await.context("the flow beside")?;
    let limit = Limit { time: pace.warm_up + pace.beside + MARGIN, bytes: u64::MAX };
    let (own, beside) = tokio::try_join!(peer.upload(limit), tcp::upload(stream, limit))?;
    let [own, beside] = [own, beside].map(|counted| counted.mib_s(pace.warm_up, pace.beside));
    outcome.metrics.insert("mib_s".to_owned(), own);
    outcome.metrics.insert("beside_mib_s".to_owned(), beside);
    if own + beside > 0.0 {
        outcome.metrics.insert("share_percent".to_owned(), own / (own + beside) * 100.0);
    }
    Ok(())
}
