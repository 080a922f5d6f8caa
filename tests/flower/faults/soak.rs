//! Real Flower trains without pause while funnels come to harm at random, beside a site whose uploads stand still and
//! strangers: nothing may be lost, nothing may grow, and each line that warns has its reason.
//!
//! But for one message each time that the SuperLink's funnel is killed: what it is being handed at that moment, a SuperLink
//! hands to nobody again. The node is missing in that round.
//!
//! It is short unless told otherwise:
//!
//! SOAK_PEERS=64 SOAK_MINUTES=120 cargo test --release --test flower -- faults::soak --nocapture

use std::{
    cell::Cell,
    env,
    fmt::{self, Display},
    str::FromStr,
    time::Duration,
};

use flower_iroh_funnel::SecretKey;
use tokio::time::{Instant, sleep_until};
use tracing_subscriber::EnvFilter;

use super::{
    beside::beside,
    figures::Figures,
    nodes::{self, RustNode},
    reasons::without_reason,
    restartable::Harm,
    sites::Sites,
    trouble::Trouble,
};
use crate::{
    flower::{Context, Error, FlowerRun, RunConfig, SuperLink, SuperNode, Venv},
    real_flower::in_turn_for,
    small_disk,
    versions::{V1_42, venvs},
};

/// Of all nodes, so many are Python's SuperNodes, each of which starts a Python process in each round.
const PYTHON_NODES: usize = 2;
const ROUNDS: u64 = 5;
/// 400 kB each way for each node and round.
const ARRAY_ELEMS: u64 = 100_000;
/// The runs between two restarts of the SuperLink.
const RUNS_OF_A_SUPERLINK: usize = 10;
/// Above the time for a run of fifty nodes on two busy cores.
const RUN_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// Above the time for a round of fifty nodes on two busy cores, one of which was out of reach for a while.
const ROUND_TIMEOUT: Duration = Duration::from_secs(180);

/// What is asked for.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// A power of two: only then is the mean of the models exact.
    peers: usize,
    duration: Duration,
    /// Between two faults, on average.
    pause: Duration,
    seed: u64,
}

impl Plan {
    fn read() -> Self {
        let duration = Duration::from_secs(60 * number("SOAK_MINUTES", 1));
        let pause = Duration::from_secs(number("SOAK_PAUSE_S", 2));
        Self { peers: number("SOAK_PEERS", 4), duration, pause, seed: number("SOAK_SEED", 1) }
    }
}

fn number<T: FromStr<Err: Display>>(name: &str, default: T) -> T {
    let Ok(text) = env::var(name) else { return default };
    text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn soak() -> Result<(), Error> {
    let plan = Plan::read();
    in_turn_for(plan.duration + RUN_TIMEOUT, async {
        let Some([venv]) = venvs([V1_42]).await? else { return Ok(()) };
        let folder = tempfile::tempdir().context(|| "no temporary directory".into())?;
        if !small_disk::is_possible(folder.path()).await {
            return Ok(());
        }
        println!("{plan:?}");
        // What the Rust nodes say, if RUST_LOG asks for it.
        let _ = tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).try_init();
        let mut superlink = SuperLink::start_with_database(&venv).await?;
        let sites = Sites::start(&superlink, plan.peers).await?;
        let soaked = Soak { plan, venv: &venv, superlink: &mut superlink, sites }.run().await;
        soaked.map_err(|error| superlink.explain(error))?;
        superlink.stop().await
    })
    .await
}

struct Soak<'a> {
    plan: Plan,
    venv: &'a Venv,
    superlink: &'a mut SuperLink,
    sites: Sites,
}

