//! Tables of medians, and of ratios to one competitor of the same run.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    competitor::Competitor,
    failure::Failure,
    metric::median,
    results::{Cell, Line},
    workload::Workload,
};

/// What a table shows of each workload, with the unit.
fn shown(workload: Workload) -> &'static [(&'static str, &'static str)] {
    match workload {
        Workload::Up | Workload::Down => {
            &[("mib_s", "MiB/s"), ("cpu_s_per_gib", "CPU s/GiB"), ("peak_rss_mib", "peak RSS MiB")]
        }
        Workload::Push | Workload::Pull => &[
            ("cold_mib_s", "cold MiB/s"),
            ("warm_mib_s", "warm MiB/s"),
            ("cpu_s_per_gib", "CPU s/GiB"),
            ("peak_rss_mib", "peak RSS MiB"),
        ],
        Workload::Unary => &[("p50_us", "p50 µs"), ("p99_us", "p99 µs")],
        Workload::Callers => &[("calls_s", "calls/s")],
        Workload::MixedUp | Workload::MixedDown | Workload::MixedPush | Workload::MixedPull => {
            &[("p50_ms", "p50 ms"), ("p99_ms", "p99 ms"), ("bulk_mib_s", "bulk MiB/s"), ("late", "past 5 s")]
        }
        Workload::BesideCubic | Workload::BesideBbr => &[
            ("mib_s", "MiB/s"),
            ("beside_mib_s", "beside MiB/s"),
            ("share_percent", "share %"),
            ("used_percent", "link used %"),
        ],
        Workload::First => &[("cold_ms", "from start ms"), ("first_ms", "client alone ms")],
    }
}

/// Prints one table for each site and workload. The ratio in parentheses is to `reference`.
pub(crate) fn print(lines: &[Line], reference: Option<Competitor>) -> Result<(), Failure> {
    let mut tables: BTreeMap<(usize, Workload), Vec<&Cell>> = BTreeMap::new();
    let mut sites = Vec::new();
    for line in lines {
        match line {
            Line::Run(begun) => println!("{} {}\n{:?}", begun.date, begun.arguments.join(" "), begun.machine),
            Line::Site { site, measured, .. } => {
                if let Some(measured) = measured {
                    println!("{site}: {measured}");
                }
                if !sites.contains(&site) {
                    sites.push(site);
                }
            }
            Line::Cell(cell) => {
                let site = sites.iter().position(|site| **site == cell.site).ok_or("a cell without its site")?;
                tables.entry((site, cell.workload)).or_default().push(cell);
            }
        }
    }
    for ((site, workload), cells) in tables {
        println!("\n### {} · {}\n", workload.name(), sites[site]);
        let is_there = |competitor| cells.iter().any(|cell| cell.competitor == competitor);
        let usual = if is_there(Competitor::Tcp) { Competitor::Tcp } else { Competitor::TcpBbr };
        print_table(workload, &cells, reference.unwrap_or(usual));
    }
    Ok(())
}

/// One line about one measurement.
pub(crate) fn progress(cell: &Cell) -> String {
    let values = shown(cell.workload).iter().map(|(name, unit)| match cell.metrics.get(*name) {
        Some(value) => format!("{} {unit}", number(*value)),
        None => format!("- {unit}"),
    });
    let mut text = format!("{} #{} {:12} {:15} ", cell.site, cell.repeat, cell.workload.name(), cell.competitor.name());
    text += &values.collect::<Vec<_>>().join(", ");
    if cell.timed_out {
        text += " (t/o)";
    }
    if let Some(failure) = &cell.failure {
        text += &format!(" FAILED: {failure}");
    }
    text
}

fn print_table(workload: Workload, cells: &[&Cell], reference: Competitor) {
    let columns = shown(workload);
    let units: Vec<_> = columns.iter().map(|(_, unit)| *unit).collect();
    println!("| | {} | n |\n|---|{}---|", units.join(" | "), "---|".repeat(columns.len()));
    let competitors: BTreeSet<_> = cells.iter().map(|cell| cell.competitor).collect();
    for competitor in competitors {
        let own: Vec<_> = cells.iter().filter(|cell| cell.competitor == competitor).copied().collect();
        let values = columns.iter().map(|(name, _)| {
            let referred = cells.iter().filter(|cell| cell.competitor == reference).copied();
            value(&own, name, middle(&referred.collect::<Vec<_>>(), name).filter(|_| competitor != reference))
        });
        println!("| {} | {} | {} |", competitor.name(), values.collect::<Vec<_>>().join(" | "), own.len());
    }
}

/// A median and its ratio, or why there is none.
fn value(cells: &[&Cell], name: &str, reference: Option<f64>) -> String {
    match (middle(cells, name), reference) {
        (Some(value), Some(reference)) if reference > 0.0 => format!("{} (×{:.2})", number(value), value / reference),
        (Some(value), _) => number(value),
        (None, _) if cells.iter().any(|cell| cell.timed_out) => "t/o".to_owned(),
        (None, _) => "failed".to_owned(),
    }
}

/// The median, if more than half of the repeats came to a value.
pub(crate) fn middle(cells: &[&Cell], name: &str) -> Option<f64> {
    let values: Vec<_> = cells.iter().filter_map(|cell| cell.metrics.get(name).copied()).collect();
    if values.len() * 2 > cells.len() { median(&values) } else { None }
}

fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
