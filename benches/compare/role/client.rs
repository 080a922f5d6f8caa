//! The client of every competitor.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::Instant,
};

use flower_iroh_funnel::transport::quic_config_with;
use iroh::EndpointAddr;
use iroh_tickets::endpoint::EndpointTicket;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

use super::Outcome;
use crate::{
    congestion,
    failure::{Context, Failure},
    pace::Pace,
    peer::{grpc, grpc::Grpc, iroh_endpoint, raw, raw::Raw},
    target::Target,
    workload::{Job, Workload},
};

/// Does `workload` once.
pub(super) async fn run(workload: Workload, addr: IpAddr, pace: Pace, sink: Option<SocketAddr>) -> Result<(), Failure> {
    println!("ready");
    let mut lines = BufReader::new(stdin()).lines();
    let line = lines.next_line().await?.ok_or("no target on stdin")?;
    let target = serde_json::from_str(&line).context("target")?;
    let mut outcome = Outcome::default();
    let job = Job { pace, started: Instant::now(), sink };
    let done = tokio::time::timeout(workload.bound_of_work(&pace), work(workload, addr, job, target, &mut outcome));
    match done.await {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => outcome.failure = Some(failure.to_string()),
        Err(_) => outcome.timed_out = true,
    }
    println!("outcome {}", serde_json::to_string(&outcome)?);
    // What it has used is read while it lives.
    while lines.next_line().await?.is_some() {}
    Ok(())
}

async fn work(
    workload: Workload,
    addr: IpAddr,
    job: Job,
    target: Target,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    match target {
        Target::Tcp(server, congestion_control) => {
            let peer = Grpc::over_tcp(server, congestion_control).await?;
            workload.run(peer, job, outcome).await
        }
        Target::Iroh(ticket, congestion_control) => {
            let settings = quic_config_with(congestion::of_quic(congestion_control.as_deref())?);
            let endpoint = iroh_endpoint(addr, grpc::ALPN, Some(settings)).await?;
            let peer = Grpc::over_iroh(endpoint.clone(), server(&ticket)?).await?;
            workload.run(peer, job, outcome).await
        }
        Target::Raw(ticket) => {
            let endpoint = iroh_endpoint(addr, raw::ALPN, None).await?;
            let peer = Raw::connect(&endpoint, server(&ticket)?).await?;
            workload.run(peer, job, outcome).await
        }
    }
}

fn server(ticket: &str) -> Result<EndpointAddr, Failure> {
    Ok(EndpointTicket::from_str(ticket).context("ticket")?.into())
}
