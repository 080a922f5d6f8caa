//! A funnel process that comes to harm and comes back, with the same arguments.

use std::{fs, time::Duration};

use lab::Host;
use tokio::{process::Command, time::sleep};

use super::place::on;
use crate::{
    flower::{Context, Error},
    funnel_process::FunnelProcess,
};

/// What happens to a funnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// SIGKILL, and a start anew.
    Killed,
    /// SIGTERM, which must end well, and a start anew.
    Stopped,
    /// SIGSTOP, and SIGCONT after so many seconds.
    Frozen(u64),
    /// No file descriptor but those that are open, for so many seconds.
    WithoutDescriptors(u64),
    /// Nobody reads its log, for so many seconds.
    LogUnread(u64),
}

/// How a funnel is started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Launch {
    /// What follows the name of the program.
    pub(crate) arguments: Vec<String>,
    /// The words before it, a program that starts another.
    pub(crate) launcher: Vec<String>,
    /// Where, if not on this host.
    pub(crate) host: Option<Host>,
}

impl Launch {
    async fn start(&self) -> Result<FunnelProcess, Error> {
        let process = on(self.host.as_ref(), async {
            match self.launcher.split_first() {
                None => FunnelProcess::start(&self.arguments).await,
                Some((program, words)) => {
                    let mut launcher = Command::new(program);
                    launcher.args(words);
                    FunnelProcess::start_by(launcher, &self.arguments).await
                }
            }
        });
        process.await.map_err(Error::new)
    }
}

/// A funnel that runs, but while it is being started again.
pub(crate) struct Restartable {
    launch: Launch,
    process: Option<FunnelProcess>,
    /// Lines of the processes before this one that say more than `INFO`.
    warned: Vec<String>,
}

impl Restartable {
    pub(crate) async fn start(launch: Launch) -> Result<Self, Error> {
        let process = Some(launch.start().await?);
        Ok(Self { launch, process, warned: Vec::new() })
    }

    /// Lines that say more than `INFO`, of all its processes.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let now = self.process.as_ref().map(|process| warnings(&process.stderr())).unwrap_or_default();
        self.warned.iter().cloned().chain(now).collect()
    }

    pub(crate) fn process(&self) -> Result<&FunnelProcess, Error> {
        self.process.as_ref().ok_or_else(|| Error::new("the funnel did not come back"))
    }

    /// What it has logged since it was last started.
    pub(crate) fn log(&self) -> String {
        self.process.as_ref().map(FunnelProcess::stderr).unwrap_or_default()
    }

    /// Does it harm, and returns when it is well again.
    pub(crate) async fn suffer(&mut self, harm: Harm) -> Result<(), Error> {
        match harm {
            Harm::Killed => {
                self.take()?.kill().await.map_err(Error::new)?;
                self.process = Some(self.launch.start().await?);
            }
            Harm::Stopped => {
                self.stop().await?;
                self.process = Some(self.launch.start().await?);
            }
            Harm::Frozen(seconds) => {
                self.process()?.freeze().map_err(Error::new)?;
                // The fault itself, and no waiting for an event.
                sleep(Duration::from_secs(seconds)).await;
                self.process()?.thaw().map_err(Error::new)?;
            }
            Harm::WithoutDescriptors(seconds) => {
                self.limit_descriptors(self.descriptors()?).await?;
                sleep(Duration::from_secs(seconds)).await;
                self.limit_descriptors(1024).await?;
            }
            Harm::LogUnread(seconds) => {
                self.process()?.read_stderr(false);
                sleep(Duration::from_secs(seconds)).await;
                self.process()?.read_stderr(true);
            }
        }
        Ok(())
    }

    fn take(&mut self) -> Result<FunnelProcess, Error> {
        let process = self.process.take().ok_or_else(|| Error::new("the funnel does not run"))?;
        self.warned.extend(warnings(&process.stderr()));
        Ok(process)
    }

    /// Asks it to end, which must end well.
    pub(crate) async fn stop(&mut self) -> Result<(), Error> {
        let process = self.take()?;
        let status = process.stop().await.map_err(Error::new)?;
        if status.success() { Ok(()) } else { Err(Error::new(format!("it ended with {status} after SIGTERM"))) }
    }

    /// How many file descriptors it has open. Reads `/proc`.
    pub(crate) fn descriptors(&self) -> Result<usize, Error> {
        let folder = format!("/proc/{}/fd", self.id()?);
        Ok(fs::read_dir(&folder).context(|| format!("cannot read {folder}"))?.count())
    }

    /// How many threads it has. Reads `/proc`.
    pub(crate) fn threads(&self) -> Result<usize, Error> {
        let folder = format!("/proc/{}/task", self.id()?);
        Ok(fs::read_dir(&folder).context(|| format!("cannot read {folder}"))?.count())
    }

    pub(crate) fn id(&self) -> Result<u32, Error> {
        self.process()?.id().ok_or_else(|| Error::new("the funnel has ended"))
    }

    async fn limit_descriptors(&self, limit: usize) -> Result<(), Error> {
        let mut prlimit = Command::new("prlimit");
        prlimit.args(["--pid", &self.id()?.to_string(), &format!("--nofile={limit}:")]);
        let status = prlimit.status().await.context(|| "prlimit, a part of util-linux, cannot be run".into())?;
        if status.success() { Ok(()) } else { Err(Error::new(format!("prlimit ended with {status}"))) }
    }
}

fn warnings(log: &str) -> Vec<String> {
    log.lines().filter(|line| !line.contains(" INFO ")).map(str::to_owned).collect()
}