impl Soak<'_> {
    async fn run(mut self) -> Result<(), Error> {
        let mut python = Vec::new();
        let mut ids = Vec::new();
        for (partition, site) in self.sites.outbound.iter().enumerate().take(PYTHON_NODES) {
            python.push(SuperNode::start(self.venv, site.dial, partition, self.plan.peers)?);
        }
        for node in &mut python {
            ids.push(node.registered().await?);
        }
        let mut rust = Vec::new();
        for (partition, site) in self.sites.outbound.iter().enumerate().skip(PYTHON_NODES) {
            rust.push(RustNode::register(site.dial, partition).await?);
        }
        ids.extend(rust.iter().map(RustNode::id));

        let until = Instant::now() + self.plan.duration;
        let kills = Cell::new(0);
        let stalled = SecretKey::generate();
        self.sites.manage(&format!("peers allow {} --name stalled", stalled.public())).await?;
        let soaked = {
            let beside = beside(self.sites.inbound_addr()?, stalled);
            let training = train(self.venv, self.superlink, &ids, &kills, until);
            let harming = harm(self.plan, &mut self.sites, &kills, until);
            tokio::select! {
                soaked = async { tokio::try_join!(training, harming) } => soaked,
                ended = nodes::serve(&rust) => Err(ended.into()),
                () = beside => unreachable!("they go on"),
            }
        };
        let (lost, harmed) = soaked.map_err(|failure| self.explain(failure))?;
        let log = self.sites.inbound.log();
        let (messages, objects) = (log.matches("handed out again").count(), log.matches("an object is stored").count());
        println!(
            "{harmed}lost: {lost} messages in {} kills of the SuperLink's funnel, which since its last start handed {messages} \
             messages out again and said of {objects} objects that they are stored",
            kills.get()
        );
        for node in rust {
            node.close().await?;
        }
        for node in python {
            node.stop().await?;
        }
        let funnels = self.sites.outbound.iter().map(|site| &site.funnel).chain([&self.sites.inbound]);
        let unexplained: Vec<_> = funnels.flat_map(|funnel| without_reason(funnel.warnings())).collect();
        self.sites.stop().await?;
        if !unexplained.is_empty() {
            return Err(Error::new(format!("lines without a reason:\n{}", unexplained.join("\n"))));
        }
        harmed.figures.check()
    }

    fn explain(&self, Failure { error, sites }: Failure) -> Error {
        let logs = sites.iter().map(|site| (format!("site {site}"), &self.sites.outbound[*site].funnel));
        let logs = logs.chain([("the SuperLink's site".to_owned(), &self.sites.inbound)]);
        let logs = logs.map(|(name, funnel)| format!("\n--- funnel of {name}\n{}", funnel.log()));
        Error::new(format!("{error}{}", logs.collect::<String>()))
    }
}

/// What ended a soak, and the sites that it was about.
struct Failure {
    error: Error,
    sites: Vec<usize>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, sites: Vec::new() }
    }
}

/// One run after the other, in each round of which every node must take part, but for one for each of `kills`. Gives how many
/// did not. The ids are in the order of the sites.
async fn train(
    venv: &Venv,
    superlink: &mut SuperLink,
    ids: &[String],
    kills: &Cell<usize>,
    until: Instant,
) -> Result<usize, Failure> {
    let config = RunConfig {
        rounds: ROUNDS,
        nodes: ids.len(),
        array_elems: ARRAY_ELEMS,
        evaluate: false,
        round_timeout: ROUND_TIMEOUT,
        timeout: RUN_TIMEOUT,
        ..RunConfig::default()
    };
    let (mut runs, mut lost_in_all) = (0, 0);
    while Instant::now() < until {
        let kills_before = kills.get();
        let mut run = FlowerRun::submit(venv, superlink.control().addr, &config).await?;
        let outcome = run.finish().await?;
        let missing = |id: &String| outcome.rounds.values().filter(|round| !round.nodes.contains(id)).count();
        let lost: usize = ids.iter().map(missing).sum();
        let is_explained = lost <= kills.get() - kills_before && outcome.rounds.len() as u64 == ROUNDS;
        match outcome.verify(ROUNDS, ids) {
            Err(error) if lost == 0 || !is_explained => {
                let sites = (0..ids.len()).filter(|site| missing(&ids[*site]) > 0).collect();
                let error = run.explain(Error::new(format!("after {runs} good runs: {error}")));
                return Err(Failure { error, sites });
            }
            _ => {}
        }
        (runs, lost_in_all) = (runs + 1, lost_in_all + lost);
        let seconds: Vec<_> = outcome.rounds.values().map(|round| round.seconds).collect();
        if runs % RUNS_OF_A_SUPERLINK == 0 {
            // Between two runs: the one that is under way is lost with its SuperLink, whatever is in between.
            superlink.kill_and_restart().await?;
        }
        println!("run {runs}, with {} nodes, {lost} messages lost, in {seconds:?} s", ids.len());
    }
    Ok(lost_in_all)
}

