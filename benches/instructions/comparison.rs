//! What became of the counts since the baseline.

use crate::{Error, Scenario, baseline::Baseline, scenario, toolchain::Toolchain};

/// What another compiler or library may change, in per cent, where a scenario itself tolerates less.
const OTHER_TOOLCHAIN: f64 = 10.0;

const RENEW: &str = "cargo bench --bench instructions -- --bless";

pub(crate) struct Comparison<'a> {
    baseline: &'a Baseline,
    /// What is tolerated at least.
    tolerance: f64,
}

impl<'a> Comparison<'a> {
    /// With what `here` counts.
    ///
    /// # Errors
    /// The baseline is of another target: its counts say nothing about this one.
    pub(crate) fn new(baseline: &'a Baseline, here: &Toolchain) -> Result<Self, Error> {
        let kept = &baseline.toolchain;
        if kept.target != here.target {
            return Err(
                format!("the baseline is of {}, and this is {}: compare there", kept.target, here.target).into()
            );
        }
        if kept == here {
            return Ok(Self { baseline, tolerance: 0.0 });
        }
        println!("The baseline was made with another toolchain: {OTHER_TOOLCHAIN} % are tolerated everywhere.");
        println!("  baseline: {kept}\n  here:     {here}");
        Ok(Self { baseline, tolerance: OTHER_TOOLCHAIN })
    }

    /// Whether a count is that of the baseline, as far as can be told.
    pub(crate) fn is_same(&self, scenario: &Scenario, now: u64) -> bool {
        let kept = self.baseline.of(scenario);
        kept.is_some_and(|kept| matches!(self.verdict(scenario, kept, now), Verdict::Same))
    }

    /// Prints how each scenario compares, and tells how many failed.
    pub(crate) fn print<'s>(&self, counts: impl Iterator<Item = (&'s Scenario, u64)>) -> usize {
        println!("{:<24}{:>14}{:>14}{:>9}", "instructions per", "baseline", "now", "change");
        let mut verdicts: Vec<_> = counts.map(|(scenario, now)| self.row(scenario, now)).collect();
        for row in &self.baseline.rows {
            if !scenario::ALL.iter().any(|scenario| scenario.name == row.scenario) {
                println!("{:<24} is in the baseline, and no scenario of that name is here", row.scenario);
                verdicts.push(Verdict::Failed);
            }
        }
        let failures = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Failed)).count();
        if failures > 0 {
            println!("{failures} failed. If that is how it has to be: {RENEW}");
        } else if verdicts.iter().any(|verdict| matches!(verdict, Verdict::Gained)) {
            println!("Better than the baseline. To keep it so: {RENEW}");
        }
        failures
    }

    fn row(&self, scenario: &Scenario, now: u64) -> Verdict {
        let name = format!("{} {}", scenario.name, scenario.unit.1);
        let Some(kept) = self.baseline.of(scenario) else {
            println!("{name:<24}{:>14}{now:>14}           FAILED: not in the baseline", "");
            return Verdict::Failed;
        };
        let (change, tolerance) = (change(kept, now), self.tolerance(scenario));
        let verdict = self.verdict(scenario, kept, now);
        let said = match verdict {
            Verdict::Same => String::new(),
            Verdict::Gained => format!("  better by more than {tolerance} %"),
            Verdict::Failed => format!("  FAILED: worse by more than {tolerance} %"),
        };
        println!("{name:<24}{kept:>14}{now:>14}{change:>+7.1} %{said}");
        verdict
    }

    fn tolerance(&self, scenario: &Scenario) -> f64 {
        scenario.tolerance.max(self.tolerance)
    }

    fn verdict(&self, scenario: &Scenario, kept: u64, now: u64) -> Verdict {
        let (change, tolerance) = (change(kept, now), self.tolerance(scenario));
        // Of no count at all, nothing can be said in per cent.
        if !change.is_finite() || change > tolerance {
            Verdict::Failed
        } else if change < -tolerance {
            Verdict::Gained
        } else {
            Verdict::Same
        }
    }
}

/// In per cent.
fn change(kept: u64, now: u64) -> f64 {
    (now as f64 / kept as f64 - 1.0) * 100.0
}

#[derive(Clone, Copy)]
enum Verdict {
    Same,
    Gained,
    Failed,
}
