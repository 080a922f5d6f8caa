//! A thread for work on files that may hang.

use std::{
    io,
    sync::{Mutex, PoisonError, mpsc},
    thread,
};

use tokio::sync::oneshot;

use crate::descriptors;

type Job = Box<dyn FnOnce() + Send>;

/// A thread that works on files, one job at a time: on a disk that hangs, one thread hangs and no more. It is started with
/// the first job, and ends by itself when this is dropped and its job is done. Unlike a blocking task of the runtime, it
/// delays no shutdown, and needs no free thread of a pool.
#[derive(Debug)]
pub(crate) struct FileThread {
    name: &'static str,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
}

impl FileThread {
    /// Creates a thread with this name.
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, jobs: Mutex::default() }
    }

    /// Runs `work` on the thread, after the jobs before it, unless the receiver of its result is dropped before it begins.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<oneshot::Receiver<T>> {
        let (sender, result) = oneshot::channel();
        let job: Job = Box::new(move || {
            if !sender.is_closed() {
                // It fails if nobody waits for the result any more.
                let _ = sender.send(descriptors::with_file_reserve(work));
            }
        });
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let job = match &*jobs {
            Some(thread) => thread.send(job).err().map(|mpsc::SendError(job)| job),
            None => Some(job),
        };
        // There is no thread yet, or it has ended by a panic.
        if let Some(job) = job {
            let thread = start(self.name)?;
            thread.send(job).map_err(|_| io::Error::other("it has ended"))?;
            *jobs = Some(thread);
        }
        Ok(result)
    }
}

fn start(name: &str) -> io::Result<mpsc::Sender<Job>> {
    let (sender, jobs) = mpsc::channel::<Job>();
    thread::Builder::new().name(name.to_owned()).spawn(move || jobs.into_iter().for_each(|job| job()))?;
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn jobs_run_one_after_the_other_and_those_that_nobody_waits_for_do_not() {
        let thread = FileThread::new("test");
        let (begin, begun) = mpsc::channel::<()>();
        let first = thread.run(move || begun.recv().is_ok()).unwrap();
        let (ran, runs) = mpsc::channel();
        drop(thread.run(move || ran.send(())).unwrap());
        let last = thread.run(move || runs.recv().is_err()).unwrap();
        begin.send(()).unwrap();
        assert!(first.await.unwrap() && last.await.unwrap());
    }

    #[tokio::test]
    async fn a_thread_that_ended_by_a_panic_is_started_again() {
        let thread = FileThread::new("test");
        assert!(thread.run(|| panic!("on purpose")).unwrap().await.is_err());
        // The channel closes a moment after the result is dropped.
        while thread.run(|| 1).unwrap().await != Ok(1) {
            tokio::task::yield_now().await;
        }
    }
}
