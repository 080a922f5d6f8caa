//! The connections of the control socket, whose number is bounded.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};

/// The most connections at once.
const MAX_CONNECTIONS: usize = 64;
/// The time that a connection has in any case. Past that, it is closed if another one needs its place.
const GUARANTEED: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(super) struct Connections {
    tasks: JoinSet<()>,
    /// In the order in which they were accepted.
    open: VecDeque<Open>,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    progress: Progress,
    task: AbortHandle,
}

/// Whether a connection's request has been read. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<AtomicBool>);

impl Progress {
    pub(super) fn has_read(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_waiting(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

impl Connections {
    pub(super) fn add(&mut self, progress: Progress, serve: impl Future<Output = ()> + Send + 'static) {
        let task = self.tasks.spawn(serve);
        self.open.push_back(Open { since: Instant::now(), progress, task });
    }

    /// Waits until a connection has ended.
    pub(super) async fn ended(&mut self) {
        if self.tasks.join_next().await.is_none() {
            return std::future::pending().await;
        }
        while self.tasks.try_join_next().is_some() {}
        self.open.retain(|open| !open.task.is_finished());
    }

    /// Waits until there is room for another connection. If there is none, the oldest is closed that has sent no request, or
    /// else the oldest.
    pub(super) async fn make_room(&mut self) {
        while self.open.len() >= MAX_CONNECTIONS {
            let position = self.open.iter().position(|open| open.progress.is_waiting()).unwrap_or(0);
            let Some(until) = self.open.get(position).map(|open| open.since + GUARANTEED) else { return };
            tokio::select! {
                () = self.ended() => continue,
                () = sleep_until(until) => {}
            }
            if let Some(open) = self.open.remove(position) {
                open.task.abort();
            }
        }
    }

    /// Closes the connections that have sent no request for a while, to have their descriptors.
    pub(super) fn close_idle(&mut self) {
        let idle = |open: &&Open| open.progress.is_waiting() && open.since.elapsed() > GUARANTEED;
        self.open.iter().filter(idle).for_each(|open| open.task.abort());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_oldest_that_is_silent_gives_way_before_one_that_is_being_answered() {
        let mut connections = Connections::default();
        let read = Progress::default();
        read.has_read();
        connections.add(read, std::future::pending());
        for _ in 1..MAX_CONNECTIONS {
            connections.add(Progress::default(), std::future::pending());
        }
        let (answered, oldest) = (connections.open[0].task.clone(), connections.open[1].task.clone());
        let before = Instant::now();
        connections.make_room().await;
        assert!(before.elapsed() >= GUARANTEED);
        connections.ended().await;
        assert!(oldest.is_finished() && !answered.is_finished());
        assert_eq!(connections.open.len(), MAX_CONNECTIONS - 1);
    }
}
