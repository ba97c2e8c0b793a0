//! Opening the file, and keeping others out of it.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, SqliteConnection, SqlitePool};

use super::row::store_error;
use crate::clock::{Ids as _, SystemIds};
use crate::error::StoreError;

/// How long a statement waits for a lock another program holds (a backup, the `sqlite3` shell) before
/// the group is rolled back and tried again.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a read waits for a free connection.
pub(super) const READER_TIMEOUT: Duration = Duration::from_secs(10);

/// Statements each connection keeps prepared: more than there are.
const STATEMENTS: usize = 128;

/// What a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// Kill -9 and loss of power.
    PowerLoss,
    /// Nothing: for tests.
    None,
}

/// Where the database lives. Holds the lock that keeps other processes out.
#[derive(Debug)]
pub(crate) struct Home {
    path: PathBuf,
    /// Locked until this is dropped; the system unlocks it when the process dies, however it dies.
    lock: File,
    /// Folder to remove in the end.
    temporary: Option<PathBuf>,
}

impl Home {
    pub(crate) fn at(path: &Path) -> Result<Self, StoreError> {
        let path = std::path::absolute(path).map_err(|error| unusable(path, error))?;
        if let Some(folder) = path.parent() {
            make_folder(folder)?;
        }
        let mut lock_path = path.clone().into_os_string();
        lock_path.push(".lock");
        let lock = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(|error| unusable(&path, error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, lock, temporary: None }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path }),
            Err(TryLockError::Error(error)) => Err(unusable(&path, error)),
        }
    }

    pub(super) fn temporary() -> Result<Self, StoreError> {
        let folder = std::env::temp_dir().join(format!("ensemble-{}", SystemIds.uuid().simple()));
        let mut home = Self::at(&folder.join("ensemble.db"))?;
        home.temporary = Some(folder);
        Ok(home)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Which files were opened, to notice when others, or none, are in their place: what is written then would
/// be gone with the process.
#[derive(Debug)]
pub(super) struct Files {
    database: (PathBuf, Identity),
    /// Known while the writing connection is open: the last connection to close takes the log away.
    log: Option<(PathBuf, Identity)>,
}

impl Files {
    /// The files of a database that has just been opened for writing.
    pub(super) fn of(home: &Home) -> Result<Self, StoreError> {
        let database = home.path.clone();
        let identity = Identity::of(&database).map_err(|error| unusable(&database, error))?;
        let mut files = Self { database: (database, identity), log: None };
        files.opened()?;
        Ok(files)
    }

    /// The writing connection was opened.
    pub(super) fn opened(&mut self) -> Result<(), StoreError> {
        let mut log = self.database.0.clone().into_os_string();
        log.push("-wal");
        let log = PathBuf::from(log);
        let identity = Identity::of(&log).map_err(|error| unusable(&log, error))?;
        self.log = Some((log, identity));
        Ok(())
    }

    /// The writing connection was closed.
    pub(super) fn closed(&mut self) {
        self.log = None;
    }

    /// Fails when a file is not there any more. Costs two look-ups of a name, next to nothing beside a
    /// commit.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        for (path, identity) in [&self.database].into_iter().chain(&self.log) {
            let what = match Identity::of(path) {
                Ok(found) if found == *identity => continue,
                Ok(_) => "was replaced by another file",
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => "was removed",
                Err(error) => return Err(unusable(path, error)),
            };
            let why = format!("`{}` {what} while the database was open", path.display());
            return Err(StoreError::Unavailable { why, source: None });
        }
        Ok(())
    }
}

/// Tells a file from others with its name. It asks by name and opens nothing: closing a file that the
/// database has open as well would drop the database's locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    #[cfg(unix)]
    device: u64,
    #[cfg(unix)]
    number: u64,
}

impl Identity {
    fn of(path: &Path) -> std::io::Result<Self> {
        let found = fs::metadata(path)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            Ok(Self { device: found.dev(), number: found.ino() })
        }
        #[cfg(not(unix))]
        {
            let _ = found;
            Ok(Self {})
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Closing alone would not do: a process that is just being started has the file for a moment too.
        let _ = self.lock.unlock();
        if let Some(folder) = &self.temporary {
            // What cannot be removed is left to the system's own cleaning.
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// What is in the database is for the server's eyes alone.
fn make_folder(folder: &Path) -> Result<(), StoreError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|error| unusable(folder, error))
}

fn unusable(path: &Path, error: std::io::Error) -> StoreError {
    StoreError::Unavailable {
        why: format!("`{}` cannot be opened: {error}", path.display()),
        source: Some(Box::new(error)),
    }
}

pub(crate) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(STATEMENTS)
        .disable_statement_logging()
}

pub(super) fn writer_options(path: &Path, durability: Durability) -> SqliteConnectOptions {
    let synchronous = match durability {
        Durability::PowerLoss => SqliteSynchronous::Full,
        Durability::None => SqliteSynchronous::Off,
    };
    options(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .thread_name(|_| "ensemble-store-writer".to_owned())
}

/// Opens the connection that writes. Another program that keeps the file locked is told from other
/// troubles.
pub(super) async fn connect_writer(
    options: &SqliteConnectOptions,
    path: &Path,
) -> Result<SqliteConnection, StoreError> {
    let mut connection = options.connect().await.map_err(|error| opening(error, path))?;
    for probe in ["begin immediate", "rollback"] {
        sqlx::query(probe).execute(&mut connection).await.map_err(|error| opening(error, path))?;
    }
    Ok(connection)
}

fn opening(error: sqlx::Error, path: &Path) -> StoreError {
    /// SQLite's code for a lock somebody else holds.
    const BUSY: i32 = 5;
    if super::row::primary_code(&error) == Some(BUSY) {
        return StoreError::InUse { path: path.to_owned() };
    }
    match store_error(error) {
        StoreError::Unavailable { why, source } => {
            StoreError::Unavailable { why: format!("`{}` cannot be opened: {why}", path.display()), source }
        }
        other => other,
    }
}

pub(super) async fn connect_readers(path: &Path, count: u32) -> Result<SqlitePool, StoreError> {
    let options = options(path)
        .pragma("query_only", "on")
        .thread_name(|number| format!("ensemble-store-reader-{number}"));
    SqlitePoolOptions::new()
        .max_connections(count)
        .acquire_timeout(READER_TIMEOUT)
        .test_before_acquire(false)
        // A file does not go away, and a connection to it costs little.
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options)
        .await
        .map_err(|error| opening(error, path))
}

/// A connection to a database that nobody else has open, without applying migrations.
pub(crate) async fn open_alone(path: &Path) -> Result<(Home, SqliteConnection), StoreError> {
    let home = Home::at(path)?;
    let connection = connect_writer(&writer_options(home.path(), Durability::PowerLoss), home.path()).await?;
    Ok((home, connection))
}
