//! The embedded store: one SQLite file, one writer, a few readers.

mod change;
mod log;
pub(crate) mod meta;
pub(crate) mod open;
mod prune;
mod read;
mod record;
mod row;
mod update;
pub(crate) mod verify;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection, SqlitePool};
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::debug;

use ensemble_protocol::id::DocumentId;

use crate::backup::{Backup, BackupError};
use crate::clock::{Clock, SystemClock};
use crate::error::StoreError;
use crate::group_commit::{Committer, GroupCommit};
use crate::record::Recovery;
use crate::write::{Change, Committed, Write};

pub(crate) use self::open::open_alone;
use self::open::{Durability, Files, Home, READER_TIMEOUT};
use self::prune::{Move, Pruner, Wanted};
pub(crate) use self::read::count_quarantine;
pub(crate) use self::row::store_error;
use self::row::{is_disk_failure, to_micros};

/// Connections that read. Reads are short and the disk is shared, so a few are enough.
const READERS: u32 = 4;
/// How long to wait before asking again for a reader that is at work.
const READER_RETRY: Duration = Duration::from_millis(20);

/// A store in one SQLite file.
///
/// Commits reach the disk before they are answered (WAL, `synchronous = full`). Only one process at a
/// time may have the file open.
pub struct SqliteStore {
    log: GroupCommit,
    readers: SqlitePool,
    clock: Arc<dyn Clock>,
    max_pages: Arc<AtomicU64>,
    recovery: Recovery,
    pruner: Mutex<Option<JoinHandle<()>>>,
    home: Arc<Home>,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the database file at `path`, makes it if it is not there, and applies what migrations it
    /// lacks.
    ///
    /// Fails with [`StoreError::InUse`] while another process has it open, and with
    /// [`StoreError::NewerSchema`] when a newer program wrote it.
    pub async fn open(path: impl AsRef<Path>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Self::start(Home::at(path.as_ref())?, Durability::PowerLoss, clock).await
    }

    /// A store that is gone when it is dropped, for tests.
    ///
    /// It is a file of its own in the folder for temporary files, so that it behaves as the real one
    /// does, except that it never waits for the disk.
    pub async fn in_memory() -> Result<Self, StoreError> {
        Self::in_memory_with(Arc::new(SystemClock)).await
    }

    /// As [`in_memory`](Self::in_memory), with a clock.
    pub async fn in_memory_with(clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Self::start(Home::temporary()?, Durability::None, clock).await
    }

    /// Sets the largest size the database file may grow to, in bytes.
    ///
    /// At that size it behaves as if the disk were full: writes wait, and go on when more is allowed.
    pub fn set_max_bytes(&self, max_bytes: u64) {
        self.max_pages.store((max_bytes / PAGE_BYTES).max(1), Ordering::Relaxed);
    }

    async fn start(home: Home, durability: Durability, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let home = Arc::new(home);
        let options = open::writer_options(home.path(), durability);
        let mut connection = open::connect_writer(&options, home.path()).await?;
        crate::migrate::run(&mut connection).await?;
        let recovery = begin_run(&mut connection).await?;
        let readers = open::connect_readers(home.path(), READERS).await?;
        let max_pages = Arc::new(AtomicU64::new(MAX_PAGES));
        let (wanted, heard) = prune::wanted();
        let writer = SqliteWriter {
            connection: Some(connection),
            options,
            clock: Arc::clone(&clock),
            max_pages: Arc::clone(&max_pages),
            pages_set: MAX_PAGES,
            wanted: wanted.clone(),
            files: Files::of(&home)?,
            home: Arc::clone(&home),
        };
        let (log, chores) = GroupCommit::start(writer, Arc::clone(&clock));
        let pruner = Pruner::new(&wanted, heard, readers.clone(), chores, Arc::clone(&home));
        let pruner = Mutex::new(Some(tokio::spawn(pruner.run())));
        Ok(Self { log, readers, clock, max_pages, recovery, pruner, home })
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        self.home.path()
    }

