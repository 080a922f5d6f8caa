//! Measures a link with UDP packets between its hosts.
//!
//! Both ends of a probe are in this process and read one clock, so that a probe tells how long it took one way.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};

use super::{host::Host, link::Link};
use crate::{Conditions, Counts, Measured, MeasuredWay};

/// IPv4 and UDP headers.
const HEADERS: usize = 28;
/// The smallest probe as an IP packet: its number and when it was sent.
const SMALL: usize = HEADERS + 12;
/// The packets that fill a line.
const LARGE: usize = 1400;
/// How often a sender sends.
const TICK: Duration = Duration::from_millis(1);
/// How long probes are sent to count the loss.
const COUNTING: Duration = Duration::from_millis(800);
/// The most probes a tick: with both directions at once, a third of one processor.
const MOST_A_TICK: f64 = 20.0;
/// The share of the rate that counting takes, so that nothing waits.
const COUNTING_SHARE: f64 = 0.25;
/// How often a receiver asks whether anything can still come, and how late a packet may be.
const GRACE: Duration = Duration::from_millis(10);
/// In how many parts of a burst the rate is measured.
const RATES: usize = 9;
/// Holds what arrives while the receiving thread is not running.
const RECEIVE_BUFFER: usize = 32 << 20;

/// Packets sent at a steady pace.
struct Flood {
    packets: u32,
    bytes: usize,
    a_tick: f64,
    /// The longest that a packet can take.
    takes: Duration,
}

struct Arrival {
    at: Instant,
    took: Duration,
}

pub(super) fn measure(link: &Link) -> io::Result<Measured> {
    link.health()?;
    let asked = link.conditions();
    let (left, right) = (link.left(), link.right());
    let before = link.counts();
    let counting = Flood::counting(&asked);
    let (rightward, leftward) = thread::scope(|scope| {
        let rightward = scope.spawn(|| counting.run(left, right));
        let leftward = counting.run(right, left);
        (rightward.join().expect("a flood does not panic"), leftward)
    });
    let (rightward, leftward) = (rightward?, leftward?);
    link.health()?;
    let after = link.counts();
    let lost = [&rightward, &leftward].map(|arrivals| counting.packets as usize - arrivals.len());
    for (lost, (before, after)) in lost.iter().zip(before.iter().zip(&after)) {
        explain(*lost as u64, before, after)?;
    }
    let took = [median(&rightward)?, median(&leftward)?];
    let mut ways =
        lost.map(|lost| MeasuredWay { probes: counting.packets.into(), lost: lost as u64, rate: None, queue: None });
    if asked.rate > 0.0 {
        for (way, (took, (from, to))) in ways.iter_mut().zip(took.iter().zip([(left, right), (right, left)])) {
            fill(&asked, from, to, *took, way)?;
        }
    }
    let [rightward, leftward] = ways;
    Ok(Measured { round_trip: took[0] + took[1], rightward, leftward })
}

/// Refuses a count of lost probes that the emulator does not confirm.
fn explain(lost: u64, before: &Counts, after: &Counts) -> io::Result<()> {
    let dropped = |counts: &Counts| counts.lost + counts.tail + counts.cut + counts.overflow;
    let dropped = dropped(after) - dropped(before);
    if lost <= dropped {
        return Ok(());
    }
    Err(io::Error::other(format!("{lost} probes did not arrive, and the emulator dropped only {dropped}")))
}

/// Sends more than the line takes until its queue is full, and a while longer.
fn fill(asked: &Conditions, from: &Host, to: &Host, idle: Duration, way: &mut MeasuredWay) -> io::Result<()> {
    let arrivals = Flood::filling(asked).run(from, to)?;
    // From the second quarter on packets wait for each other, and the last tenth came when the queue was full.
    let (waited, full) = (&arrivals[arrivals.len() / 4..], &arrivals[arrivals.len() - arrivals.len().div_ceil(12)..]);
    way.rate = Some(rate(waited)?);
    let full = median(full)?;
    way.queue = Some(full.saturating_sub(idle + asked.sending(LARGE)));
    Ok(())
}

/// The median of the rates of consecutive parts, so that a receiver that was not running for a while does no harm.
fn rate(arrivals: &[Arrival]) -> io::Result<f64> {
    let packets = arrivals.len().saturating_sub(1) / RATES;
    let marks = arrivals.iter().step_by(packets.max(1)).collect::<Vec<_>>();
    let mut took: Vec<Duration> = marks.windows(2).map(|marks| marks[1].at - marks[0].at).collect();
    took.truncate(RATES);
    took.sort_unstable();
    let middle = took.get(took.len() / 2).filter(|_| packets > 0);
    let middle = middle.ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "hardly a packet of a burst arrived"))?;
    Ok((packets * LARGE * 8) as f64 / middle.as_secs_f64() / 1e6)
}

