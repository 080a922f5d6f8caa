//! Names of what is measured, their units, and which way is better.

use std::collections::BTreeMap;

/// What one measurement found, by name. What was not reached in time is missing.
pub(crate) type Metrics = BTreeMap<String, f64>;

/// Bytes of a MiB.
pub(crate) const MIB: f64 = 1_048_576.0;

/// The value below which `percent` of the sorted values lie; the nearest rank, none of an empty slice.
pub(crate) fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// The middle of values in any order.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}
