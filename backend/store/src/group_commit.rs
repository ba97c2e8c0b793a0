//! Many writes, one commit, every writer answered after it.
//!
//! One task takes writes from a bounded queue. A quiet log commits each at once; a busy one gathers what
//! arrived while the commit before was under way. While the database cannot write, the group at hand is
//! tried again, in order, and holds everybody behind it: nothing is acknowledged that is not committed,
//! and nothing overtakes. A store that is closed meanwhile gives up after a while, on that group and on all
//! behind it.
//!
//! Housekeeping goes through the same task, in short steps, when nobody waits; on a busy log one step in
//! a while.

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

/// Writes and bytes that are left for those who ask at the same time whether there is room, and for edits that do
/// not ask.
const SPARE_WRITES: usize = 512;
const SPARE_BYTES: usize = 16 * 1024 * 1024;

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

/// Least time between two steps of housekeeping while writes wait. A step is bounded to a few
/// milliseconds, so housekeeping takes a small part of a busy writer's time.
const CHORE_GAP: Duration = Duration::from_millis(100);

/// What can commit a group of writes.
pub(crate) trait Committer: Send + 'static {
    /// A short step of housekeeping, with whatever it takes to tell how it went.
    type Chore: Send + 'static;

    /// Does a step of housekeeping, in a transaction of its own.
    fn chore(&mut self, chore: Self::Chore) -> impl Future<Output = ()> + Send;

    /// Commits the writes in order, in one transaction, and answers each.
    ///
    /// `Err` means that nothing of the group was committed, or that nobody knows, and that the same group
    /// shall be handed in again.
    fn commit_group<'a>(
        &'a mut self,
        writes: impl ExactSizeIterator<Item = &'a Write> + Send,
    ) -> impl Future<Output = Result<Vec<Result<Committed, StoreError>>, StoreError>> + Send;

    /// Lets go of the database in good order. `clean` when the store was closed by its owner and all
    /// that was handed in is committed.
    fn close(self, clean: bool) -> impl Future<Output = ()> + Send;
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
    /// Starts the task. Housekeeping is handed in through the second part, one step at a time.
    pub(crate) fn start<C: Committer>(committer: C, clock: Arc<dyn Clock>) -> (Self, mpsc::Sender<C::Chore>) {
        let (chore_sender, chores) = mpsc::channel(1);
        let (queue, jobs) = mpsc::channel(QUEUE_WRITES);
        let (health_sender, health) = watch::channel(Health::Healthy);
        let (closing, closing_seen) = watch::channel(false);
        let writer = Writer {
            committer,
            jobs,
            chores,
            last_chore: Instant::now(),
            health: health_sender,
            closing: closing_seen,
            give_up_at: None,
            clock,
        };
        let log = Self {
            queue,
            room: Arc::new(Semaphore::new(QUEUE_BYTES)),
            health,
            closing,
            writer: tokio::sync::Mutex::new(Some(tokio::spawn(writer.run()))),
        };
        (log, chore_sender)
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

    pub(crate) fn has_room(&self) -> bool {
        self.queue.capacity() > SPARE_WRITES && self.room.available_permits() > SPARE_BYTES
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
struct Writer<C: Committer> {
    committer: C,
    jobs: mpsc::Receiver<Job>,
    chores: mpsc::Receiver<C::Chore>,
    last_chore: Instant,
    health: watch::Sender<Health>,
    closing: watch::Receiver<bool>,
    /// Set by the first failure after the end was announced.
    give_up_at: Option<Instant>,
    clock: Arc<dyn Clock>,
}

impl<C: Committer> Writer<C> {
    async fn run(mut self) {
        let mut group = Vec::new();
        // Once a group was given up nothing behind it is tried: it may build on what is missing then.
        let mut gave_up: Option<String> = None;
        while let Some(first) = self.next().await {
            self.gather(first, &mut group);
            let outcome = match &gave_up {
                Some(why) => Err(why.clone()),
                None => self.commit(&group).await,
            };
            match outcome {
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
                    gave_up = Some(why);
                }
            }
        }
        // Whoever waits for a step of housekeeping waits in vain from here on.
        self.chores.close();
        let clean = *self.closing.borrow() && gave_up.is_none();
        self.committer.close(clean).await;
    }

    async fn next(&mut self) -> Option<Job> {
        while !self.is_closing() {
            let mut chore = None;
            if self.last_chore.elapsed() >= CHORE_GAP {
                chore = self.chores.try_recv().ok();
            }
            if chore.is_none() {
                chore = tokio::select! {
                    biased;
                    job = self.jobs.recv() => return job,
                    // An error means that the store was dropped, which ends the queue as well.
                    _ = self.closing.wait_for(|closing| *closing) => break,
                    Some(chore) = self.chores.recv() => Some(chore),
                };
            }
            let Some(chore) = chore else { continue };
            self.committer.chore(chore).await;
            self.last_chore = Instant::now();
        }
        self.jobs.close();
        self.jobs.recv().await
    }

    /// Whether the store is being closed, or was dropped.
    fn is_closing(&self) -> bool {
        *self.closing.borrow() || self.closing.has_changed().is_err()
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
        loop {
            let why = match self.committer.commit_group(group.iter().map(|job| &job.write)).await {
                Ok(answers) => {
                    self.set_healthy();
                    return Ok(answers);
                }
                Err(error) => describe(&error),
            };
            self.set_degraded(&why, group.len());

            if self.is_closing() {
                let give_up_at = *self.give_up_at.get_or_insert_with(|| Instant::now() + CLOSE_GRACE);
                if Instant::now() >= give_up_at {
                    return Err(why);
                }
                tokio::time::sleep(wait).await;
            } else {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    // Then there is no time to lose.
                    _ = self.closing.wait_for(|closing| *closing) => {}
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use ensemble_protocol::id::{MemberId, Version};
    use futures_util::FutureExt as _;
    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

    use super::*;
    use crate::clock::ManualClock;
    use crate::write::Change;

    /// Commits when told to, and tells what it was given.
    struct Scripted {
        groups: UnboundedSender<Vec<String>>,
        broken: Arc<AtomicBool>,
        /// While it is locked, no commit ends.
        gate: Arc<tokio::sync::Mutex<()>>,
        committed: Arc<Mutex<u64>>,
    }

    impl Committer for Scripted {
        type Chore = &'static str;

        async fn chore(&mut self, chore: &'static str) {
            let _open = self.gate.lock().await;
            self.groups.send(vec![format!("chore {chore}")]).unwrap();
        }

        async fn commit_group<'a>(
            &'a mut self,
            writes: impl ExactSizeIterator<Item = &'a Write> + Send,
        ) -> Result<Vec<Result<Committed, StoreError>>, StoreError> {
            let names: Vec<_> = writes.map(name).collect();
            self.groups.send(names.clone()).unwrap();
            let _open = self.gate.lock().await;
            if self.broken.load(Ordering::SeqCst) {
                return Err(StoreError::Unavailable { why: "disk full".to_owned(), source: None });
            }
            let mut seq = self.committed.lock().unwrap();
            Ok(names
                .iter()
                .map(|_| {
                    *seq += 1;
                    let versions = vec![Version { epoch: 1, seq: *seq }];
                    Ok(Committed { versions, at: ManualClock::default().now() })
                })
                .collect())
        }

        async fn close(self, clean: bool) {
            let _ = self.groups.send(vec![format!("closed, clean: {clean}")]);
        }
    }

    fn named(name: &str) -> Write {
        let id = MemberId::from_uuid(uuid::Uuid::nil());
        Write::changes([Change::RenameMember { id, name: name.to_string() }])
    }

    fn name(write: &Write) -> String {
        match &write.changes[..] {
            [Change::RenameMember { name, .. }] => name.clone(),
            other => panic!("not a write of these tests: {other:?}"),
        }
    }

    struct Story {
        log: Arc<GroupCommit>,
        chores: mpsc::Sender<&'static str>,
        groups: UnboundedReceiver<Vec<String>>,
        broken: Arc<AtomicBool>,
        gate: Arc<tokio::sync::Mutex<()>>,
        committed: Arc<Mutex<u64>>,
    }

    fn story() -> Story {
        let (groups, seen) = unbounded_channel();
        let broken = Arc::new(AtomicBool::new(false));
        let gate = Arc::new(tokio::sync::Mutex::new(()));
        let committed = Arc::default();
        let scripted = Scripted {
            groups,
            broken: Arc::clone(&broken),
            gate: Arc::clone(&gate),
            committed: Arc::clone(&committed),
        };
        let (log, chores) = GroupCommit::start(scripted, Arc::new(ManualClock::default()));
        Story { log: Arc::new(log), chores, groups: seen, broken, gate, committed }
    }

    async fn seq(commit: Commit) -> u64 {
        commit.await.unwrap().versions[0].seq
    }

    #[tokio::test]
    async fn a_quiet_log_commits_at_once_and_a_busy_one_gathers() {
        let mut story = story();
        let gate = story.gate.lock().await;
        let first = story.log.submit(named("a")).await.unwrap();
        assert_eq!(story.groups.recv().await.unwrap(), ["a"]);
        let second = story.log.submit(named("b")).await.unwrap();
        let third = story.log.submit(named("c")).await.unwrap();
        drop(gate);
        assert_eq!(story.groups.recv().await.unwrap(), ["b", "c"]);
        assert_eq!((seq(first).await, seq(second).await, seq(third).await), (1, 2, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_group_is_tried_again_and_holds_everybody_behind_it() {
        let mut story = story();
        let mut health = story.log.health();
        story.broken.store(true, Ordering::SeqCst);
        let mut first = story.log.submit(named("a")).await.unwrap();
        assert_eq!(story.groups.recv().await.unwrap(), ["a"]);
        let second = story.log.submit(named("b")).await.unwrap();
        health
            .wait_for(|health| matches!(health, Health::Degraded { why, .. } if why == "disk full"))
            .await
            .unwrap();
        for _ in 0..5 {
            assert_eq!(story.groups.recv().await.unwrap(), ["a"], "nobody overtakes");
        }
        assert!((&mut first).now_or_never().is_none(), "nothing is acknowledged that is not committed");

        story.broken.store(false, Ordering::SeqCst);
        assert_eq!((seq(first).await, seq(second).await), (1, 2));
        health.wait_for(|health| *health == Health::Healthy).await.unwrap();
    }

    #[tokio::test]
    async fn a_full_queue_makes_writers_wait_and_lets_them_leave() {
        let mut story = story();
        let gate = story.gate.lock().await;
        assert!(story.log.has_room());
        let mut commits = vec![story.log.submit(named("first")).await.unwrap()];
        story.groups.recv().await.unwrap();
        for number in 0..QUEUE_WRITES {
            commits.push(story.log.submit(named(&number.to_string())).await.unwrap());
        }
        {
            let mut leaving = Box::pin(story.log.submit(named("left")));
            assert!((&mut leaving).now_or_never().is_none(), "there is no room");
            assert!(!story.log.has_room());
        }
        let log = Arc::clone(&story.log);
        let waiting = tokio::spawn(async move { log.submit(named("last")).await.unwrap().await.unwrap() });
        drop(gate);
        let last = waiting.await.unwrap().versions[0].seq;
        assert_eq!(last, QUEUE_WRITES as u64 + 2, "the one that left was never handed in");
        for (number, commit) in (1..).zip(commits) {
            assert_eq!(seq(commit).await, number);
        }
    }

    #[tokio::test]
    async fn bytes_fill_the_queue_as_well() {
        let story = story();
        let gate = story.gate.lock().await;
        let half = "x".repeat(QUEUE_BYTES / 2);
        let first = story.log.submit(named(&half)).await.unwrap();
        let mut second = Box::pin(story.log.submit(named(&half)));
        assert!((&mut second).now_or_never().is_none(), "two halves and their envelopes do not fit");
        drop(gate);
        assert_eq!(seq(first).await, 1);
        assert_eq!(seq(second.await.unwrap()).await, 2);
        // Larger than everything, and still it goes through, alone.
        let huge = story.log.submit(named(&"x".repeat(QUEUE_BYTES + 1))).await.unwrap();
        assert_eq!(seq(huge).await, 3);
    }

    #[tokio::test]
    async fn closing_commits_what_was_handed_in_and_takes_nothing_more() {
        let story = story();
        let gate = story.gate.lock().await;
        let commits =
            [story.log.submit(named("a")).await.unwrap(), story.log.submit(named("b")).await.unwrap()];
        let log = Arc::clone(&story.log);
        let closing = tokio::spawn(async move { log.close().await });
        drop(gate);
        closing.await.unwrap();
        for (number, commit) in (1..).zip(commits) {
            assert_eq!(seq(commit).await, number);
        }
        assert!(matches!(story.log.submit(named("c")).await, Err(StoreError::Closed)));
        story.log.close().await;
    }

    #[tokio::test(start_paused = true)]
    async fn closing_gives_up_on_a_database_that_stays_away() {
        let story = story();
        story.broken.store(true, Ordering::SeqCst);
        let commits =
            [story.log.submit(named("a")).await.unwrap(), story.log.submit(named("b")).await.unwrap()];
        let start = Instant::now();
        story.log.close().await;
        assert!(start.elapsed() >= CLOSE_GRACE);
        for commit in commits {
            let error = commit.await.unwrap_err();
            assert!(error.is_unavailable(), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_overtakes_what_was_given_up() {
        let mut story = story();
        story.broken.store(true, Ordering::SeqCst);
        // No attempt ends before the test has looked at it.
        let mut gate = Arc::clone(&story.gate).lock_owned().await;
        let first = story.log.submit(named("a")).await.unwrap();
        assert_eq!(story.groups.recv().await.unwrap(), ["a"]);
        let second = story.log.submit(named("b")).await.unwrap();
        let log = Arc::clone(&story.log);
        let closing = tokio::spawn(async move { log.close().await });
        loop {
            drop(gate);
            gate = Arc::clone(&story.gate).lock_owned().await;
            let names = story.groups.recv().await.unwrap();
            // The database is back just as the first was given up.
            story.broken.store(names == ["a"], Ordering::SeqCst);
            if names == ["closed, clean: false"] {
                break;
            }
        }
        closing.await.unwrap();
        for commit in [first, second] {
            let error = commit.await.unwrap_err();
            assert!(error.is_unavailable(), "{error}");
        }
        assert_eq!(*story.committed.lock().unwrap(), 0);
    }

    #[tokio::test]
    async fn a_store_that_is_dropped_still_commits() {
        let mut story = story();
        let commit = story.log.submit(named("a")).await.unwrap();
        drop(story.log);
        assert_eq!(seq(commit).await, 1);
        story.groups.recv().await.unwrap();
        assert_eq!(story.groups.recv().await.unwrap(), ["closed, clean: false"]);
        assert_eq!(story.groups.recv().await, None, "and then its writer ends");
    }

    #[tokio::test(start_paused = true)]
    async fn housekeeping_waits_for_writers_and_yet_gets_its_turn() {
        let mut story = story();
        let gate = story.gate.lock().await;
        let first = story.log.submit(named("a")).await.unwrap();
        assert_eq!(story.groups.recv().await.unwrap(), ["a"]);
        let second = story.log.submit(named("b")).await.unwrap();
        story.chores.send("one").await.unwrap();
        drop(gate);
        assert_eq!(story.groups.recv().await.unwrap(), ["b"]);
        assert_eq!(story.groups.recv().await.unwrap(), ["chore one"]);
        assert_eq!((seq(first).await, seq(second).await), (1, 2));

        // When it has waited long enough it comes first, once.
        let gate = story.gate.lock().await;
        let third = story.log.submit(named("c")).await.unwrap();
        assert_eq!(story.groups.recv().await.unwrap(), ["c"]);
        let fourth = story.log.submit(named("d")).await.unwrap();
        story.chores.send("two").await.unwrap();
        tokio::time::advance(CHORE_GAP).await;
        drop(gate);
        assert_eq!(story.groups.recv().await.unwrap(), ["chore two"]);
        assert_eq!(story.groups.recv().await.unwrap(), ["d"]);
        assert_eq!((seq(third).await, seq(fourth).await), (3, 4));
        story.log.close().await;
        assert_eq!(story.groups.recv().await.unwrap(), ["closed, clean: true"]);
        story.chores.send("three").await.unwrap_err();
    }
}
