//! The order of measurements: at each site, every repeat takes every workload to every competitor in turn.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{
    args, children,
    competitor::Competitor,
    failure::Failure,
    link::Links,
    pace::Pace,
    report,
    results::{self, Cell, Line},
    rig::{Measured, Rig},
    site::Site,
    workload::Workload,
};

/// Measures what `args` ask for, prints tables, and keeps everything in a file.
pub(crate) fn run(args: &args::Run) -> Result<(), Failure> {
    children::end_when_interrupted()?;
    let mut writer = results::begin(&args.name)?;
    let mut lines = Vec::new();
    let mut keep = |line: Line| {
        writer.write(&line)?;
        lines.push(line);
        Ok(())
    };
    for links in &args.links {
        if let Links::Loopback = links {
            measure_site(args, Site::loopback(), &mut keep)?;
        }
        for conditions in links.conditions() {
            measure_site(args, Site::link(conditions)?, &mut keep)?;
        }
    }
    report::print(&lines, args.reference)?;
    println!("\nraw results: {}", writer.path.display());
    Ok(())
}

fn measure_site(
    args: &args::Run,
    site: Site,
    keep: &mut dyn FnMut(Line) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let site = Arc::new(site);
    let timeout = Duration::from_secs(args.timeout);
    let pace = if site.is_link() { Pace::link } else { Pace::loopback };
    let pace = pace(args.quick, args.objects, timeout);
    let mut workloads = args.only.clone();
    if workloads.is_empty() {
        workloads = Workload::all(site.is_link());
    }
    let mut competitors = args.competitors.clone();
    if competitors.is_empty() {
        competitors = Competitor::all(site.is_link());
    }
    competitors.iter().try_for_each(|competitor| competitor.prepare())?;
    for repeat in 0..args.repeat.unwrap_or(if args.quick { 3 } else { 5 }) {
        // Nothing else may cross a link while it is measured, so that each repeat has rigs of its own.
        let measured = site.assert_as_asked()?;
        keep(Line::Site { site: site.name.clone(), pace, measured })?;
        let mut rigs = Rigs::new(Arc::clone(&site));
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
        let kept = self.running.remove(&competitor).filter(|_| !workload.is_all_cold());
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
