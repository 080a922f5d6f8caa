//! All children of this process, so that none is left behind when it is interrupted.

use std::{
    io,
    process::Child,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread,
};

use crate::failure::Failure;

/// A child that whoever ends this process can reach.
pub(crate) type Shared = Arc<Mutex<Child>>;

static CHILDREN: Mutex<Vec<Weak<Mutex<Child>>>> = Mutex::new(Vec::new());
/// As a shell reports a program that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

/// Starts a child, which is remembered as long as it has an owner.
pub(crate) fn start(spawn: impl FnOnce() -> io::Result<Child>) -> io::Result<(u32, Shared)> {
    // Held meanwhile: no child begins while all are ended.
    let mut children = lock(&CHILDREN);
    let child = spawn()?;
    let (id, child) = (child.id(), Arc::new(Mutex::new(child)));
    children.retain(|child| child.strong_count() > 0);
    children.push(Arc::downgrade(&child));
    Ok((id, child))
}

/// Kills a child, and waits until it is gone.
pub(crate) fn end(child: &Shared) {
    let mut child = lock(child);
    // Both fail only if it has ended already.
    let _ = child.kill();
    let _ = child.wait();
}

/// From now on Ctrl-C and SIGTERM end the children, and then this process.
pub(crate) fn end_when_interrupted() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::spawn(move || {
        runtime.block_on(interrupted());
        // Held to the end: no child is started any more.
        let children = lock(&CHILDREN);
        children.iter().filter_map(Weak::upgrade).for_each(|child| end(&child));
        std::process::exit(INTERRUPTED);
    });
    Ok(())
}

/// Its content, even if somebody has panicked with it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(unix)]
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = signals else { return std::future::pending().await };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}
