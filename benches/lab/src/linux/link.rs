//! Two hosts and what joins them.

use std::{io, net::IpAddr};

use super::{emulator::Emulator, host::Host, probe};
use crate::{Conditions, Counts, Measured, Mismatch};

/// How often a link is measured before it is refused, since the probes too may have been kept waiting.
const ATTEMPTS: u32 = 3;
/// The same while the emulator itself was kept waiting.
const ATTEMPTS_WHEN_LATE: u32 = 10;

/// Two hosts joined by an emulated link, until dropped. What the hosts still run then has lost its device.
#[derive(Debug)]
pub struct Link {
    // Ends first, and its devices with it.
    emulator: Emulator,
    left: Host,
    right: Host,
}

impl Link {
    /// Makes two hosts and joins them.
    ///
    /// # Errors
    /// Conditions that no link can have, or what the kernel or `ip` refused.
    pub fn new(conditions: Conditions) -> io::Result<Self> {
        conditions.check()?;
        let (left, left_tun) = Host::new(1)?;
        let (right, right_tun) = Host::new(2)?;
        Ok(Self { emulator: Emulator::start(conditions, [left_tun, right_tun])?, left, right })
    }

    /// The host at 10.77.0.1.
    pub fn left(&self) -> &Host {
        &self.left
    }

    /// The host at 10.77.0.2.
    pub fn right(&self) -> &Host {
        &self.right
    }

    /// What the link is asked to be.
    pub fn conditions(&self) -> Conditions {
        self.emulator.state().conditions
    }

    /// Changes the link for packets to come. Those under way arrive as they would have, and are not overtaken.
    ///
    /// # Errors
    /// Conditions that no link can have; the link stays as it is.
    pub fn set(&self, conditions: Conditions) -> io::Result<()> {
        conditions.check()?;
        let mut state = self.emulator.state();
        state.conditions = conditions;
        state.ways.iter_mut().for_each(|way| way.set(conditions));
        Ok(())
    }

    /// Drops what is under way and all that follows, both ways and silently, until [restored](Link::restore).
    pub fn cut(&self) {
        self.emulator.state().ways.iter_mut().for_each(|way| way.cut());
    }

    /// Carries packets again.
    pub fn restore(&self) {
        self.emulator.state().ways.iter_mut().for_each(|way| way.restore());
    }

    /// Changes the address of the left host: it gets a new one, which it returns, and loses the old one.
    ///
    /// # Errors
    /// What `ip` refused.
    pub fn readdress_left(&self) -> io::Result<IpAddr> {
        self.left.readdress()
    }

    /// What the emulator did since the link was made, rightward and leftward.
    pub fn counts(&self) -> [Counts; 2] {
        self.emulator.state().ways.each_ref().map(|way| way.counts())
    }

    /// Measures the link with UDP probes between its hosts. What else crosses it meanwhile spoils the figures. Takes 1.2 s,
    /// 1.5 round trips, and what it takes to fill and empty the queue both ways: in all less than 3.5 s for a round trip and a
    /// queue of up to 300 ms.
    ///
    /// # Errors
    /// No probe arrived, probes were missing that the emulator had not dropped, or what the kernel said.
    pub fn measure(&self) -> io::Result<Measured> {
        probe::measure(self)
    }

    /// Refuses a link that is not what was asked for. Takes as long as [`measure`](Link::measure), and more on a machine that
    /// stands still at times: it measures thrice before it refuses, and up to ten times while packets are late.
    ///
    /// # Errors
    /// What was asked, what was measured, and [what is off](Measured::check).
    pub fn assert_as_asked(&self) -> Result<Measured, Mismatch> {
        let asked = self.conditions();
        let mut attempt = 1;
        loop {
            let late = self.late();
            let measured = self.measure().map_err(|error| Mismatch::unmeasured(&asked, &error));
            match measured.and_then(|measured| measured.check(&asked).map(|()| measured)) {
                Err(_) if attempt < ATTEMPTS || (attempt < ATTEMPTS_WHEN_LATE && self.late() > late) => attempt += 1,
                Err(mismatch) => return Err(mismatch.with_late(self.late() - late)),
                measured => return measured,
            }
        }
    }

    fn late(&self) -> u64 {
        self.counts().iter().map(|counts| counts.late).sum()
    }

    /// Why the emulator ended by itself, if it did.
    pub(super) fn health(&self) -> io::Result<()> {
        match self.emulator.state().failed.take() {
            Some(error) => Err(io::Error::new(error.kind(), format!("the emulator ended: {error}"))),
            None => Ok(()),
        }
    }
}
