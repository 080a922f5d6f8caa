//! Runs scenarios under callgrind.

use std::{
    env, fs, io,
    path::Path,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use crate::{Error, Scenario, scenario::ALL};

/// Asks this program for a scenario's bare work.
pub(crate) const RUN: &str = "--run";

/// Where callgrind's files stay, for `callgrind_annotate`.
const FILES: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/instructions");

/// Instructions per unit of each scenario, as many scenarios at a time as there are cores. A count that `is_expected` of a
/// scenario is taken as it is.
pub(crate) fn count(
    scenarios: &[&Scenario],
    is_expected: impl Fn(&Scenario, u64) -> bool + Sync,
) -> Result<Vec<u64>, Error> {
    fs::create_dir_all(FILES).map_err(|error| format!("no profile can be kept in {FILES}: {error}"))?;
    eprintln!("{} of {} scenarios run under callgrind ...", scenarios.len(), ALL.len());
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut counts = Vec::new();
        while let Some((index, scenario)) = take(scenarios, &next) {
            // After a failure there is nothing to compare: the others need not start.
            let count = settled(scenario, |count| is_expected(scenario, count));
            counts.push((index, count.inspect_err(|_| next.store(scenarios.len(), Ordering::Relaxed))?));
        }
        Ok::<_, Error>(counts)
    };
    let counts = thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        let joined = workers.into_iter().map(|worker| worker.join().expect("a worker does not panic"));
        joined.collect::<Result<Vec<_>, _>>()
    })?;
    let mut counts = counts.concat();
    counts.sort_unstable();
    Ok(counts.into_iter().map(|(_, per_unit)| per_unit).collect())
}

fn take<'a>(scenarios: &[&'a Scenario], next: &AtomicUsize) -> Option<(usize, &'a Scenario)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    scenarios.get(index).map(|scenario| (index, *scenario))
}

/// The middle one of three, unless the first is as expected: of 25 counts with sockets, one was half of the others.
fn settled(scenario: &Scenario, is_expected: impl Fn(u64) -> bool) -> Result<u64, Error> {
    let first = per_unit(scenario)?;
    if is_expected(first) {
        return Ok(first);
    }
    let mut counts = [first, per_unit(scenario)?, per_unit(scenario)?];
    counts.sort_unstable();
    Ok(counts[1])
}

/// Twice the iterations less once the iterations: what begins and ends a run falls out.
fn per_unit(scenario: &Scenario) -> Result<u64, Error> {
    let once = instructions(scenario, scenario.iterations)?;
    let twice = instructions(scenario, scenario.iterations * 2)?;
    // By chance more work may take less: then it is nothing, which is never as expected.
    Ok(twice.saturating_sub(once) / (u64::from(scenario.iterations) * scenario.unit.0))
}

fn instructions(scenario: &Scenario, iterations: u32) -> Result<u64, Error> {
    let name = scenario.name;
    let file = Path::new(FILES).join(format!("{}.{iterations}.callgrind", name.replace('/', ".")));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", &format!("--callgrind-out-file={}", file.display())])
        .arg(env::current_exe()?)
        .args([RUN, name, &iterations.to_string()])
        .output()
        .map_err(|error| missing(&error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{name} under callgrind: {}\n{said}", output.status).into());
    }
    let profile = fs::read_to_string(&file).map_err(|error| format!("callgrind's {}: {error}", file.display()))?;
    let total = profile.lines().find_map(|line| line.strip_prefix("totals: "));
    Ok(total.ok_or_else(|| format!("callgrind's {} has no totals", file.display()))?.trim().parse()?)
}

pub(crate) fn missing(error: &io::Error) -> String {
    format!("valgrind does not start ({error}): install it, on Debian and Ubuntu with `apt-get install valgrind`")
}
