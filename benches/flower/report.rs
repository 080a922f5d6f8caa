//! What was found, as a table.

use crate::{metric::median, results::Cell, way::Way};

/// What the issue asks of a pair of funnels: at most so much of the direct time.
const TARGET: f64 = 1.05;
/// What a table shows of a run, and what it is.
const SHOWN: [(&str, &str); 4] = [
    ("training_s", "all rounds, by the ServerApp's clock, s"),
    ("run_s", "the app, from running to finished, by the SuperLink's clock, s"),
    ("wall_s", "`flwr run --stream`, from its start to its end, s"),
    ("machine_cpu_s", "CPU time of the whole machine meanwhile, s"),
];

/// Prints medians and the ratio of the funnel to the direct way.
pub(crate) fn print(cells: &[Cell]) {
    println!("| | direct | funnel | ratio (to reach: {TARGET}) |\n|---|---|---|---|");
    for (name, what) in SHOWN {
        let [direct, funnel] = Way::ALL.map(|way| middle(cells, way, |cell| cell.metrics.get(name).copied()));
        println!("| {what} | {} | {} | {} |", number(direct), number(funnel), number(ratio(direct, funnel)));
    }
    for part in ["inbound", "outbound"] {
        let cpu = middle(cells, Way::Funnel, |cell| Some(cell.usage.get(part)?.cpu_s));
        let rss = middle(cells, Way::Funnel, |cell| Some(cell.usage.get(part)?.peak_rss_kib as f64 / 1024.0));
        println!("| {part} funnel: CPU s; peak RSS MiB | | {}; {} | |", number(cpu), number(rss));
    }
}

/// One line about one run.
pub(crate) fn progress(cell: &Cell) -> String {
    let metrics = cell.metrics.iter().map(|(name, value)| format!("{name} {value:.2}"));
    let usage = cell
        .usage
        .iter()
        .map(|(part, usage)| format!("{part} {:.2} CPU s, {:.0} MiB", usage.cpu_s, usage.peak_rss_kib as f64 / 1024.0));
    let values: Vec<_> = metrics.chain(usage).collect();
    format!("#{} {} {}", cell.repeat, cell.way.name(), values.join(", "))
}

fn middle(cells: &[Cell], way: Way, value: impl Fn(&Cell) -> Option<f64>) -> Option<f64> {
    let values: Vec<_> = cells.iter().filter(|cell| cell.way == way).filter_map(value).collect();
    median(&values)
}

fn ratio(direct: Option<f64>, funnel: Option<f64>) -> Option<f64> {
    Some(funnel? / direct?)
}

fn number(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.2}"))
}
