//! What is broken, and what is measured then.

use std::{
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::{
    failure::Failure,
    hosts::{Hosts, TIMEOUT},
    metric::Metrics,
};

/// How long a link is cut in the first repeat.
const CUT: Duration = Duration::from_secs(10);
/// How much longer in each further one, so that no tunnel's timers happen to fit.
const CUT_LONGER: Duration = Duration::from_millis(700);
/// Between two calls while the link is cut, as SuperNodes poll.
const POLL: Duration = Duration::from_secs(3);
/// What is uploaded while an address changes: five seconds at the link's rate.
const UPLOAD: usize = 64 << 20;
const PIECE: usize = 1 << 20;

/// One thing that happens to a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Row {
    /// The link is cut for 10 s and comes back.
    Cut,
    /// The far end is killed and restarted.
    Restart,
    /// The far end falls silent, and goes on later.
    Silent,
    /// The near end's address changes in the middle of an upload.
    Address,
}

impl Row {
    /// What a table shows: the metric, what it is, and the most it may be.
    pub(crate) fn shown(self) -> &'static [(&'static str, &'static str, Option<f64>)] {
        match self {
            Self::Cut => &[("back_s", "link cut 10 s and more: from its return to the first call, s", Some(1.0))],
            Self::Restart => &[("back_s", "peer killed: from ready again to the first call, s", Some(2.0))],
            Self::Silent => &[
                ("known_s", "peer silent: until the near end says so, s", Some(12.0)),
                ("failed_s", "peer silent: until a call is answered so, s", Some(12.0)),
                ("back_s", "peer goes on: until the first call, s", None),
            ],
            Self::Address => &[
                ("lost_calls", "address changes: calls lost", Some(0.0)),
                ("standstill_s", "address changes: longest time without a byte of the upload, s", None),
                ("slowest_s", "address changes: slowest of the small calls beside it, s", None),
            ],
        }
    }

    /// Breaks what this row is about, and measures.
    pub(crate) fn measure(self, hosts: &mut Hosts<'_>, repeat: usize) -> Result<Metrics, Failure> {
        match self {
            Self::Cut => cut(hosts, CUT + CUT_LONGER * u32::try_from(repeat)?),
            Self::Restart => restart(hosts),
            Self::Silent => silent(hosts),
            Self::Address => address(hosts),
        }
    }
}

fn cut(hosts: &Hosts<'_>, duration: Duration) -> Result<Metrics, Failure> {
    let caller = &hosts.caller;
    let until = Instant::now() + duration;
    hosts.link.cut();
    thread::scope(|scope| {
        while Instant::now() < until {
            scope.spawn(|| caller.poll());
            thread::sleep(POLL.min(until.saturating_duration_since(Instant::now())));
        }
        hosts.link.restore();
        first_call(hosts, Instant::now())
    })
}

fn restart(hosts: &mut Hosts<'_>) -> Result<Metrics, Failure> {
    let calls = hosts.caller.keep_calling();
    hosts.tunnel.restart_far(hosts.link)?;
    let ready = Instant::now();
    let first = calls.first(ready + TIMEOUT, |ended| ended.at > ready && ended.succeeded());
    back(ready, first.map(|ended| ended.at))
}

fn silent(hosts: &mut Hosts<'_>) -> Result<Metrics, Failure> {
    hosts.tunnel.freeze_far(true)?;
    let frozen = Instant::now();
    let calls = hosts.caller.keep_calling();
    let mut metrics = Metrics::new();
    if hosts.tunnel.wait_for_loss(TIMEOUT).is_ok() {
        metrics.insert("known_s".to_owned(), frozen.elapsed().as_secs_f64());
    }
    if let Some(failed) = calls.first(frozen + TIMEOUT, |ended| !ended.succeeded()) {
        metrics.insert("failed_s".to_owned(), (failed.at - frozen).as_secs_f64());
    }
    hosts.tunnel.freeze_far(false)?;
    let thawed = Instant::now();
    let first = calls.first(thawed + TIMEOUT, |ended| ended.at > thawed && ended.succeeded());
    metrics.extend(back(thawed, first.map(|ended| ended.at))?);
    Ok(metrics)
}

fn address(hosts: &Hosts<'_>) -> Result<Metrics, Failure> {
    hosts.server.longest_standstill();
    let calls = hosts.caller.keep_calling();
    let mut changed = None;
    let upload = hosts.caller.push(UPLOAD, PIECE, |sent| {
        if sent >= UPLOAD / 3 && changed.is_none() {
            changed = Some(hosts.link.readdress_left());
        }
    });
    let standstill = hosts.server.longest_standstill();
    changed.ok_or("the upload was over before the address could change")??;
    let ended = calls.finish();
    let lost = ended.iter().chain([&upload]).filter(|ended| !ended.succeeded());
    let lost = lost.inspect(|ended| eprintln!("lost after {:?}: {:?}", ended.at - ended.began, ended.status)).count();
    let slowest = ended.iter().map(|ended| ended.at - ended.began).max().unwrap_or_default();
    Ok(Metrics::from([
        ("lost_calls".to_owned(), lost as f64),
        ("calls".to_owned(), ended.len() as f64),
        ("upload_lost".to_owned(), f64::from(u8::from(!upload.succeeded()))),
        ("upload_s".to_owned(), (upload.at - upload.began).as_secs_f64()),
        ("standstill_s".to_owned(), standstill.as_secs_f64()),
        ("slowest_s".to_owned(), slowest.as_secs_f64()),
    ]))
}

fn first_call(hosts: &Hosts<'_>, since: Instant) -> Result<Metrics, Failure> {
    let first = hosts.caller.keep_calling().first(since + TIMEOUT, |ended| ended.succeeded());
    back(since, first.map(|ended| ended.at))
}

fn back(since: Instant, first: Option<Instant>) -> Result<Metrics, Failure> {
    let first = first.ok_or_else(|| format!("no call has succeeded within {TIMEOUT:?}"))?;
    Ok(Metrics::from([("back_s".to_owned(), (first - since).as_secs_f64())]))
}
