//! Memory, file descriptors and threads of funnels that live long.

use std::fmt;

use super::restartable::Restartable;
use crate::flower::Error;

/// What may be more at the end than at the beginning: what is measured are single moments, with calls under way.
const MEMORY_SLACK_KIB: u64 = 8 << 10;
const DESCRIPTOR_SLACK: usize = 16;
const THREAD_SLACK: usize = 4;

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
    threads: usize,
}

impl Sample {
    fn of(funnel: &Restartable) -> Result<Self, Error> {
        let memory_kib = funnel.process()?.rss();
        Ok(Self { memory_kib, descriptors: funnel.descriptors()?, threads: funnel.threads()? })
    }
}

impl Figures {
    pub(crate) fn sample<'a>(
        &mut self,
        inbound: &Restartable,
        outbound: impl ExactSizeIterator<Item = &'a Restartable>,
    ) -> Result<(), Error> {
        self.inbound.push(Sample::of(inbound)?);
        let count = outbound.len().max(1);
        let mut mean = Sample { memory_kib: 0, descriptors: 0, threads: 0 };
        for funnel in outbound {
            let sample = Sample::of(funnel)?;
            mean.memory_kib += sample.memory_kib;
            mean.descriptors += sample.descriptors;
            mean.threads += sample.threads;
        }
        mean.memory_kib /= count as u64;
        mean.descriptors /= count;
        mean.threads /= count;
        self.outbound.push(mean);
        Ok(())
    }

    /// # Errors
    /// If the last third of the time took more than the first.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for samples in [&self.inbound, &self.outbound] {
            let [first, last] =
                ends(samples).ok_or_else(|| Error::new("too short a time to say whether anything grows"))?;
            let memory = first.memory_kib + first.memory_kib / 10 + MEMORY_SLACK_KIB;
            let descriptors = first.descriptors + DESCRIPTOR_SLACK;
            let threads = first.threads + THREAD_SLACK;
            if last.memory_kib > memory || last.descriptors > descriptors || last.threads > threads {
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
                "{name}: {} samples, medians of the first and the last third: {} and {} KiB, {} and {} descriptors, \
                 {} and {} threads",
                samples.len(),
                first.memory_kib,
                last.memory_kib,
                first.descriptors,
                last.descriptors,
                first.threads,
                last.threads
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
    let memory_kib = middle(samples.iter().map(|sample| sample.memory_kib).collect());
    let descriptors = middle(samples.iter().map(|sample| sample.descriptors).collect());
    let threads = middle(samples.iter().map(|sample| sample.threads).collect());
    Sample { memory_kib, descriptors, threads }
}

fn middle<T: Ord + Copy>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    values[values.len() / 2]
}
