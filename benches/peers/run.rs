//! The order of measurements.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    args, children,
    failure::Failure,
    figures::Figures,
    rig::Rig,
    writer::{Begun, Writer},
};

/// How one measurement is made.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// How many peers.
    pub(crate) peers: usize,
    /// Between two polls of one.
    pub(crate) every: Duration,
    /// How long they are measured.
    pub(crate) window: Duration,
    /// Which of the repeats, from 0.
    pub(crate) repeat: usize,
}

/// One line of the file of results.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Line<'a> {
    /// How the run was made.
    Run(Box<Begun>),
    /// One measurement.
    Peers(&'a Figures),
}

impl Plan {
    /// The time for all, if each takes `one`.
    pub(crate) fn patience(&self, one: Duration) -> Duration {
        one.saturating_mul(u32::try_from(self.peers).unwrap_or(u32::MAX))
    }
}

/// Measures what `args` ask for, prints tables, and keeps everything in a file.
pub(crate) fn run(args: &args::Run) -> Result<(), Failure> {
    children::end_when_interrupted()?;
    #[cfg(unix)]
    allow_files()?;
    let mut writer = Writer::create(&args.name)?;
    writer.write(&Line::Run(Begun::here(Vec::new())?))?;
    for repeat in 0..args.repeat {
        for &peers in &args.peers {
            let plan = Plan { peers, every: args.every, window: args.window, repeat };
            let figures = Rig::start(plan)?.measure()?;
            figures.print();
            writer.write(&Line::Peers(&figures))?;
        }
    }
    println!("\nraw results: {}", writer.path.display());
    Ok(())
}

/// This process, and all that it starts, may open as many files as the system lets it.
#[cfg(unix)]
fn allow_files() -> Result<(), Failure> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    use crate::failure::Context;

    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("limit of open files")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context(format_args!("{hard} open files"))
}
