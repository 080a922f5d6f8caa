//! The thread that carries packets between two hosts.

use std::{
    fs::File,
    io,
    os::fd::AsFd,
    sync::{Arc, Mutex, MutexGuard},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, ppoll},
    sys::{eventfd::EventFd, prctl::set_timerslack, time::TimeSpec},
};

use super::{system, way::Way};
use crate::Conditions;

/// How long the thread rests while packets flow, so that it carries several at a time. It makes packets late by as much.
const REST: Duration = Duration::from_micros(50);
/// Before the probes, which have 1.
const PRIORITY: i32 = 2;
/// One for each direction, the same for every link: what is compared meets the same losses.
const SEEDS: [u64; 2] = [0x51_7c_c1_b7_27_22_0a_95, 0x2f_f9_6b_5e_90_3d_84_e1];

/// Carries packets both ways until dropped.
#[derive(Debug)]
pub(super) struct Emulator {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    woken: EventFd,
}

/// What the thread works on, and others change between its turns.
#[derive(Debug)]
pub(super) struct State {
    pub(super) conditions: Conditions,
    /// Rightward and leftward.
    pub(super) ways: [Way; 2],
    /// Why the thread ended by itself.
    pub(super) failed: Option<io::Error>,
    stopped: bool,
}

impl Emulator {
    /// Joins the devices of the left and the right host.
    pub(super) fn start(conditions: Conditions, tuns: [File; 2]) -> io::Result<Self> {
        let ways = SEEDS.map(|seed| Way::new(conditions, seed));
        let state = Mutex::new(State { conditions, ways, failed: None, stopped: false });
        let shared = Arc::new(Shared { state, woken: EventFd::new()? });
        let for_thread = shared.clone();
        let carry = move || {
            if let Err(error) = for_thread.carry(&tuns) {
                for_thread.state().failed = Some(error);
            }
        };
        let thread = thread::Builder::new().name("lab-link".into()).spawn(carry)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.state().stopped = true;
        self.shared.woken.write(1).expect("a count of one fits");
        // A panic of the thread was printed when it happened.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the link")
    }

    fn carry(&self, tuns: &[File; 2]) -> io::Result<()> {
        // Without these, packets are late on a busy machine; who measures will see it.
        let _ = system::run_first(PRIORITY);
        set_timerslack(1)?;
        loop {
            let (moved, due) = {
                let mut state = self.state();
                if state.stopped {
                    return Ok(());
                }
                (state.turn(tuns)?, state.next_due())
            };
            if moved { thread::sleep(REST) } else { self.wait(tuns, due)? }
        }
    }

    /// Waits until a host has packets, one is due, or the link ends.
    fn wait(&self, [left, right]: &[File; 2], due: Option<Instant>) -> io::Result<()> {
        let timeout = due.map(|due| TimeSpec::from_duration(due.saturating_duration_since(Instant::now())));
        let mut files = [left.as_fd(), right.as_fd(), self.woken.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match ppoll(&mut files, timeout, None) {
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl State {
    /// Moves what has come and what is due, both ways. Whether anything was.
    fn turn(&mut self, [left, right]: &[File; 2]) -> io::Result<bool> {
        let mut moved = false;
        let [rightward, leftward] = &mut self.ways;
        for (way, from, to) in [(rightward, left, right), (leftward, right, left)] {
            moved |= way.take_in(from)?;
            moved |= way.let_out(to)?;
        }
        Ok(moved)
    }

    fn next_due(&self) -> Option<Instant> {
        self.ways.iter().filter_map(Way::next_due).min()
    }
}
