//! Many writes, one commit, every writer answered after it.
//!
//! One task takes writes from a bounded queue. A quiet log commits each at once; a busy one gathers what
//! arrived while the commit before was under way. While the database cannot write, the group at hand is
//! tried again, in order, and holds everybody behind it: nothing is acknowledged that is not committed,
//! and nothing overtakes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::Health;
use crate::clock::Clock;
use crate::error::StoreError;
use crate::write::{Commit, Committed, Write};

/// Most writes that wait. A busy class makes a few hundred a second, so this is seconds of backlog while
/// the database hangs; after that `submit` makes its callers wait.
pub(crate) const QUEUE_WRITES: usize = 8192;

/// Most bytes that wait, in all writes together.
pub(crate) const QUEUE_BYTES: usize = 64 * 1024 * 1024;

/// What a write is counted with beside its bytes, for the memory its own structure takes.
const WRITE_OVERHEAD_BYTES: usize = 512;

/// Most writes in one commit. Beyond a thousand a group gets slower rather than more efficient.
const GROUP_WRITES: usize = 1024;

/// Bytes after which a group takes no further write, so that one commit does not last long.
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// Wait after the first failed attempt; it doubles from there.
const RETRY_FIRST: Duration = Duration::from_millis(50);

/// Longest wait between attempts: how long people see "not saved" after the disk has room again.
const RETRY_LONGEST: Duration = Duration::from_secs(2);

/// How long a store that is being closed goes on trying.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// What can commit a group of writes.
pub(crate) trait Committer: Send + 'static {
    /// Commits the writes in order, in one transaction, and answers each.
    ///
    /// `Err` means that nothing of the group was committed, or that nobody knows, and that the same group
    /// shall be handed in again.
    fn commit_group<'a>(
        &'a mut self,
        writes: impl ExactSizeIterator<Item = &'a Write> + Send,
    ) -> impl Future<Output = Result<Vec<Result<Committed, StoreError>>, StoreError>> + Send;
}

struct Job {
    write: Write,
    answer: oneshot::Sender<Result<Committed, StoreError>>,
    /// Gives the room in the queue back when the job is over.
    _room: OwnedSemaphorePermit,
}

/// The handle everybody writes through.
pub(crate) struct GroupCommit {
    queue: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
    health: watch::Receiver<Health>,
    closing: watch::Sender<bool>,
    writer: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl GroupCommit {
    pub(crate) fn start(committer: impl Committer, clock: Arc<dyn Clock>) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE_WRITES);
        let (health_sender, health) = watch::channel(Health::Healthy);
        let (closing, closing_seen) = watch::channel(false);
        let writer = Writer { committer, jobs, health: health_sender, closing: closing_seen, clock };
        Self {
            queue,
            room: Arc::new(Semaphore::new(QUEUE_BYTES)),
            health,
            closing,
            writer: tokio::sync::Mutex::new(Some(tokio::spawn(writer.run()))),
        }
    }

    pub(crate) async fn submit(&self, write: Write) -> Result<Commit, StoreError> {
        // A write larger than the whole queue may still go through, alone.
        let size = write.size_bytes().saturating_add(WRITE_OVERHEAD_BYTES).min(QUEUE_BYTES);
        let room =
            Arc::clone(&self.room).acquire_many_owned(size as u32).await.map_err(|_| StoreError::Closed)?;
        let place = self.queue.reserve().await.map_err(|_| StoreError::Closed)?;
        let (answer, commit) = Commit::channel();
        place.send(Job { write, answer, _room: room });
        Ok(commit)
    }

    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    pub(crate) async fn close(&self) {
        self.closing.send_replace(true);
        let mut writer = self.writer.lock().await;
        if let Some(handle) = writer.as_mut() {
            if let Err(error) = handle.await {
                tracing::error!(%error, "the writer of the store did not end well");
            }
            *writer = None;
        }
        self.room.close();
    }
}

/// The task. It waits for a job, gathers what else is there, commits, answers, and begins again; it ends
/// when the store is closed or dropped and the queue is empty.
struct Writer<C> {
    committer: C,
    jobs: mpsc::Receiver<Job>,
    health: watch::Sender<Health>,
    closing: watch::Receiver<bool>,
    clock: Arc<dyn Clock>,
}

impl<C: Committer> Writer<C> {
    async fn run(mut self) {
        let mut group = Vec::new();
        while let Some(first) = self.next().await {
            self.gather(first, &mut group);
            match self.commit(&group).await {
                Ok(answers) => {
                    for (job, answer) in group.drain(..).zip(answers) {
                        // A writer that went away needs no answer.
                        let _ = job.answer.send(answer);
                    }
                }
                Err(why) => {
                    for job in group.drain(..) {
                        let why = why.clone();
                        let _ = job.answer.send(Err(StoreError::Unavailable { why, source: None }));
                    }
                }
            }
        }
    }

    async fn next(&mut self) -> Option<Job> {
        if !*self.closing.borrow() {
            tokio::select! {
                biased;
                job = self.jobs.recv() => return job,
                // An error means that the store was dropped, which ends the queue as well.
                _ = self.closing.wait_for(|closing| *closing) => {}
            }
        }
        self.jobs.close();
        self.jobs.recv().await
    }

    fn gather(&mut self, first: Job, group: &mut Vec<Job>) {
        let mut bytes = first.write.size_bytes();
        group.push(first);
        while group.len() < GROUP_WRITES && bytes < GROUP_BYTES {
            let Ok(job) = self.jobs.try_recv() else { break };
            bytes += job.write.size_bytes();
            group.push(job);
        }
    }

    /// Tries until the group is committed. Gives up, with the reason, only when the store is being closed.
    async fn commit(&mut self, group: &[Job]) -> Result<Vec<Result<Committed, StoreError>>, String> {
        let mut wait = RETRY_FIRST;
        let mut give_up_at = None;
        loop {
            let why = match self.committer.commit_group(group.iter().map(|job| &job.write)).await {
                Ok(answers) => {
                    self.set_healthy();
                    return Ok(answers);
                }
                Err(error) => describe(&error),
            };
            self.set_degraded(&why, group.len());

            if *self.closing.borrow() {
                let give_up_at = *give_up_at.get_or_insert_with(|| Instant::now() + CLOSE_GRACE);
                if Instant::now() >= give_up_at {
                    return Err(why);
                }
                tokio::time::sleep(wait).await;
            } else {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    // Try at once; an error means that the store was dropped, which is no haste.
                    Ok(_) = self.closing.wait_for(|closing| *closing) => {}
                }
            }
            wait = (wait * 2).min(RETRY_LONGEST);
        }
    }

    fn set_healthy(&self) {
        self.health.send_if_modified(|health| {
            if *health == Health::Healthy {
                return false;
            }
            info!("the database commits again");
            *health = Health::Healthy;
            true
        });
    }

    fn set_degraded(&self, why: &str, waiting: usize) {
        debug!(why, waiting, "a group of writes could not be committed and will be tried again");
        self.health.send_if_modified(|health| match health {
            Health::Degraded { why: known, .. } if known == why => false,
            Health::Degraded { why: known, .. } => {
                why.clone_into(known);
                true
            }
            Health::Healthy => {
                warn!(why, "the database cannot commit; writes wait until it can");
                *health = Health::Degraded { since: self.clock.now(), why: why.to_owned() };
                true
            }
        });
    }
}

/// The reason without the words around it, for people and for `Health`.
fn describe(error: &StoreError) -> String {
    match error {
        StoreError::Unavailable { why, .. } => why.clone(),
        other => other.to_string(),
    }
}
