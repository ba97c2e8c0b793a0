//! Copying a database while it is in use, and putting a copy back.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use time::OffsetDateTime;
use tracing::warn;

use crate::clock::{Clock, Ids as _, SystemIds};
use crate::error::StoreError;
use crate::sqlite::open::{self, Home};
use crate::sqlite::{meta, store_error, verify};

/// Why a backup could not be made or restored. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is a database already, and it was not said that it may be replaced.
    #[error("there is already a database at `{}`", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// The file is no backup, or a damaged one. Another one is needed.
    #[error("`{}` cannot be used: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file could not be read or written.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The database could not be read: in use, written by a newer version, not available.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A copy of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backup {
    /// Where it is.
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Documents in it, deleted ones and replicas included.
    pub documents: u64,
    /// Updates in it, in the log and in history.
    pub updates: u64,
    /// Rows whose checksum is wrong. They were copied as they are; a person should know.
    pub damaged_rows: u64,
}

/// What to do with a database that is in the place of the restored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Leave it, and fail.
    Keep,
    /// Replace it, and keep it under another name beside the new one.
    Replace,
}

/// A database that was put back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// Where it is.
    pub database: PathBuf,
    /// What was restored.
    pub documents: u64,
    /// Updates in it.
    pub updates: u64,
    /// Where the database is that it replaced.
    pub replaced: Option<PathBuf>,
}

/// Copies the database at `database` as it is at this moment into `file`, whether or not a server has it
/// open; the server goes on.
///
/// The copy is written beside `file` under another name, checked, brought to the disk, and only then takes
/// the name, replacing an older backup. It is one file, complete without others, and it contains
/// everything, also hashes of secrets and people's names: only its owner may read it.
pub async fn create(database: impl AsRef<Path>, file: impl AsRef<Path>) -> Result<Backup, BackupError> {
    let database = database.as_ref();
    if !database.exists() {
        return Err(BackupError::Damaged { path: database.into(), why: "there is no database".to_owned() });
    }
    let connection = open::options(database).connect().await.map_err(store_error)?;
    copy_out(connection, file.as_ref()).await
}

pub(crate) async fn copy_out(mut connection: SqliteConnection, file: &Path) -> Result<Backup, BackupError> {
    let file = absolute(file)?;
    let partial = Partial::beside(&file)?;
    let path = partial.text()?;
    for sql in ["pragma query_only = off", "vacuum into $1"] {
        let query = sqlx::query(sql);
        let query = if sql.ends_with("$1") { query.bind(&path) } else { query };
        query.execute(&mut connection).await.map_err(store_error)?;
    }
    connection.close().await.map_err(store_error)?;

    let contents = check(&partial.path).await?;
    if contents.damaged_rows > 0 {
        warn!(
            rows = contents.damaged_rows,
            "the database has damaged rows; they are in the backup as they are"
        );
        let mut copy = open::options(&partial.path).connect().await.map_err(store_error)?;
        meta::put_damaged_rows(&mut copy, contents.damaged_rows).await?;
        copy.close().await.map_err(store_error)?;
    }
    let bytes = partial.finish(&file)?;
    let verify::Contents { documents, updates, damaged_rows } = contents;
    Ok(Backup { file, bytes, documents, updates, damaged_rows })
}

/// Puts the backup `file` in the place of the database `database`, which must not be in use.
///
/// Ids stay as they are. The backup is copied beside the database, checked there, marked as restored
/// ([`Recovery::restored_at`](crate::Recovery::restored_at)), brought to the disk, and takes the name in
/// one step, so an interruption leaves either database. Refuses a database that is there, unless told
/// otherwise, a damaged file, and one that a newer version wrote.
pub async fn restore(
    file: impl AsRef<Path>,
    database: impl AsRef<Path>,
    existing: Existing,
    clock: &dyn Clock,
) -> Result<Restored, BackupError> {
    let (file, database) = (absolute(file.as_ref())?, absolute(database.as_ref())?);
    if !file.is_file() {
        return Err(BackupError::Damaged { path: file, why: "there is no such file".to_owned() });
    }
    if fs::metadata(beside(&file, "-wal")).is_ok_and(|found| found.len() > 0) {
        let why = "it is a database that is in use or was not closed, not a backup";
        return Err(BackupError::Damaged { path: file, why: why.to_owned() });
    }
    let home = Home::at(&database)?;
    if database.exists() && existing == Existing::Keep {
        return Err(BackupError::Exists { path: database });
    }

    let partial = Partial::beside(&database)?;
    partial.fill_from(&file)?;
    // The file is named as people know it, though it is the copy that is looked at.
    let contents = check(&partial.path).await.map_err(|error| match error {
        BackupError::Damaged { why, .. } => BackupError::Damaged { path: file.clone(), why },
        other => other,
    })?;
    let now = clock.now();
    let mut copy = open::options(&partial.path).connect().await.map_err(store_error)?;
    let known_damage = meta::damaged_rows(&mut copy).await?;
    if contents.damaged_rows > known_damage {
        let why = format!("{} of its rows are damaged", contents.damaged_rows - known_damage);
        return Err(BackupError::Damaged { path: file, why });
    }
    meta::mark_restored(&mut copy, now).await?;
    copy.close().await.map_err(store_error)?;

    let replaced = if database.exists() { Some(set_aside(&database, now).await?) } else { None };
    partial.finish(&database)?;
    drop(home);
    Ok(Restored { database, documents: contents.documents, updates: contents.updates, replaced })
}