/// Harms one funnel after the other. The inbound one is killed and stopped in the first quarter only, and the first half of
/// the sites is never: they show whether anything grows.
async fn harm(plan: Plan, sites: &mut Sites, kills: &Cell<usize>, until: Instant) -> Result<Harmed, Failure> {
    let mut random = fastrand::Rng::with_seed(plan.seed);
    let began = Instant::now();
    let steady_from = began + plan.duration / 4;
    let mut harmed = Harmed::default();
    let mut sample_at = steady_from;
    loop {
        sleep_until(until.min(Instant::now() + plan.pause.mul_f64(0.5 + random.f64()))).await;
        if Instant::now() >= until {
            return Ok(harmed);
        }
        if random.u8(0..4) == 0 {
            let trouble = Trouble::any(&mut random);
            println!("{} s: {trouble:?}", began.elapsed().as_secs());
            trouble.make(sites, "stalled").await?;
            harmed.troubles += 1;
            continue;
        }
        let steady = plan.peers / 2;
        let (name, funnel, harm) = if random.u8(0..5) == 0 {
            let harm = of_inbound(&mut random, Instant::now() < steady_from);
            kills.update(|kills| kills + usize::from(harm == Harm::Killed));
            ("the SuperLink's site".into(), &mut sites.inbound, harm)
        } else {
            let site = random.usize(0..plan.peers);
            (format!("site {site}"), &mut sites.outbound[site].funnel, of_outbound(&mut random, site >= steady))
        };
        println!("{} s: {harm:?}, {name}", began.elapsed().as_secs());
        if let Err(error) = funnel.suffer(harm).await {
            return Err(Error::new(format!("{harm:?}, after {harmed}: {error}\n{}", funnel.log())).into());
        }
        harmed.count(harm);
        if Instant::now() >= sample_at {
            harmed.figures.sample(&sites.inbound, sites.outbound[..steady].iter().map(|site| &site.funnel))?;
            sample_at = Instant::now() + plan.duration / 100;
        }
    }
}

fn of_inbound(random: &mut fastrand::Rng, may_end: bool) -> Harm {
    match random.u8(0..7) {
        0 | 1 if may_end => Harm::Killed,
        2 if may_end => Harm::Stopped,
        3 => Harm::WithoutDescriptors(random.u64(1..4)),
        4 => Harm::LogUnread(random.u64(1..20)),
        _ => Harm::Frozen(random.u64(1..8)),
    }
}

fn of_outbound(random: &mut fastrand::Rng, may_end: bool) -> Harm {
    match random.u8(0..8) {
        0..=4 if may_end => Harm::Killed,
        5 if may_end => Harm::Stopped,
        6 => Harm::WithoutDescriptors(random.u64(1..4)),
        _ => Harm::Frozen(random.u64(1..10)),
    }
}

/// What was done.
#[derive(Debug, Default)]
struct Harmed {
    killed: u32,
    stopped: u32,
    frozen: u32,
    without_descriptors: u32,
    log_unread: u32,
    troubles: u32,
    figures: Figures,
}

impl Harmed {
    fn count(&mut self, harm: Harm) {
        *match harm {
            Harm::Killed => &mut self.killed,
            Harm::Stopped => &mut self.stopped,
            Harm::Frozen(_) => &mut self.frozen,
            Harm::WithoutDescriptors(_) => &mut self.without_descriptors,
            Harm::LogUnread(_) => &mut self.log_unread,
        } += 1;
    }
}

impl fmt::Display for Harmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { killed, stopped, frozen, without_descriptors, log_unread, troubles, figures } = self;
        write!(
            f,
            "{killed} killed, {stopped} stopped, {frozen} frozen, {without_descriptors} without descriptors, {log_unread} \
             logs unread, {troubles} other troubles\n{figures}"
        )
    }
}
