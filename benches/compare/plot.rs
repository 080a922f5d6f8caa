//! Which drawings are made of a run.

use std::{fs, path::Path};

use crate::{
    chart::{Bar, Chart, Group},
    competitor::Competitor,
    failure::{Context, Failure},
    link::Conditions,
    report::middle,
    results::{Cell, Line},
    site::LOOPBACK,
    workload::Workload,
};

/// What loopback bars show: workload, metric, label, and whether more is better.
const LOOPBACK_ROWS: [(Workload, &str, &str, bool); 7] = [
    (Workload::Up, "mib_s", "bulk up", true),
    (Workload::Down, "mib_s", "bulk down", true),
    (Workload::Push, "warm_mib_s", "objects up", true),
    (Workload::Pull, "warm_mib_s", "objects down", true),
    (Workload::Callers, "calls_s", "calls/s, 64", true),
    (Workload::Unary, "p50_us", "unary p50", false),
    (Workload::Unary, "p99_us", "unary p99", false),
];

/// What small calls are measured beside.
const MIXED_ROWS: [(Workload, &str); 4] = [
    (Workload::MixedUp, "bulk up"),
    (Workload::MixedDown, "bulk down"),
    (Workload::MixedPush, "objects up"),
    (Workload::MixedPull, "objects down"),
];

/// Draws all that `lines` hold into `docs/performance`.
pub(crate) fn draw(lines: &[Line], reference: Competitor) -> Result<(), Failure> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance");
    fs::create_dir_all(&folder).context(folder.display())?;
    let run = Run::of(lines);
    let mut charts = vec![("loopback", run.loopback(reference))];
    for (file, workload, title) in [
        ("links-up", Workload::Push, "12 objects of 5 MiB up, two at a time, warm"),
        ("links-down", Workload::Pull, "12 objects of 5 MiB down, two at a time, warm"),
    ] {
        charts.push((file, run.links(workload, title)));
    }
    charts.push(("small-calls", run.small_calls()));
    for (file, chart) in charts.into_iter().filter(|(_, chart)| !chart.groups.is_empty()) {
        let path = folder.join(file).with_extension("svg");
        chart.save(&path)?;
        println!("{}", path.display());
    }
    Ok(())
}

/// The measurements of a run, and the order of its sites.
struct Run<'a> {
    cells: Vec<&'a Cell>,
    sites: Vec<&'a str>,
}

impl<'a> Run<'a> {
    fn of(lines: &'a [Line]) -> Self {
        let mut run = Self { cells: Vec::new(), sites: Vec::new() };
        for line in lines {
            match line {
                Line::Cell(cell) => run.cells.push(cell),
                Line::Site { site, .. } if !run.sites.contains(&site.as_str()) => run.sites.push(site),
                Line::Site { .. } | Line::Run(_) => {}
            }
        }
        run
    }

    fn loopback(&self, reference: Competitor) -> Chart {
        let groups = LOOPBACK_ROWS.iter().filter_map(|(workload, metric, label, more_is_better)| {
            let cells = self.cells(LOOPBACK, *workload);
            let referred = middle(&of(&cells, reference), metric)?;
            let ratio = |value: f64| if *more_is_better { value / referred } else { referred / value };
            Some(group(label, None, &cells, |own| (middle(own, metric).map(ratio), None)))
        });
        let title = format!("Loopback, as good as {} is 1; higher is better", reference.name());
        Chart { title, unit: "ratio", groups: groups.collect() }
    }

    fn links(&self, workload: Workload, title: &str) -> Chart {
        let groups = self.sites.iter().filter_map(|site| {
            let link = site.parse::<Conditions>().ok()?;
            let cells = self.cells(site, workload);
            let bars = |own: &[&Cell]| (middle(own, "warm_mib_s"), None);
            (!cells.is_empty()).then(|| group(&label(link), Some(link.limit_mib_s()), &cells, bars))
        });
        let title = format!("{title}; the line is the link's limit");
        Chart { title, unit: "MiB/s", groups: groups.collect() }
    }

    fn small_calls(&self) -> Chart {
        let groups = self.sites.iter().flat_map(|site| {
            let link = site.parse().map_or_else(|_| (*site).to_owned(), label);
            let rows = MIXED_ROWS.iter().map(move |(workload, beside)| (*workload, format!("{link}\n{beside}")));
            rows.map(|(workload, label)| (label, self.cells(site, workload)))
        });
        let bars = |own: &[&Cell]| (middle(own, "p50_ms"), middle(own, "p99_ms"));
        let groups =
            groups.filter(|(_, cells)| !cells.is_empty()).map(|(label, cells)| group(&label, None, &cells, bars));
        let title = "Small call every 50 ms beside bulk: p50, and lighter p99; lower is better".to_owned();
        Chart { title, unit: "ms", groups: groups.collect() }
    }

    fn cells(&self, site: &str, workload: Workload) -> Vec<&'a Cell> {
        self.cells.iter().filter(|cell| cell.site == site && cell.workload == workload).copied().collect()
    }
}

fn of<'a>(cells: &[&'a Cell], competitor: Competitor) -> Vec<&'a Cell> {
    cells.iter().filter(|cell| cell.competitor == competitor).copied().collect()
}

fn group(
    label: &str,
    limit: Option<f64>,
    cells: &[&Cell],
    values: impl Fn(&[&Cell]) -> (Option<f64>, Option<f64>),
) -> Group {
    let mut competitors: Vec<_> = cells.iter().map(|cell| cell.competitor).collect();
    competitors.sort();
    competitors.dedup();
    let bars = competitors.into_iter().map(|competitor| {
        let own = of(cells, competitor);
        let (value, upper) = values(&own);
        let missing = if own.iter().any(|cell| cell.timed_out) { "timed out" } else { "failed" };
        Bar { competitor, value, upper, missing }
    });
    Group { label: label.to_owned(), limit, bars: bars.collect() }
}

fn label(link: Conditions) -> String {
    let Conditions { delay_ms, loss_percent, rate_mbit_s, .. } = link;
    format!("{} ms, {loss_percent} %\n{rate_mbit_s} Mbit/s", 2 * delay_ms)
}