/// Gives the database a second name, under which it stays.
async fn set_aside(database: &Path, now: OffsetDateTime) -> Result<PathBuf, BackupError> {
    let kept = beside(database, &format!(".replaced-{}", now.unix_timestamp()));
    // What is in its log goes into it, so that it is one file; the log would otherwise be taken for the
    // new database's. A damaged database may refuse; then its log is kept beside it.
    if let Err(error) = empty_log(database).await {
        warn!(%error, "the database that is replaced does not take in its own log");
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| BackupError::Io { path, source }
    };
    fs::hard_link(database, &kept).map_err(failed(&kept))?;
    let (log, kept_log) = (beside(database, "-wal"), beside(&kept, "-wal"));
    let index = beside(database, "-shm");
    // A connection that is just being closed may take both away, and what is in the log goes into the database.
    for (file, outcome) in [(&log, fs::rename(&log, &kept_log)), (&index, fs::remove_file(&index))] {
        match outcome {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(file)(error)),
            _ => {}
        }
    }
    Ok(kept)
}

async fn empty_log(database: &Path) -> Result<(), StoreError> {
    let mut connection = open::options(database).connect().await.map_err(store_error)?;
    let sql = "pragma wal_checkpoint(truncate)";
    sqlx::query(sql).execute(&mut connection).await.map_err(store_error)?;
    connection.close().await.map_err(store_error)
}

/// Opens a copy for reading only, and looks at all of it.
async fn check(path: &Path) -> Result<verify::Contents, BackupError> {
    let damaged = |why: String| BackupError::Damaged { path: path.to_owned(), why };
    let mut connection =
        open::options(path).read_only(true).connect().await.map_err(|error| damaged(error.to_string()))?;
    let contents = verify::contents(&mut connection).await.map_err(|error| match error {
        verify::Unfit::Damaged(why) => damaged(why),
        verify::Unfit::Store(StoreError::Corrupt { table, id }) => damaged(format!("{id} ({table})")),
        verify::Unfit::Store(error) => error.into(),
    })?;
    connection.close().await.map_err(store_error)?;
    Ok(contents)
}

/// A file under a name of its own until it is complete. Removed when dropped before that.
struct Partial {
    path: PathBuf,
    finished: bool,
}

impl Partial {
    fn beside(file: &Path) -> Result<Self, BackupError> {
        let path = beside(file, &format!(".partial-{}", SystemIds.uuid().simple()));
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&path).map_err(|source| BackupError::Io { path: path.clone(), source })?;
        Ok(Self { path, finished: false })
    }

    /// Copies what another file says, but not who may read it.
    fn fill_from(&self, file: &Path) -> Result<(), BackupError> {
        let failed = |source| BackupError::Io { path: file.to_owned(), source };
        let mut from = File::open(file).map_err(failed)?;
        let mut to = File::options().write(true).open(&self.path).map_err(failed)?;
        io::copy(&mut from, &mut to).map(drop).map_err(failed)
    }

    /// The path for SQL, which is text.
    fn text(&self) -> Result<String, BackupError> {
        let text = self.path.to_str().map(str::to_owned);
        text.ok_or_else(|| BackupError::Io {
            path: self.path.clone(),
            source: io::Error::new(io::ErrorKind::InvalidFilename, "the path is not UTF-8"),
        })
    }

    /// Brings it to the disk and gives it its name. Returns its size.
    fn finish(mut self, file: &Path) -> Result<u64, BackupError> {
        let failed = |source| BackupError::Io { path: file.to_owned(), source };
        let partial = File::options().write(true).open(&self.path).map_err(failed)?;
        partial.sync_all().map_err(failed)?;
        let bytes = partial.metadata().map_err(failed)?.len();
        fs::rename(&self.path, file).map_err(failed)?;
        self.finished = true;
        let folder = file.parent().unwrap_or(Path::new("/"));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(bytes)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.finished {
            for suffix in ["", "-journal", "-wal", "-shm"] {
                let _ = fs::remove_file(beside(&self.path, suffix));
            }
        }
    }
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(suffix);
    PathBuf::from(path)
}

fn absolute(path: &Path) -> Result<PathBuf, BackupError> {
    std::path::absolute(path).map_err(|source| BackupError::Io { path: path.to_owned(), source })
}
