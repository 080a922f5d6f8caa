//! What was found, as tables.

use clap::ValueEnum;

use crate::{
    metric::{median, percentile},
    newcomers::{Door, Newcomers},
    results::{Cell, Queue},
};

const MS: f64 = 1_000.0;

/// Prints the medians of the repeats.
pub(crate) fn print(cells: &[Cell], busy: &[usize]) {
    println!(
        "| busy sites | heartbeat, median: without a queue | default | p99: without a queue | default | median / alone: \
         without a queue | default | calls of the busy sites, default / without a queue |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let alone = Queue::ALL.map(|queue| of(cells, queue, 0, |cell| time(cell, 50.0)));
    for sites in busy {
        let medians = Queue::ALL.map(|queue| of(cells, queue, *sites, |cell| time(cell, 50.0)));
        let highest = Queue::ALL.map(|queue| of(cells, queue, *sites, |cell| time(cell, 99.0)));
        let [off, default] = Queue::ALL.map(|queue| of(cells, queue, *sites, |cell| cell.busy_calls_per_s));
        let [off_ratio, ratio] = [0, 1].map(|queue| medians[queue] / alone[queue]);
        let rate = if *sites == 0 { "-".to_owned() } else { format!("{:.2}", default / off) };
        println!(
            "| {sites} | {:.0} ms | {:.0} ms | {:.0} ms | {:.0} ms | {off_ratio:.1} | {ratio:.1} | {rate} |",
            medians[0], medians[1], highest[0], highest[1],
        );
    }
}

/// Prints the medians and the slowest newcomers of all repeats.
pub(crate) fn print_newcomers(all: &[Newcomers]) {
    println!("| newcomers | median: alone | beside 1,000 | slowest: alone | beside 1,000 | beside / alone |");
    println!("|---|---|---|---|---|---|");
    for door in Door::value_variants() {
        let times = [false, true].map(|crowded| {
            let those = all.iter().filter(|newcomers| (newcomers.door, newcomers.crowded) == (*door, crowded));
            those.flat_map(|newcomers| newcomers.times_s.iter().copied()).collect::<Vec<_>>()
        });
        let [alone, beside] = times.each_ref().map(|times| at(times, 50.0));
        let [slowest_alone, slowest_beside] = times.each_ref().map(|times| at(times, 100.0));
        println!(
            "| {door:?} | {alone:.1} ms | {beside:.1} ms | {slowest_alone:.1} ms | {slowest_beside:.1} ms | {:.2} |",
            beside / alone
        );
    }
}

/// One line about one measurement of newcomers.
pub(crate) fn newcomers_progress(newcomers: &Newcomers) -> String {
    format!(
        "#{} {:?}, crowded: {}: median {:.1} ms, slowest {:.1} ms",
        newcomers.repeat,
        newcomers.door,
        newcomers.crowded,
        at(&newcomers.times_s, 50.0),
        at(&newcomers.times_s, 100.0)
    )
}

/// One line about one measurement.
pub(crate) fn progress(cell: &Cell) -> String {
    format!(
        "#{} {:?}, {} busy: heartbeats {:.0} ms, p99 {:.0} ms; {:.0} calls/s of the busy sites",
        cell.repeat,
        cell.queue,
        cell.busy,
        time(cell, 50.0),
        time(cell, 99.0),
        cell.busy_calls_per_s
    )
}

fn of(cells: &[Cell], queue: Queue, busy: usize, value: impl Fn(&Cell) -> f64) -> f64 {
    let values: Vec<_> = cells.iter().filter(|cell| (cell.queue, cell.busy) == (queue, busy)).map(value).collect();
    median(&values).unwrap_or(f64::NAN)
}

/// A percentile of the heartbeats, in ms.
fn time(cell: &Cell, percent: f64) -> f64 {
    at(&cell.heartbeats_s, percent)
}

/// A percentile of times, in ms.
fn at(times_s: &[f64], percent: f64) -> f64 {
    let mut sorted = times_s.to_vec();
    sorted.sort_by(f64::total_cmp);
    percentile(&sorted, percent).unwrap_or(f64::NAN) * MS
}
