//! Memory and file descriptors of funnels that live long.

use std::fmt;

use super::restartable::Restartable;
use crate::flower::Error;

/// What may be more at the end than at the beginning: what is measured are single moments, with calls under way.
const MEMORY_SLACK_KIB: u64 = 8 << 10;
const DESCRIPTOR_SLACK: usize = 16;

/// Samples, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    inbound: Vec<Sample>,
    outbound: Vec<Sample>,
}

/// One funnel, or the mean of several.
#[derive(Clone, Copy, Debug)]
struct Sample {
    memory_kib: u64,
    descriptors: usize,
}

impl Figures {
    pub(crate) fn sample<'a>(
        &mut self,
        inbound: &Restartable,
        outbound: impl ExactSizeIterator<Item = &'a Restartable>,
    ) -> Result<(), Error> {
        self.inbound.push(Sample { memory_kib: inbound.process()?.rss(), descriptors: inbound.descriptors()? });
        let count = outbound.len().max(1);
        let mut sum = Sample { memory_kib: 0, descriptors: 0 };
        for funnel in outbound {
            sum.memory_kib += funnel.process()?.rss();
            sum.descriptors += funnel.descriptors()?;
        }
        self.outbound.push(Sample { memory_kib: sum.memory_kib / count as u64, descriptors: sum.descriptors / count });
        Ok(())
    }

    /// # Errors
    /// If the last third of the time took more than the first.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for samples in [&self.inbound, &self.outbound] {
            let [first, last] =
                ends(samples).ok_or_else(|| Error::new("too short a time to say whether anything grows"))?;
            let memory = first.memory_kib + first.memory_kib / 10 + MEMORY_SLACK_KIB;
            if last.memory_kib > memory || last.descriptors > first.descriptors + DESCRIPTOR_SLACK {
                return Err(Error::new(format!("it grew: {self}")));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, samples) in [("inbound", &self.inbound), ("outbound, mean", &self.outbound)] {
            let Some([first, last]) = ends(samples) else { continue };
            writeln!(
                f,
                "{name}: {} samples, medians of the first and the last third: {} and {} KiB, {} and {} descriptors",
                samples.len(),
                first.memory_kib,
                last.memory_kib,
                first.descriptors,
                last.descriptors
            )?;
        }
        Ok(())
    }
}

/// The medians of the first and the last third.
fn ends(samples: &[Sample]) -> Option<[Sample; 2]> {
    let third = samples.len() / 3;
    (third > 0).then(|| [median(&samples[..third]), median(&samples[samples.len() - third..])])
}

fn median(samples: &[Sample]) -> Sample {
    let middle = |mut values: Vec<u64>| {
        values.sort_unstable();
        values[values.len() / 2]
    };
    Sample {
        memory_kib: middle(samples.iter().map(|sample| sample.memory_kib).collect()),
        descriptors: middle(samples.iter().map(|sample| sample.descriptors as u64).collect()) as usize,
    }
}
