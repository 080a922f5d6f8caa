//! Newcomers at a relay and at an inbound funnel, alone and beside 1,000 connections of strangers.

use std::time::{Duration, Instant};

use clap::ValueEnum;
use flower_iroh_funnel::{
    Funnel, FunnelConfig, Invitation, PeerConfig, RelayMode, SecretKey, address_lookup::parse_peer,
};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::{
    failure::{Context, Failure},
    funnel_process::FunnelProcess,
    relay_crowd::{Begin, ELSEWHERE, addr, crowd, joined},
    relay_lab::{Lab, TOKEN, superlink, url},
    strangers::{Purpose, Strangers},
};

/// Newcomers of each measurement, one after the other.
const NEWCOMERS: usize = 10;
/// Until a newcomer is said not to get in.
const DEADLINE: Duration = Duration::from_secs(60);

/// Where newcomers arrive, and who else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Door {
    /// A relay with a token, beside silent TCP connections.
    Relay,
    /// The enrolment, by an invitation, beside silent connections for the enrolment.
    Enrolment,
    /// The same, beside connections that are refused as unknown peers.
    EnrolmentBesideRefused,
}

/// The newcomers of one measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Newcomers {
    pub(crate) door: Door,
    /// Whether the strangers are there.
    pub(crate) crowded: bool,
    /// Which of the repeats, from 0.
    pub(crate) repeat: usize,
    /// Until each was in, in seconds.
    pub(crate) times_s: Vec<f64>,
}

impl Newcomers {
    pub(crate) async fn measure(door: Door, crowded: bool, repeat: usize) -> Result<Self, Failure> {
        let times_s = match door {
            Door::Relay => at_relay(crowded).await,
            Door::Enrolment => at_enrolment(crowded.then_some(Purpose::Enrolment)).await,
            Door::EnrolmentBesideRefused => at_enrolment(crowded.then_some(Purpose::Calls)).await,
        };
        Ok(Self { door, crowded, repeat, times_s: times_s? })
    }
}

async fn at_relay(crowded: bool) -> Result<Vec<f64>, Failure> {
    let lab = Lab::new();
    let token = lab.token("token", TOKEN);
    let relay = lab.relay(&format!("--http --listen 127.0.0.1:0 --token-file {token}")).await;
    let crowd = if crowded { crowd(ELSEWHERE, addr(&relay), &[Begin::Nothing]).await } else { Vec::new() };
    let mut times = Vec::new();
    for _ in 0..NEWCOMERS {
        times.push(timeout(DEADLINE, joined(&url(&relay), None)).await.context("a newcomer")?.as_secs_f64());
    }
    drop(crowd);
    relay.stop().await?;
    Ok(times)
}

async fn at_enrolment(strangers: Option<Purpose>) -> Result<Vec<f64>, Failure> {
    let lab = Lab::new();
    let superlink = superlink().await;
    let line = format!("expose --superlink http://{superlink} --bind 127.0.0.1:0 --relay off");
    let funnel = FunnelProcess::start(lab.words(&line, "expose.key")).await?;
    let printed = lab.type_in(&format!("invite site --uses {NEWCOMERS} --relay off"), "expose.key").await;
    let invitation = printed.split_whitespace().find_map(|word| word.parse::<Invitation>().ok());
    let invitation = invitation.ok_or_else(|| format!("no invitation in {printed:?}"))?;
    let ticket = funnel.stdout_line("ticket ").ok_or("a funnel without a ticket")?;
    let strangers = match strangers {
        Some(purpose) => Some(Strangers::start(purpose, &ticket).await?),
        None => None,
    };
    let peer = parse_peer(&ticket)?.addr().id;
    let mut times = Vec::new();
    for _ in 0..NEWCOMERS {
        let config = FunnelConfig::builder().relay_mode(RelayMode::Disabled).bind_addr("127.0.0.1:0".parse()?);
        let config = config.flower_grpc_addr("127.0.0.1:0".parse()?).secret_key(SecretKey::generate());
        let config = config.peer(PeerConfig::invited(invitation.clone())).build()?;
        let began = Instant::now();
        let site = Funnel::new(config).await?;
        timeout(DEADLINE, site.peer(peer).ready(|_| {})).await.context("an invited newcomer")?;
        times.push(began.elapsed().as_secs_f64());
        site.close().await;
    }
    drop(strangers);
    funnel.stop().await?;
    Ok(times)
}
