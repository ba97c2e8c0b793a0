//! Starting and stopping: named tasks, signals, and a shutdown in stages.
//!
//! The first signal stops accepting, closes sockets with 1001 and interrupts turns, which still write down where
//! they stopped; then rooms commit what is pending and the store closes. A second signal, or the time limit,
//! ends all that at once.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, error, info, info_span, warn};

/// A group of tasks that stop together.
#[derive(Debug, Clone)]
pub struct Tasks {
    /// Knows which are still at work.
    pub tracker: TaskTracker,
    /// Tells them to stop.
    pub stop: CancellationToken,
    died: Arc<AtomicBool>,
}

/// Whether a stop left anything undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every task came to its end.
    Clean,
    /// Time ran out, or a task died on its own.
    Unclean,
}

impl Tasks {
    /// A group that stops when `hard` does, at the latest.
    pub fn under(hard: &CancellationToken) -> Self {
        Self { tracker: TaskTracker::new(), stop: hard.child_token(), died: Arc::default() }
    }

    /// Starts a task. One that panics is logged and makes the exit a failure.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &'static str,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<Option<T>> {
        let died = self.died.clone();
        let task = async move {
            let ended = AssertUnwindSafe(future).catch_unwind().await;
            if ended.is_err() {
                died.store(true, Ordering::Relaxed);
                error!("task `{name}` died");
            }
            ended.ok()
        };
        self.tracker.spawn(task.instrument(info_span!("task", name)))
    }

    /// Tells the group to stop and waits for it; whether it did in time.
    pub async fn finish(&self, name: &str, limit: Duration) -> Outcome {
        self.stop.cancel();
        self.tracker.close();
        if tokio::time::timeout(limit, self.tracker.wait()).await.is_err() {
            warn!("{} {name} did not stop in time", self.tracker.len());
            return Outcome::Unclean;
        }
        if self.died.load(Ordering::Relaxed) { Outcome::Unclean } else { Outcome::Clean }
    }
}

impl Outcome {
    /// Both clean.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if self == Self::Clean { other } else { self }
    }
}

/// Listens for SIGTERM and SIGINT from now on; the future waits for the first, and every later one cancels
/// `hard`.
pub fn on_signal(hard: CancellationToken) -> impl Future<Output = ()> + Send {
    let mut signals = Signals::listen();
    async move {
        signals.next().await;
        info!("stopping; once more to stop at once");
        tokio::spawn(async move {
            signals.next().await;
            warn!("stopping at once");
            hard.cancel();
        });
    }
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self {
            terminate: signal(SignalKind::terminate()).expect("the process may handle SIGTERM"),
            interrupt: signal(SignalKind::interrupt()).expect("the process may handle SIGINT"),
        }
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Self {
        Self
    }

    async fn next(&mut self) {
        tokio::signal::ctrl_c().await.expect("the process may handle Ctrl-C");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_dies_makes_the_stop_unclean() {
        let tasks = Tasks::under(&CancellationToken::new());
        assert_eq!(tasks.spawn("fine", async { 7 }).await.unwrap(), Some(7));
        assert_eq!(tasks.spawn("dies", async { assert_eq!(1, 2, "on purpose") }).await.unwrap(), None);
        assert_eq!(tasks.finish("tasks", Duration::from_secs(5)).await, Outcome::Unclean);
    }

    #[tokio::test]
    async fn tasks_are_waited_for_up_to_a_limit() {
        let tasks = Tasks::under(&CancellationToken::new());
        let stop = tasks.stop.clone();
        tasks.spawn("polite", async move { stop.cancelled().await });
        assert_eq!(tasks.finish("tasks", Duration::from_secs(5)).await, Outcome::Clean);
        let tasks = Tasks::under(&CancellationToken::new());
        tasks.spawn("deaf", std::future::pending::<()>());
        assert_eq!(tasks.finish("tasks", Duration::from_millis(10)).await, Outcome::Unclean);
    }
}
