//! A selection of all that congestion control may meet.

use super::Conditions;

/// From a neighbouring city to the other side of the world, in ms.
const ROUND_TRIPS: [u64; 4] = [10, 50, 100, 200];
/// From a clean line to a bad radio link, in percent.
const LOSSES: [f64; 4] = [0.0, 0.1, 1.0, 3.0];
/// In Mbit/s; the middle one twice, since there have to be four.
const RATES: [f64; 4] = [20.0, 100.0, 500.0, 100.0];
/// Deep and shallow, in ms.
const QUEUES: [u64; 2] = [200, 10];
/// Up to this random loss, in percent, the queue decides what else is lost.
const QUEUE_MATTERS: f64 = 0.1;

/// 24 of the 96 links there are: every round trip with every loss, each of them with every rate and every queue, and every
/// rate with every queue. Where hardly a packet is lost at random, each link is there with both queues.
pub(super) fn links() -> Vec<Conditions> {
    let mut links = Vec::new();
    for (row, round_trip) in ROUND_TRIPS.into_iter().enumerate() {
        for (column, loss_percent) in LOSSES.into_iter().enumerate() {
            // Columns of an orthogonal array over the field of four elements, where `^` adds.
            let (rate_mbit_s, queue) = (RATES[row ^ column], (row ^ doubled(column)) % 2);
            let queues = if loss_percent > QUEUE_MATTERS { 1 } else { 2 };
            links.extend((0..queues).map(|other| Conditions {
                delay_ms: round_trip / 2,
                loss_percent,
                rate_mbit_s,
                queue_ms: QUEUES[queue ^ other],
            }));
        }
    }
    links
}

/// Multiplied by 2 in that field.
fn doubled(element: usize) -> usize {
    [0, 2, 3, 1][element]
}
