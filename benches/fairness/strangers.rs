//! A process of strangers: 1,000 connections to an inbound funnel from another address.

use std::{
    io::{BufRead, BufReader},
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use clap::ValueEnum;
use flower_iroh_funnel::{ALPN, EndpointAddr, SecretKey, address_lookup::parse_peer};
use iroh::Endpoint;
use tokio::{io::AsyncReadExt, task::JoinSet, time::sleep};

use crate::{
    failure::{Context, Failure},
    raw_peer,
};

/// Connections at a time.
pub(crate) const CONNECTIONS: usize = 1_000;
/// Handshakes begun per second, until all have begun.
const PER_SECOND: u32 = 45;
/// Until a connection that was closed comes again.
const AGAIN: Duration = Duration::from_secs(10);
/// Endpoints, each with a key of its own.
const KEYS: usize = 20;
const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// What the strangers connect for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Purpose {
    /// Enrolment, and then they say nothing.
    Enrolment,
    /// Calls, for which they are refused.
    Calls,
}

/// The strangers' process; killed when dropped.
#[derive(Debug)]
pub(crate) struct Strangers(Child);

impl Strangers {
    /// Starts the process and waits until every connection was begun once.
    pub(crate) async fn start(purpose: Purpose, ticket: &str) -> Result<Self, Failure> {
        let program = std::env::current_exe().context("this bench")?;
        let purpose = purpose.to_possible_value().ok_or("a purpose without a name")?;
        // An attacker's cryptography takes none of the funnel's machine.
        let mut command = Command::new("nice");
        command.args(["-n", "19"]).arg(program).args(["--bench", "strangers", purpose.get_name(), ticket]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("nice")?;
        let stdout = child.stdout.take().ok_or("strangers without a stdout")?;
        let strangers = Self(child);
        let begun = tokio::task::spawn_blocking(move || BufReader::new(stdout).lines().next().transpose());
        match begun.await?.context("the strangers")?.as_deref() {
            Some("begun") => Ok(strangers),
            line => Err(format!("the strangers said {line:?} instead of \"begun\"").into()),
        }
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        // It has ended, or it is killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Plays the strangers until stdin ends.
pub(crate) async fn play(purpose: Purpose, ticket: &str) -> Result<(), Failure> {
    let funnel = parse_peer(ticket)?.addr().clone();
    let alpn = match purpose {
        Purpose::Enrolment => [ALPN, b"/enrol"].concat(),
        Purpose::Calls => ALPN.to_vec(),
    };
    let mut endpoints = Vec::new();
    for _ in 0..KEYS {
        endpoints.push(raw_peer::at(SOURCE, SecretKey::generate()).bind().await?);
    }
    let mut connections = JoinSet::new();
    for endpoint in endpoints.iter().cycle().take(CONNECTIONS) {
        connections.spawn(connect(endpoint.clone(), funnel.clone(), alpn.clone()));
        sleep(Duration::from_secs(1) / PER_SECOND).await;
    }
    println!("begun");
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    Ok(())
}

/// Connects and waits for the end, again and again.
async fn connect(endpoint: Endpoint, funnel: EndpointAddr, alpn: Vec<u8>) {
    loop {
        // Most are refused in their handshake.
        if let Ok(link) = endpoint.connect(funnel.clone(), &alpn).await {
            link.closed().await;
        }
        sleep(AGAIN).await;
    }
}
