//! Looking at every row of a database that has a checksum.

use futures_util::TryStreamExt as _;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use ensemble_protocol::id::DocumentId;

use super::log::{self, Segment};
use super::row::{Columns, store_error};
use crate::error::StoreError;

const UPDATES: &str = "
    select document, epoch, seq, member, connection, turn, via, bytes, checksum, time, node, counter
    from updates";
const SNAPSHOTS: &str = "
    select document, epoch, seq, bytes, checksum, text_hash, created_at from snapshots";
const SEGMENTS: &str = "
    select document, epoch, first_seq, last_seq, bytes, checksum from segments";

/// What a database has in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) documents: u64,
    pub(crate) updates: u64,
    pub(crate) damaged_rows: u64,
}

/// Why a file is not a database of ours, or not a whole one.
pub(crate) enum Unfit {
    Damaged(String),
    Store(StoreError),
}

impl From<StoreError> for Unfit {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<sqlx::Error> for Unfit {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(store_error(error))
    }
}

/// Reads all of a database. Changes nothing.
pub(crate) async fn contents(connection: &mut SqliteConnection) -> Result<Contents, Unfit> {
    let verdict = sqlx::query("pragma integrity_check(1)").fetch_one(&mut *connection).await?;
    let verdict: String = verdict.try_get(0)?;
    if verdict != "ok" {
        return Err(Unfit::Damaged(verdict));
    }
    crate::migrate::check_known(connection).await.map_err(|error| match error {
        None => Unfit::Damaged("it is not a database of Ensemble".to_owned()),
        Some(error) => Unfit::Store(error),
    })?;
    if sqlx::query("pragma foreign_key_check").fetch_optional(&mut *connection).await?.is_some() {
        return Err(Unfit::Damaged("rows refer to others that are missing".to_owned()));
    }

    let documents = sqlx::query("select count(*) from documents").fetch_one(&mut *connection).await?;
    let mut contents =
        Contents { documents: documents.try_get::<i64, _>(0)? as u64, updates: 0, damaged_rows: 0 };
    for (table, sql) in [("updates", UPDATES), ("snapshots", SNAPSHOTS), ("segments", SEGMENTS)] {
        let exists = "select 1 from sqlite_schema where type = 'table' and name = $1";
        if sqlx::query(exists).bind(table).fetch_optional(&mut *connection).await?.is_none() {
            // From before there were any.
            continue;
        }
        let mut rows = sqlx::query(sql).fetch(&mut *connection);
        while let Some(row) = rows.try_next().await? {
            match read(table, &row) {
                Ok(updates) => contents.updates += updates,
                Err(_) => contents.damaged_rows += 1,
            }
        }
    }
    Ok(contents)
}

/// How many updates the row holds, if it is as it was written.
fn read(table: &'static str, row: &SqliteRow) -> Result<u64, StoreError> {
    let mut columns = Columns::new(table, row);
    let document = columns.id(DocumentId::from_slice)?;
    let epoch = columns.number()?;
    match table {
        "updates" => log::read_row(document, row).map(|_| 1),
        "snapshots" => {
            let seq = columns.number()?;
            log::read_snapshot(&mut columns, document, epoch, seq).map(|_| 0)
        }
        _ => Segment::read(document, epoch, row).map(|segment| segment.rows.len() as u64),
    }
}
