//! A SuperLink behind a funnel, busy sites, and one that sends heartbeats.

use std::{
    fs,
    time::{Duration, Instant},
};

use flower_iroh_funnel::{EndpointAddr, SecretKey, address_lookup::parse_peer};

use crate::{
    failure::Failure,
    flower::{Error, SuperLink, Venv},
    funnel_process::FunnelProcess,
    results::{Cell, Queue},
    site::{Flood, Site},
};

/// The calls that each busy site has under way.
const CALLS: usize = 250;
/// So many calls at the upstream that none waits in the funnel.
const WITHOUT_LIMIT: usize = 100_000;
/// The time between two heartbeats.
const PAUSE: Duration = Duration::from_millis(20);
/// Until the busy sites have all of their calls under way.
const WARM_UP: Duration = Duration::from_secs(2);

pub(crate) async fn measure(
    venv: &Venv,
    queue: Queue,
    busy: usize,
    repeat: usize,
    heartbeats: usize,
) -> Result<Cell, Failure> {
    let superlink = SuperLink::start(venv).await?;
    let measured = beside(&superlink, queue, busy, heartbeats).await;
    let (heartbeats_s, busy_calls_per_s) = measured.map_err(|error| superlink.explain(error))?;
    superlink.stop().await?;
    Ok(Cell { queue, busy, repeat, heartbeats_s, busy_calls_per_s })
}

async fn beside(superlink: &SuperLink, queue: Queue, busy: usize, heartbeats: usize) -> Result<(Vec<f64>, f64), Error> {
    let keys: Vec<_> = (0..=busy).map(|_| SecretKey::generate()).collect();
    let folder = tempfile::tempdir().map_err(|error| Error::new(error.to_string()))?;
    let (funnel, target) = start(superlink, queue, &keys, &folder).await?;
    let mut sites = Vec::new();
    for key in keys {
        let site = Site::new(key, target.clone()).await?;
        let node = site.node().await?;
        sites.push((site, node));
    }
    let (one, node) = sites.pop().expect("there is one more than busy ones");
    let mut floods: Vec<_> = sites.iter().map(|(site, node)| site.flood(CALLS, node)).collect();
    tokio::time::sleep(WARM_UP).await;
    let (began, before) = (Instant::now(), answered(&mut floods)?);
    let mut times = Vec::new();
    for _ in 0..heartbeats {
        times.push(one.heartbeat(&node).await?.as_secs_f64());
        tokio::time::sleep(PAUSE).await;
    }
    let rate = (answered(&mut floods)? - before) as f64 / began.elapsed().as_secs_f64();
    drop(floods);
    for (site, _) in sites {
        site.close().await;
    }
    one.close().await;
    funnel.stop().await.map_err(Error::new)?;
    Ok((times, rate))
}

fn answered(floods: &mut [Flood]) -> Result<u64, Error> {
    floods.iter_mut().map(Flood::answered).sum()
}

async fn start(
    superlink: &SuperLink,
    queue: Queue,
    keys: &[SecretKey],
    folder: &tempfile::TempDir,
) -> Result<(FunnelProcess, EndpointAddr), Error> {
    let path = folder.path().join("funnel.toml");
    let limit = match queue {
        Queue::Off => format!("max_calls_at_upstreams = {WITHOUT_LIMIT}\n"),
        Queue::Default => String::new(),
    };
    let key_file = folder.path().join("secret.key");
    let mut config = format!(
        "key_file = {key_file:?}\nrelay_mode = \"off\"\nbind_addr = \"127.0.0.1:0\"\n\
         [expose]\nsuperlink = \"http://{}\"\n{limit}",
        superlink.fleet().addr
    );
    for key in keys {
        config += &format!("[[expose.allow]]\npeer = \"{}\"\n", key.public());
    }
    fs::write(&path, config).map_err(|error| Error::new(error.to_string()))?;
    let arguments = ["run".as_ref(), "--config".as_ref(), path.as_os_str()];
    let funnel = FunnelProcess::start(arguments).await.map_err(Error::new)?;
    let ticket = funnel.stdout_line("ticket ").unwrap_or_default();
    let target = parse_peer(&ticket).map_err(|error| Error::new(error.to_string()))?.addr().clone();
    Ok((funnel, target))
}
