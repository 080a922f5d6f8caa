//! The order of measurements: at each site, every repeat takes every workload to every competitor in turn.

use std::{collections::HashMap, sync::Arc, time::Duration};

use clap::ValueEnum;

use crate::{
    args,
    competitor::Competitor,
    failure::Failure,
    pace::Pace,
    report,
    results::{Cell, Line, Writer},
    rig::{Measured, Rig},
    site::Site,
    workload::Workload,
};

/// Measures what `args` ask for, prints tables, and keeps everything in a file.
pub(crate) fn run(args: &args::Run) -> Result<(), Failure> {
    let sites = args.links.clone();
    for competitor in &args.competitors {
        competitor.prepare()?;
    }
    let mut writer = Writer::create(&args.name)?;
    let mut lines = Vec::new();
    for _ in sites {
        let site = Arc::new(Site::loopback());
        measure_site(args, &site, &mut |line| {
            writer.write(&line)?;
            lines.push(line);
            Ok(())
        })?;
    }
    report::print(&lines, args.reference)?;
    println!("\nraw results: {}", writer.path.display());
    Ok(())
}

fn measure_site(
    args: &args::Run,
    site: &Arc<Site>,
    keep: &mut dyn FnMut(Line) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let pace = Pace::loopback(args.quick, Duration::from_secs(args.timeout));
    keep(Line::Site { site: site.name.clone(), pace })?;
    let workloads = if args.only.is_empty() { Workload::value_variants().to_vec() } else { args.only.clone() };
    let mut competitors = args.competitors.clone();
    if competitors.is_empty() {
        competitors = Competitor::value_variants().to_vec();
        competitors.iter().try_for_each(|competitor| competitor.prepare())?;
    }
    let mut rigs = Rigs::new(Arc::clone(site));
    for repeat in 0..args.repeat.unwrap_or(if args.quick { 3 } else { 5 }) {
        for &workload in &workloads {
            for &competitor in &competitors {
                let measured = rigs.measure(competitor, workload, &pace);
                let cell = Cell::new(&site.name, workload, competitor, repeat, measured);
                eprintln!("{}", report::progress(&cell));
                keep(Line::Cell(Box::new(cell)))?;
            }
            // Whoever comes first finds the caches of another: let it be somebody else next time.
            competitors.rotate_left(1);
        }
    }
    Ok(())
}

/// The processes that may serve more than one client.
struct Rigs {
    site: Arc<Site>,
    running: HashMap<Competitor, Rig>,
}

impl Rigs {
    fn new(site: Arc<Site>) -> Self {
        Self { site, running: HashMap::new() }
    }

    fn measure(&mut self, competitor: Competitor, workload: Workload, pace: &Pace) -> Result<Measured, Failure> {
        let kept = self.running.remove(&competitor);
        let mut rig = match kept {
            Some(rig) => rig,
            None => Rig::start(Arc::clone(&self.site), competitor)?,
        };
        let measured = rig.measure(workload, pace)?;
        // A rig that has failed, or is cold no more, is no example for the next client.
        if competitor.is_new_for_each_client() && measured.outcome.failure.is_none() && !measured.outcome.timed_out {
            self.running.insert(competitor, rig);
        }
        Ok(measured)
    }
}
