//! Measures a link with UDP packets between its hosts.
//!
//! Both ends of a probe are in this process and read one clock, so that a probe tells how long it took one way. The counts
//! of the emulator tell when nothing more can come.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};

use super::{host::Host, link::Link, system};
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
const COUNTING: Duration = Duration::from_millis(1200);
/// The most probes a tick: 15,600 in all, of which 0.1 % cannot be none by chance.
const MOST_A_TICK: f64 = 13.0;
/// The share of the rate that counting takes, so that nothing waits.
const COUNTING_SHARE: f64 = 0.25;
/// How often a receiver that gets nothing asks whether anything can still come.
const ASKING: Duration = Duration::from_millis(10);
/// How long after the last probe a receiver gives up, whatever the counts say, besides what a packet takes.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The places of the two directions in what has one for each; also those of the hosts that send.
const RIGHTWARD: usize = 0;
const LEFTWARD: usize = 1;
/// In how many parts of a burst the rate is measured.
const RATES: usize = 9;
/// After the emulator, but before ordinary threads: on a busy machine a probe would tell how busy it is. Where that is not
/// allowed it does, and the link is refused.
const PRIORITY: i32 = 1;
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
    let before = link.counts();
    let counting = Flood::counting(&asked);
    let (rightward, leftward) = thread::scope(|scope| {
        let rightward = scope.spawn(|| counting.run(link, RIGHTWARD));
        let leftward = counting.run(link, LEFTWARD);
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
        fill(link, RIGHTWARD, took[RIGHTWARD], &mut ways[RIGHTWARD])?;
        fill(link, LEFTWARD, took[LEFTWARD], &mut ways[LEFTWARD])?;
    }
    let [rightward, leftward] = ways;
    Ok(Measured { round_trip: took[0] + took[1], rightward, leftward })
}

/// Refuses a count of lost probes that the emulator does not confirm.
fn explain(lost: u64, before: &Counts, after: &Counts) -> io::Result<()> {
    let dropped = after.dropped() - before.dropped();
    if lost <= dropped {
        return Ok(());
    }
    Err(io::Error::other(format!("{lost} probes did not arrive, and the emulator dropped only {dropped}")))
}

/// Sends more than the line takes until its queue is full, and a while longer.
fn fill(link: &Link, direction: usize, idle: Duration, way: &mut MeasuredWay) -> io::Result<()> {
    let asked = link.conditions();
    let arrivals = Flood::filling(&asked).run(link, direction)?;
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
    fn run(&self, link: &Link, direction: usize) -> io::Result<Vec<Arrival>> {
        let hosts = [link.left(), link.right()];
        let (from, to) = (hosts[direction], hosts[1 - direction]);
        let before = link.counts()[direction];
        let (sender, receiver) = (bind(from)?, bind(to)?);
        setsockopt(&receiver, RcvBufForce, &RECEIVE_BUFFER)?;
        receiver.set_read_timeout(Some(ASKING))?;
        let (start, target) = (Instant::now(), receiver.local_addr()?);
        let all_sent = OnceLock::<Instant>::new();
        let over = || {
            let Some(sent) = all_sent.get() else { return false };
            let counts = link.counts()[direction];
            let taken = counts.taken - before.taken >= self.packets.into();
            (taken && counts.taken == counts.delivered + counts.dropped()) || sent.elapsed() > self.takes + TIMEOUT
        };
        thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let _ = system::run_first(PRIORITY);
                let sent = self.send(&sender, target, start);
                all_sent.get_or_init(Instant::now);
                sent
            });
            let receiver = scope.spawn(|| {
                let _ = system::run_first(PRIORITY);
                self.receive(&receiver, start, over)
            });
            sender.join().expect("a sender does not panic")?;
            receiver.join().expect("a receiver does not panic")
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

    fn receive(&self, socket: &UdpSocket, start: Instant, over: impl Fn() -> bool) -> io::Result<Vec<Arrival>> {
        let mut arrivals = Vec::with_capacity(self.packets as usize);
        let mut packet = [0; LARGE];
        let mut nothing_follows = false;
        loop {
            match socket.recv(&mut packet) {
                Ok(_) => {}
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Err(_) if nothing_follows => return Ok(arrivals),
                Err(_) => {
                    // What came since the last look is still to be received.
                    nothing_follows = over();
                    continue;
                }
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
