//! A fault in each round of a real training, which ends with every node in every round and an exact model.

use std::time::Duration;

use lab::Link;
use tokio::time::sleep;

use super::{
    pair::{End, Pair, Setting},
    place::on,
    restartable::Harm,
    silence::silence,
};
use crate::{
    flower::{Context, Error, FlowerRun, Outcome, RunConfig, SuperLink, SuperNode, Venv, Version},
    small_disk::Filling,
    versions::venvs,
};

/// Between two looks at what tells nobody that it changed.
const LOOK: Duration = Duration::from_millis(5);
/// About a megabyte.
const UPLOADED_PACKETS: u64 = 800;

/// Seconds without a heartbeat after which Flower still has the node, whenever they begin.
const SAFE: u64 = 12;

/// What happens in a round.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Nothing: everything finds its place.
    None,
    /// One funnel comes to harm when the round has begun.
    Harm(End, Harm),
    /// The same in the middle of an upload.
    HarmInUpload(End, Harm),
    /// The connections to a SuperLink or to a local port fall silent, and are found dead.
    Silence(End),
    /// Nothing passes between the sites for so many seconds.
    Cut(u64),
    /// The SuperNodes' site loses its address in the middle of an upload, and gets another.
    Moved,
    /// The inbound funnel's disk is full for so many seconds.
    FullDisk(u64),
}

impl Fault {
    fn may_cost_a_round(&self) -> bool {
        matches!(self, Self::Cut(seconds) if *seconds > SAFE)
    }
}

/// What is trained, and how much of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Training {
    pub(crate) version: Version,
    pub(crate) nodes: usize,
    /// Of four bytes each; they travel to every node and back in every round.
    pub(crate) elems: u64,
    /// One for each round.
    pub(crate) faults: &'static [Fault],
}

impl Training {
    pub(crate) async fn run(self, setting: Setting) -> Result<(), Error> {
        let Some([venv]) = venvs([self.version]).await? else { return Ok(()) };
        let superlink = on(setting.superlink(), SuperLink::start(&venv)).await?;
        let mut pair = Pair::start(&superlink, setting).await?;
        let trained = self.through(&mut pair, &superlink, &venv).await;
        trained.map_err(|error| pair.explain(superlink.explain(error)))?;
        pair.stop().await?;
        superlink.stop().await
    }

    async fn through(self, pair: &mut Pair, superlink: &SuperLink, venv: &Venv) -> Result<(), Error> {
        let dial = pair.dial();
        let start = async { (0..self.nodes).map(|part| SuperNode::start(venv, dial, part, self.nodes)).collect() };
        let started: Result<Vec<_>, _> = on(pair.setting.nodes(), start).await;
        let mut nodes = started?;
        let trained = self.with(pair, superlink, venv, &mut nodes).await;
        trained.map_err(|error| nodes.iter().fold(error, |error, node| node.explain(error)))?;
        for node in nodes {
            node.stop().await?;
        }
        Ok(())
    }

    async fn with(
        self,
        pair: &mut Pair,
        superlink: &SuperLink,
        venv: &Venv,
        nodes: &mut [SuperNode],
    ) -> Result<(), Error> {
        let mut ids = Vec::new();
        for node in &mut *nodes {
            ids.push(node.registered().await?);
        }
        let rounds = self.faults.len() as u64;
        let config = RunConfig {
            rounds,
            nodes: self.nodes,
            array_elems: self.elems,
            train_sleep: Duration::from_secs(1),
            evaluate: false,
            timeout: Duration::from_secs(600),
            ..RunConfig::default()
        };
        // The run's log comes straight from the SuperLink: it tells when to do harm, and is none of the harmed.
        let control = superlink.control().addr;
        let mut run = on(pair.setting.superlink(), FlowerRun::submit(venv, control, &config)).await?;
        let outcome = async {
            for (fault, round) in self.faults.iter().zip(1..) {
                run.begun(round, rounds).await?;
                let harmed = harm(pair, superlink, nodes, (round, *fault)).await;
                harmed.map_err(|error| Error::new(format!("round {round}, {fault:?}: {error}")))?;
            }
            self.verify(&on(pair.setting.superlink(), run.finish()).await?, &ids)
        };
        let outcome = outcome.await;
        outcome.map_err(|error| run.explain(Error::new(format!("{:?}, one in each round: {error}", self.faults))))
    }