    /// Copies the database as it is at this moment into `file`, while everything goes on.
    ///
    /// As [`backup::create`](crate::backup::create), but it works even when the database file has been
    /// removed from its folder: a way to save what this process still has open.
    pub async fn backup(&self, file: impl AsRef<Path>) -> Result<Backup, BackupError> {
        crate::backup::copy_out(self.detached_reader().await?, file.as_ref()).await
    }

    /// A connection of its own from here on, for those of the pool may not even write to other files.
    async fn detached_reader(&self) -> Result<SqliteConnection, StoreError> {
        let until = Instant::now() + READER_TIMEOUT;
        loop {
            // One that is open first: where the file was removed no other can be opened.
            if let Some(idle) = self.readers.try_acquire() {
                return Ok(idle.detach());
            }
            match self.readers.acquire().await {
                Ok(connection) => return Ok(connection.detach()),
                Err(error) if self.readers.size() == 0 || Instant::now() >= until => {
                    return Err(store_error(error));
                }
                // Those that are open are at work.
                Err(_) => tokio::time::sleep(READER_RETRY).await,
            }
        }
    }
}

/// Reads how the last run ended and writes down that this one has begun.
async fn begin_run(connection: &mut SqliteConnection) -> Result<Recovery, StoreError> {
    let recovery = meta::recovery(connection).await?;
    if recovery.unclean_stop {
        // What the write-ahead log holds may have been read from the system's memory and not be on disk,
        // when the run before ended because the disk failed. Moving it into the database file writes all
        // of it once more, and waits for the disk.
        let sql = "pragma wal_checkpoint(truncate)";
        sqlx::query(sql).execute(&mut *connection).await.map_err(store_error)?;
    }
    meta::mark_open(connection).await?;
    Ok(recovery)
}

/// Size of a page of the file, SQLite's default.
const PAGE_BYTES: u64 = 4096;

/// SQLite's own limit.
const MAX_PAGES: u64 = 4_294_967_294;

/// The one connection that writes.
struct SqliteWriter {
    /// `None` after a failure that a connection may not survive; opened again for the next attempt.
    connection: Option<SqliteConnection>,
    options: SqliteConnectOptions,
    clock: Arc<dyn Clock>,
    max_pages: Arc<AtomicU64>,
    pages_set: u64,
    wanted: Wanted,
    /// What the files were when they were opened.
    files: Files,
    home: Arc<Home>,
}

impl Committer for SqliteWriter {
    type Chore = Move;

    async fn commit_group<'a>(
        &'a mut self,
        writes: impl ExactSizeIterator<Item = &'a Write> + Send,
    ) -> Result<Vec<Result<Committed, StoreError>>, StoreError> {
        let at = micro_precision(self.clock.now());
        self.files.check()?;
        let mut snapshots = Vec::new();
        let writes = writes.inspect(|write| snapshots.extend(write.changes.iter().filter_map(snapshot_of)));
        let connection = self.connection().await?;
        let outcome = commit_group(connection, writes, at).await;
        match &outcome {
            Ok(_) => snapshots.into_iter().for_each(|document| self.wanted.look_at(document)),
            Err(error) => self.recover(error).await,
        }
        outcome
    }

    async fn chore(&mut self, order: Move) {
        let now = micro_precision(self.clock.now());
        match self.files.check() {
            Ok(()) => {}
            Err(error) => return order.refuse(error),
        }
        match self.connection().await {
            Ok(connection) => {
                if !prune::make_move(connection, order, now).await {
                    self.disconnect().await;
                }
            }
            Err(error) => order.refuse(error),
        }
    }

    async fn close(mut self, clean: bool) {
        if clean
            && self.files.check().is_ok()
            && let Ok(connection) = self.connection().await
            && let Err(error) = meta::mark_closed(connection).await
        {
            debug!(%error, "that the database was closed could not be written down");
        }
        self.disconnect().await;
    }
}

/// The document whose snapshot this is.
fn snapshot_of(change: &Change) -> Option<DocumentId> {
    match change {
        Change::PutSnapshot(snapshot) => Some(snapshot.document),
        _ => None,
    }
}