fn median(arrivals: &[Arrival]) -> io::Result<Duration> {
    let mut took: Vec<Duration> = arrivals.iter().map(|arrival| arrival.took).collect();
    took.sort_unstable();
    let middle = took.get(took.len() / 2).copied();
    middle.ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "no probe arrived"))
}

impl Flood {
    fn counting(asked: &Conditions) -> Self {
        let share = if asked.rate > 0.0 { asked.rate * 1e6 * COUNTING_SHARE } else { f64::INFINITY };
        let a_tick = (share * TICK.as_secs_f64() / (SMALL * 8) as f64).min(MOST_A_TICK);
        let packets = (COUNTING.as_secs_f64() / TICK.as_secs_f64() * a_tick) as u32;
        Self { packets, bytes: SMALL, a_tick, takes: takes(asked) }
    }

    fn filling(asked: &Conditions) -> Self {
        // As much as two processors manage, and not less than makes a queue.
        let overload = (1000.0 / asked.rate).clamp(1.5, 4.0);
        let until_full = asked.queue.div_f64(overload - 1.0);
        let lasts = until_full.mul_f64(1.25) + Duration::from_millis(60);
        let a_second = asked.rate * overload * 1e6 / (LARGE * 8) as f64;
        let packets = ((lasts.as_secs_f64() * a_second) as u32).max(50);
        Self { packets, bytes: LARGE, a_tick: a_second * TICK.as_secs_f64(), takes: takes(asked) }
    }

    /// Sends, receives until the last packet or until nothing more comes, and returns what arrived in order.
    fn run(&self, from: &Host, to: &Host) -> io::Result<Vec<Arrival>> {
        let (sender, receiver) = (bind(from)?, bind(to)?);
        setsockopt(&receiver, RcvBufForce, &RECEIVE_BUFFER)?;
        receiver.set_read_timeout(Some(GRACE))?;
        let (start, target) = (Instant::now(), receiver.local_addr()?);
        let all_sent = OnceLock::new();
        thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let sent = self.send(&sender, target, start);
                all_sent.get_or_init(Instant::now);
                sent
            });
            let arrived = self.receive(&receiver, start, &all_sent);
            sender.join().expect("a sender does not panic")?;
            arrived
        })
    }

    fn send(&self, socket: &UdpSocket, target: SocketAddr, start: Instant) -> io::Result<()> {
        let mut packet = vec![0; self.bytes - HEADERS];
        let (mut owed, mut next) = (0.0, start);
        for number in 0..self.packets {
            while owed < 1.0 {
                next += TICK;
                thread::sleep(next.saturating_duration_since(Instant::now()));
                owed += self.a_tick;
            }
            owed -= 1.0;
            packet[..4].copy_from_slice(&number.to_le_bytes());
            packet[4..12].copy_from_slice(&(start.elapsed().as_nanos() as u64).to_le_bytes());
            socket.send_to(&packet, target)?;
        }
        Ok(())
    }

    fn receive(&self, socket: &UdpSocket, start: Instant, all_sent: &OnceLock<Instant>) -> io::Result<Vec<Arrival>> {
        let mut arrivals = Vec::with_capacity(self.packets as usize);
        let mut packet = [0; LARGE];
        loop {
            match socket.recv(&mut packet) {
                Ok(_) => {}
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Err(_) if all_sent.get().is_some_and(|sent| sent.elapsed() > self.takes + GRACE) => {
                    return Ok(arrivals);
                }
                Err(_) => continue,
            }
            let at = Instant::now();
            let sent = u64::from_le_bytes(packet[4..12].try_into().expect("eight bytes"));
            arrivals.push(Arrival { at, took: (at - start).saturating_sub(Duration::from_nanos(sent)) });
            if packet[..4] == (self.packets - 1).to_le_bytes() {
                return Ok(arrivals);
            }
        }
    }
}

fn bind(host: &Host) -> io::Result<UdpSocket> {
    let addr = (host.addr(), 0);
    host.run(|| UdpSocket::bind(addr))
}

fn takes(asked: &Conditions) -> Duration {
    asked.delay + asked.queue + asked.sending(LARGE)
}