    /// All nodes in each round, and an exact model; but a node may miss a round whose fault lasts for longer than Flower
    /// waits for its heartbeat, which is then what Flower must say.
    fn verify(&self, outcome: &Outcome, ids: &[String]) -> Result<(), Error> {
        if !self.faults.iter().any(Fault::may_cost_a_round) {
            return outcome.verify(self.faults.len() as u64, ids);
        }
        for (fault, number) in self.faults.iter().zip(1..) {
            let round = outcome.rounds.get(&number).ok_or_else(|| Error::new(format!("round {number} is missing")))?;
            let lost = ids.iter().filter(|id| !round.nodes.contains(id)).count();
            let explained = round.errors.iter().filter(|error| error.contains("heartbeat")).count();
            if lost > 0 && !(fault.may_cost_a_round() && lost == explained) {
                return Err(Error::new(format!("{lost} nodes are missing in {round:?}")));
            }
        }
        Ok(())
    }
}

async fn harm(
    pair: &mut Pair,
    superlink: &SuperLink,
    nodes: &[SuperNode],
    (round, fault): (u64, Fault),
) -> Result<(), Error> {
    match fault {
        Fault::None => Ok(()),
        Fault::Harm(end, harm) => {
            if (end, harm) == (End::Inbound, Harm::Killed) {
                received(nodes, round).await?;
            }
            pair.end(end).suffer(harm).await
        }
        Fault::HarmInUpload(end, harm) => {
            uploading(nodes, pair.setting.link.as_ref()).await?;
            pair.end(end).suffer(harm).await
        }
        Fault::Silence(end) => {
            received(nodes, round).await?;
            uploading(nodes, pair.setting.link.as_ref()).await?;
            let (host, port) = match end {
                End::Inbound => (pair.setting.superlink(), superlink.fleet().addr.port()),
                End::Outbound => (pair.setting.nodes(), pair.dial().port()),
            };
            let host = host.cloned().ok_or_else(|| Error::new("there is no host of its own to be silent on"))?;
            silence(&host, pair.end(end).id()?, port).await
        }
        Fault::Cut(seconds) => {
            let link = pair.setting.link.as_ref().ok_or_else(|| Error::new("there is no link to cut"))?;
            link.cut();
            // The fault itself, and no waiting for an event.
            sleep(Duration::from_secs(seconds)).await;
            link.restore();
            Ok(())
        }
        Fault::Moved => {
            uploading(nodes, pair.setting.link.as_ref()).await?;
            let link = pair.setting.link.as_ref().ok_or_else(|| Error::new("there is no link to move"))?;
            link.readdress_left().map(drop).context(|| "no other address".into())
        }
        Fault::FullDisk(seconds) => {
            let filling = Filling::new(&pair.state()?).context(|| "the disk is not filled".into())?;
            sleep(Duration::from_secs(seconds)).await;
            drop(filling);
            Ok(())
        }
    }
}

/// Waits until every node has its message of this round, the first of which is 1: one that a SuperLink hands out in the
/// moment in which its funnel dies, or their connection does, is lost.
async fn received(nodes: &[SuperNode], round: u64) -> Result<(), Error> {
    let has_received =
        |node: &SuperNode| Ok::<_, Error>(node.logged()?.matches("Received successfully").count() as u64 >= round);
    // A file tells nobody that it grew.
    while nodes.iter().map(has_received).collect::<Result<Vec<_>, _>>()?.contains(&false) {
        sleep(LOOK).await;
    }
    Ok(())
}

/// Waits until one of the nodes sends a model, and a good part of it has crossed the link, if there is one.
async fn uploading(nodes: &[SuperNode], link: Option<&Link>) -> Result<(), Error> {
    let is_sending = |node: &SuperNode| {
        let logged = node.logged()?;
        Ok::<_, Error>(logged.matches("Sending: ").count() > logged.matches("Sent successfully").count())
    };
    // A file tells nobody that it grew.
    while !nodes.iter().map(is_sending).collect::<Result<Vec<_>, _>>()?.contains(&true) {
        sleep(LOOK).await;
    }
    let Some(link) = link else { return Ok(()) };
    let carried = || link.counts()[0].delivered;
    let before = carried();
    while carried() < before + UPLOADED_PACKETS {
        sleep(LOOK).await;
    }
    Ok(())
}