impl SqliteWriter {
    /// Makes the connection fit for another attempt after a group failed.
    async fn recover(&mut self, error: &StoreError) {
        let Some(connection) = self.connection.as_mut() else { return };
        // SQLite may have rolled back by itself; if it neither did nor can now, the connection is of no
        // use any more.
        let rolled_back = sqlx::query("rollback").execute(&mut *connection).await;
        // After the disk failed nothing the connection remembers of the file is relied on. The next
        // attempt writes the whole group again over what this one may have left, and waits for the disk
        // again: an fsync that failed is never repeated alone, for its second answer would be a lie.
        let alive = !is_disk_failure(error)
            && sqlx::query("begin immediate").execute(&mut *connection).await.is_ok()
            && sqlx::query("rollback").execute(&mut *connection).await.is_ok();
        if !alive {
            debug!(?rolled_back, "the writing connection is opened again");
            self.disconnect().await;
        }
    }

    /// Closes the connection; the next use opens another.
    async fn disconnect(&mut self) {
        self.files.closed();
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            debug!(%error, "the writing connection did not close well");
        }
    }

    async fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        if self.connection.is_none() {
            let connection = open::connect_writer(&self.options, self.home.path()).await?;
            self.connection = Some(connection);
            self.files.opened()?;
            self.pages_set = MAX_PAGES;
        }
        let connection = self.connection.as_mut().expect("it was just opened");
        let max_pages = self.max_pages.load(Ordering::Relaxed);
        if self.pages_set != max_pages {
            // A pragma takes no parameters; this is a number.
            let pragma = AssertSqlSafe(format!("pragma max_page_count = {max_pages}"));
            sqlx::query(pragma).execute(&mut *connection).await.map_err(store_error)?;
            self.pages_set = max_pages;
        }
        Ok(connection)
    }
}

async fn commit_group<'a>(
    connection: &mut SqliteConnection,
    writes: impl ExactSizeIterator<Item = &'a Write> + Send,
    at: OffsetDateTime,
) -> Result<Vec<Result<Committed, StoreError>>, StoreError> {
    run(connection, "begin immediate").await?;
    let mut answers = Vec::with_capacity(writes.len());
    for write in writes {
        answers.push(match update::append_alone(connection, write, at).await? {
            Some(committed) => Ok(committed),
            None => apply(connection, write, at).await?,
        });
    }
    run(connection, "commit").await?;
    Ok(answers)
}

/// Anything that goes wrong around the writes concerns the whole group.
async fn run(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), StoreError> {
    sqlx::query(sql)
        .execute(connection)
        .await
        .map(drop)
        .map_err(|error| StoreError::Unavailable { why: error.to_string(), source: Some(Box::new(error)) })
}

/// Makes a write, or nothing of it. `Err` concerns the whole group.
async fn apply(
    connection: &mut SqliteConnection,
    write: &Write,
    at: OffsetDateTime,
) -> Result<Result<Committed, StoreError>, StoreError> {
    run(connection, "savepoint one_write").await?;
    let answer = match apply_parts(connection, write, at).await {
        Err(error) if error.is_unavailable() => return Err(error),
        Err(error) => {
            run(connection, "rollback to one_write").await?;
            match update::first_outcome(connection, write).await {
                Err(other) if other.is_unavailable() => return Err(other),
                Err(other) => Err(other),
                Ok(Some(first)) => Ok(first),
                Ok(None) => Err(error),
            }
        }
        Ok(committed) => Ok(committed),
    };
    run(connection, "release one_write").await?;
    Ok(answer)
}

async fn apply_parts(
    connection: &mut SqliteConnection,
    write: &Write,
    at: OffsetDateTime,
) -> Result<Committed, StoreError> {
    for change in &write.changes {
        change::apply(connection, change, at).await?;
    }
    let mut versions = Vec::with_capacity(write.updates.len());
    for update in &write.updates {
        versions.push(update::append(connection, update, at).await?);
    }
    Ok(Committed { versions, at })
}

/// What a stored time keeps of this one.
fn micro_precision(time: OffsetDateTime) -> OffsetDateTime {
    row::from_micros(to_micros(time)).unwrap_or(time)
}
