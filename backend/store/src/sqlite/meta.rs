//! What the database says about itself.

use sqlx::{Row as _, SqliteConnection};
use time::OffsetDateTime;

use ensemble_protocol::id::NodeId;

use super::row::{from_micros, store_error, to_micros};
use crate::error::StoreError;
use crate::record::Recovery;

/// Whether a server has the database open, or had when it died.
const STATE: &str = "state";
const OPEN: &str = "open";
const CLOSED: &str = "closed";

/// When a backup was last restored into it, in microseconds.
const RECOVERED_AT: &str = "recovered_at";

/// The server run that has it, or had it last.
pub(super) const NODE: &str = "node";

/// Rows that were damaged already when the backup was made.
const DAMAGED_ROWS: &str = "damaged_rows";

const PUT: &str = "insert or replace into meta (key, value) values ($1, $2)";
const GET: &str = "select value from meta where key = $1";

pub(super) async fn put(connection: &mut SqliteConnection, key: &str, value: &str) -> Result<(), StoreError> {
    sqlx::query(PUT).bind(key).bind(value).execute(connection).await.map(drop).map_err(store_error)
}

async fn get(connection: &mut SqliteConnection, key: &str) -> Result<Option<String>, StoreError> {
    let row = sqlx::query(GET).bind(key).fetch_optional(connection).await.map_err(store_error)?;
    row.map(|row| row.try_get(0)).transpose().map_err(store_error)
}

/// How the last run ended.
pub(super) async fn recovery(connection: &mut SqliteConnection) -> Result<Recovery, StoreError> {
    let unclean_stop = match get(connection, STATE).await?.as_deref() {
        Some(CLOSED) => false,
        Some(_) => true,
        // A new database, or one from before this was written down; then there is no way to tell.
        None => {
            let documents = sqlx::query("select 1 from documents limit 1").fetch_optional(&mut *connection);
            documents.await.map_err(store_error)?.is_some()
        }
    };
    let restored_at = get(connection, RECOVERED_AT).await?;
    let previous_node = get(connection, NODE).await?;
    Ok(Recovery {
        unclean_stop,
        restored_at: restored_at.and_then(|micros| micros.parse().ok()).and_then(from_micros),
        previous_node: previous_node.and_then(|node| node.parse::<NodeId>().ok()),
    })
}

/// From here on, a run that ends without [`mark_closed`] ended uncleanly.
pub(super) async fn mark_open(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    put(connection, STATE, OPEN).await
}

pub(super) async fn mark_closed(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    put(connection, STATE, CLOSED).await
}

/// A restored database was closed by nobody, but nothing in it is half done either; that people may be
/// ahead of it is said by the time.
pub(crate) async fn mark_restored(
    connection: &mut SqliteConnection,
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    put(connection, STATE, CLOSED).await?;
    put(connection, RECOVERED_AT, &to_micros(at).to_string()).await
}

pub(crate) async fn put_damaged_rows(connection: &mut SqliteConnection, rows: u64) -> Result<(), StoreError> {
    put(connection, DAMAGED_ROWS, &rows.to_string()).await
}

pub(crate) async fn damaged_rows(connection: &mut SqliteConnection) -> Result<u64, StoreError> {
    let rows = get(connection, DAMAGED_ROWS).await?;
    Ok(rows.and_then(|rows| rows.parse().ok()).unwrap_or(0))
}
