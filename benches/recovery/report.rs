//! What was found, as a table.

use crate::{metric::median, results::Cell, row::Row, tunnel::Kind};

/// Prints for each row the median and the worst, and how often the target was reached.
pub(crate) fn print(cells: &[Cell], rows: &[Row], kinds: &[Kind]) {
    let names: Vec<_> = kinds.iter().map(|kind| format!("{}: median, worst, reached", kind.name())).collect();
    println!("| | to reach | {} |\n|---|---|{}", names.join(" | "), "---|".repeat(kinds.len()));
    for row in rows {
        for &(name, what, target) in row.shown() {
            let found = kinds.iter().map(|&kind| {
                let cells = cells.iter().filter(|cell| cell.row == *row && cell.tunnel == kind);
                value(&cells.map(|cell| cell.metrics.get(name).copied()).collect::<Vec<_>>(), target)
            });
            let target = target.map_or("-".to_owned(), |target| format!("<= {target}"));
            println!("| {what} | {target} | {} |", found.collect::<Vec<_>>().join(" | "));
        }
    }
}

/// One line about one measurement.
pub(crate) fn progress(cell: &Cell) -> String {
    let metrics: Vec<_> = cell.metrics.iter().map(|(name, value)| format!("{name} {value:.2}")).collect();
    let failure = cell.failure.as_ref().map(|failure| format!(" FAILED: {failure}")).unwrap_or_default();
    format!("#{} {:?} {}: {}{failure}", cell.repeat, cell.row, cell.tunnel.name(), metrics.join(", "))
}

/// What never came counts as worse than anything that did.
fn value(found: &[Option<f64>], target: Option<f64>) -> String {
    let all: Vec<_> = found.iter().map(|value| value.unwrap_or(f64::INFINITY)).collect();
    let number = |value: f64| if value.is_finite() { format!("{value:.2}") } else { "never".to_owned() };
    let worst = all.iter().copied().max_by(f64::total_cmp);
    let (Some(middle), Some(worst)) = (median(&all), worst) else { return "-".to_owned() };
    let mut text = format!("{}, {}", number(middle), number(worst));
    if let Some(target) = target {
        let reached = all.iter().filter(|value| **value <= target).count();
        text += &format!(", {reached} of {}", all.len());
    }
    text
}
