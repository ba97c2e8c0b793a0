//! The database's shape, step by step.
//!
//! The steps are built into the program. Applying them stops, before anything is changed, at a database
//! that has a step this program does not know.

use std::path::Path;

use sqlx::SqliteConnection;
use sqlx::migrate::{AppliedMigration, Migrate as _, MigrateError, Migrator};

use crate::error::StoreError;
use crate::sqlite;

static SQLITE: Migrator = sqlx::migrate!("../../migrations/sqlite");

/// A step that has not been applied to a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Its number: the time it was written.
    pub version: i64,
    /// What it does, in words.
    pub description: String,
}

/// The steps that the SQLite database at `path` lacks, in order; all of them when there is none.
///
/// Fails with [`StoreError::InUse`] while a server has it open, [`StoreError::NewerSchema`] when it has
/// a step this program does not know.
pub async fn pending(path: impl AsRef<Path>) -> Result<Vec<Pending>, StoreError> {
    if !path.as_ref().exists() {
        return Ok(SQLITE
            .iter()
            .map(|step| Pending { version: step.version, description: step.description.to_string() })
            .collect());
    }
    let (_lock, mut connection) = sqlite::open_alone(path.as_ref()).await?;
    missing(&mut connection).await
}

/// Applies the steps that the SQLite database at `path` lacks, and tells which they were.
///
/// Each is applied whole or not at all, so this may be run again after an interruption. Fails as
/// [`pending`] does, before anything is changed.
pub async fn apply(path: impl AsRef<Path>) -> Result<Vec<Pending>, StoreError> {
    let (_lock, mut connection) = sqlite::open_alone(path.as_ref()).await?;
    let steps = missing(&mut connection).await?;
    run(&mut connection).await?;
    Ok(steps)
}

pub(crate) async fn run(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    for step in missing(connection).await? {
        tracing::info!("applying migration {} ({})", step.version, step.description);
    }
    SQLITE.run_direct(None, connection, false).await.map_err(migration_error)
}

async fn missing(connection: &mut SqliteConnection) -> Result<Vec<Pending>, StoreError> {
    let table = &SQLITE.table_name;
    connection.ensure_migrations_table(table).await.map_err(migration_error)?;
    let applied = connection.list_applied_migrations(table).await.map_err(migration_error)?;
    compare(&applied)?;
    let missing = SQLITE.iter().filter(|step| applied.iter().all(|done| done.version != step.version));
    Ok(missing
        .map(|step| Pending { version: step.version, description: step.description.to_string() })
        .collect())
}

/// Whether every step that was applied to a database is known here. Changes nothing.
///
/// `Err(None)` when the database was never made by steps of ours.
pub(crate) async fn check_known(connection: &mut SqliteConnection) -> Result<(), Option<StoreError>> {
    let applied = connection.list_applied_migrations(&SQLITE.table_name).await.map_err(|_| None)?;
    if applied.is_empty() {
        return Err(None);
    }
    compare(&applied).map_err(Some)
}

fn compare(applied: &[AppliedMigration]) -> Result<(), StoreError> {
    for step in applied {
        let Some(known) = SQLITE.iter().find(|known| known.version == step.version) else {
            return Err(StoreError::NewerSchema { version: step.version });
        };
        if known.checksum != step.checksum {
            return Err(migration_error(MigrateError::VersionMismatch(step.version)));
        }
    }
    Ok(())
}

fn migration_error(error: MigrateError) -> StoreError {
    let version = match &error {
        MigrateError::VersionMissing(version) => return StoreError::NewerSchema { version: *version },
        MigrateError::VersionMismatch(version)
        | MigrateError::Dirty(version)
        | MigrateError::ExecuteMigration(_, version) => *version,
        _ => 0,
    };
    let why = match &error {
        MigrateError::VersionMismatch(_) => {
            "it was changed after it had been applied to this database".to_owned()
        }
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => cause.to_string(),
        other => other.to_string(),
    };
    StoreError::Migration { version, why, source: Some(Box::new(error)) }
}
