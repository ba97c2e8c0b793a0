//! The embedded store: one SQLite file, one writer, a few readers.

mod change;
mod open;
mod read;
mod record;
mod row;
mod update;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqliteConnection, SqlitePool};
use time::OffsetDateTime;
use tracing::debug;

use crate::clock::{Clock, SystemClock};
use crate::error::StoreError;
use crate::group_commit::{Committer, GroupCommit};
use crate::write::{Committed, Write};

pub(crate) use self::open::open_alone;
use self::open::{Durability, Home};
use self::row::{store_error, to_micros};

/// Connections that read. Reads are short and the disk is shared, so a few are enough.
const READERS: u32 = 4;

/// A store in one SQLite file.
///
/// Commits reach the disk before they are answered (WAL, `synchronous = full`). Only one process at a
/// time may have the file open.
pub struct SqliteStore {
    log: GroupCommit,
    readers: SqlitePool,
    clock: Arc<dyn Clock>,
    max_pages: Arc<AtomicU64>,
    _home: Arc<Home>,
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
        let readers = open::connect_readers(home.path(), READERS).await?;
        let max_pages = Arc::new(AtomicU64::new(MAX_PAGES));
        let writer = SqliteWriter {
            connection: Some(connection),
            options,
            clock: Arc::clone(&clock),
            max_pages: Arc::clone(&max_pages),
            pages_set: MAX_PAGES,
            _home: Arc::clone(&home),
        };
        let log = GroupCommit::start(writer, Arc::clone(&clock));
        Ok(Self { log, readers, clock, max_pages, _home: home })
    }
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
    _home: Arc<Home>,
}

impl Committer for SqliteWriter {
    async fn commit_group<'a>(
        &'a mut self,
        writes: impl ExactSizeIterator<Item = &'a Write> + Send,
    ) -> Result<Vec<Result<Committed, StoreError>>, StoreError> {
        let at = micro_precision(self.clock.now());
        let connection = self.connection().await?;
        let outcome = commit_group(connection, writes, at).await;
        if outcome.is_err() {
            // SQLite may have rolled back by itself; if it neither did nor can now, the connection is
            // of no use any more.
            let rolled_back = sqlx::query("rollback").execute(&mut *connection).await;
            let alive = sqlx::query("begin immediate").execute(&mut *connection).await.is_ok()
                && sqlx::query("rollback").execute(&mut *connection).await.is_ok();
            if !alive {
                debug!(?rolled_back, "the writing connection is opened again");
                self.connection = None;
            }
        }
        outcome
    }

    async fn close(mut self) {
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            debug!(%error, "the writing connection did not close well");
        }
    }
}

impl SqliteWriter {
    async fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        if self.connection.is_none() {
            self.connection = Some(self.options.connect().await.map_err(store_error)?);
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
