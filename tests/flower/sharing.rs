//! What one site's calls do to another's at a real SuperLink.

use flower_iroh_funnel::{SecretKey, address_lookup::parse_peer};

use crate::{
    flower::{Error, SuperLink},
    funnels::Funnels,
    real_flower::in_turn,
    site::Site,
    versions::{V1_42, venvs},
};

/// The calls that the other site has under way.
const CALLS: usize = 250;
/// Of these, the most that a heartbeat may wait for at the median. Without a queue it waits for about all of them.
const MOST: u64 = 60;
const HEARTBEATS: usize = 15;

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_overtakes_the_250_calls_of_another_site_at_a_real_superlink() -> Result<(), Error> {
    in_turn(async {
        let Some([venv]) = venvs([V1_42]).await? else { return Ok(()) };
        let superlink = SuperLink::start(&venv).await?;
        let checked = overtake(&superlink).await;
        checked.map_err(|error| superlink.explain(error))?;
        superlink.stop().await
    })
    .await
}

async fn overtake(superlink: &SuperLink) -> Result<(), Error> {
    let keys = [SecretKey::generate(), SecretKey::generate()];
    let admitted: Vec<_> = keys.iter().map(|key| key.public().to_string()).collect();
    let funnels = Funnels::start_allowing(superlink, &admitted).await?;
    let target = parse_peer(&funnels.ticket()).map_err(|error| Error::new(error.to_string()))?.addr().clone();
    let [many, one] = keys;
    let (many, one) = (Site::new(many, target.clone()).await?, Site::new(one, target).await?);
    let (busy, node) = (many.node().await?, one.node().await?);
    let mut flood = many.flood(CALLS, &busy);
    while flood.answered()? == 0 {
        one.heartbeat(&node).await?;
    }
    let mut overtaken_by = Vec::new();
    for _ in 0..HEARTBEATS {
        let before = flood.answered()?;
        one.heartbeat(&node).await?;
        overtaken_by.push(flood.answered()? - before);
    }
    overtaken_by.sort_unstable();
    let median = overtaken_by[HEARTBEATS / 2];
    if median > MOST {
        return Err(Error::new(format!("heartbeats waited for {overtaken_by:?} calls of another site")));
    }
    // The flood goes on: the SuperLink is not what ended it.
    let before = flood.answered()?;
    while flood.answered()? <= before {
        one.heartbeat(&node).await?;
    }
    drop(flood);
    many.close().await;
    one.close().await;
    funnels.stop().await
}
