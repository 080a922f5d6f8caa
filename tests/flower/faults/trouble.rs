//! What happens at the SuperLink's site in a year: a full disk, logs that are rotated, a roster that is edited.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    time::Duration,
};

use tokio::time::sleep;

use super::sites::Sites;
use crate::{
    flower::{Context, Error},
    small_disk::Filling,
};

/// How the audit log is rotated, before SIGHUP.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rotation {
    /// As logrotate does by default.
    Renamed,
    /// As `copytruncate` does.
    CopiedAndCut,
}

/// Something that an operator or the machine does to the SuperLink's site.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// The disk has no room, for so many seconds.
    FullDisk(u64),
    /// The audit log is rotated.
    Rotated(Rotation),
    /// The roster's file is edited by hand.
    Edited,
    /// Somebody is invited, and the invitation taken back.
    Invited,
    /// The site whose uploads stand still is denied, and admitted again after so many seconds.
    Denied(u64),
}

impl Trouble {
    pub(crate) fn any(random: &mut fastrand::Rng) -> Self {
        match random.u8(0..6) {
            0 => Self::FullDisk(random.u64(1..6)),
            1 => Self::Rotated(Rotation::Renamed),
            2 => Self::Rotated(Rotation::CopiedAndCut),
            3 => Self::Edited,
            4 => Self::Invited,
            _ => Self::Denied(random.u64(1..6)),
        }
    }

    /// Makes it, and returns when it is over.
    pub(crate) async fn make(self, sites: &Sites, stalled: &str) -> Result<(), Error> {
        match self {
            Self::FullDisk(seconds) => {
                let filling = Filling::new(&sites.state()).context(|| "the disk cannot be filled".into())?;
                // The fault itself, and no waiting for an event.
                sleep(Duration::from_secs(seconds)).await;
                drop(filling);
                Ok(())
            }
            Self::Rotated(how) => {
                rotate(sites, how).context(|| "the audit log cannot be rotated".into())?;
                sites.inbound.process()?.hang_up().map_err(Error::new)
            }
            Self::Edited => edit(sites).context(|| "the roster cannot be edited".into()),
            Self::Invited => {
                sites.manage("invite visitor --uses 2").await?;
                sites.manage("peers remove visitor").await.map(|_| ())
            }
            Self::Denied(seconds) => {
                sites.manage(&format!("peers deny {stalled}")).await?;
                sleep(Duration::from_secs(seconds)).await;
                sites.manage(&format!("peers allow {stalled}")).await.map(|_| ())
            }
        }
    }
}

fn rotate(sites: &Sites, how: Rotation) -> std::io::Result<()> {
    let (log, old) = (sites.state().join("audit.jsonl"), sites.state().join("audit.jsonl.rotated"));
    match how {
        Rotation::Renamed => fs::rename(log, old),
        Rotation::CopiedAndCut => {
            fs::copy(&log, old)?;
            File::options().write(true).open(log)?.set_len(0)
        }
    }
}

/// A comment is all that changes.
fn edit(sites: &Sites) -> std::io::Result<()> {
    let mut roster = OpenOptions::new().append(true).open(sites.state().join("peers.toml"))?;
    writeln!(roster, "# seen")
}
