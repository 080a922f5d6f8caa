//! What the emulator costs: its processor time while both directions are full, and while one is.
//!
//! `cargo run --release -p lab --example load`

use std::{
    fs,
    net::UdpSocket,
    thread,
    time::{Duration, Instant},
};

use lab::{Conditions, Host, Link};

const LASTS: Duration = Duration::from_secs(2);
const PACKET: usize = 1400;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Err(unavailable) = lab::available() {
        println!("{unavailable}");
        return Ok(());
    }
    println!("{:>14} {:>12} {:>12} {:>12} {:>14}", "asked Mbit/s", "rightward", "leftward", "cores", "us a packet");
    for rate in [100.0, 200.0, 500.0] {
        load(rate, true)?;
        load(rate, false)?;
    }
    Ok(())
}

fn load(rate: f64, both: bool) -> Result<(), Box<dyn std::error::Error>> {
    let (delay, queue) = (Duration::from_millis(20), Duration::from_millis(20));
    let link = Link::new(Conditions { delay, loss: 0.0, rate, queue })?;
    let (left, right) = (link.left(), link.right());
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| send(left, right, rate));
        if both {
            scope.spawn(|| send(right, left, rate));
        }
    });
    let (lasted, busy) = (start.elapsed().as_secs_f64(), emulator_time()?.as_secs_f64());
    let delivered = link.counts().map(|counts| counts.delivered as f64);
    let [rightward, leftward] = delivered.map(|packets| packets * (PACKET * 8) as f64 / lasted / 1e6);
    let each = busy * 1e6 / (delivered[0] + delivered[1]);
    println!("{rate:>14} {rightward:>12.1} {leftward:>12.1} {:>12.3} {each:>14.2}", busy / lasted);
    Ok(())
}

/// Sends a little less than the rate, so that the figures are of packets carried and not of packets dropped.
fn send(from: &Host, to: &Host, rate: f64) {
    let bind = |host: &Host| host.run(|| UdpSocket::bind((host.addr(), 0))).expect("a free port");
    // Nobody reads: what the receiver does is not the emulator's cost.
    let (sender, receiver) = (bind(from), bind(to));
    let target = receiver.local_addr().expect("bound");
    let (start, mut sent) = (Instant::now(), 0.0);
    while start.elapsed() < LASTS {
        while sent * ((PACKET * 8) as f64) < start.elapsed().as_secs_f64() * rate * 0.98e6 {
            sender.send_to(&[0; PACKET - 28], target).expect("the device is up");
            sent += 1.0;
        }
        thread::sleep(Duration::from_micros(200));
    }
}

/// The processor time of the emulator's thread since its start; there is one link at a time.
fn emulator_time() -> std::io::Result<Duration> {
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if fs::read_to_string(task.join("comm"))?.trim() == "lab-link" {
            let schedstat = fs::read_to_string(task.join("schedstat"))?;
            let nanoseconds = schedstat.split(' ').next().and_then(|running| running.parse().ok());
            return Ok(Duration::from_nanos(nanoseconds.ok_or_else(|| std::io::Error::other("no schedstat"))?));
        }
    }
    Err(std::io::Error::other("no emulator runs"))
}
