//! Between rows and records.

use sha2::{Digest as _, Sha256};
use sqlx::sqlite::{SqliteRow, SqliteValueRef};
use sqlx::{Decode, Row as _, Sqlite, Type, ValueRef as _};
use time::OffsetDateTime;

use ensemble_protocol::id::{DocumentId, MemberId, PeerId, Role, TurnId};

use crate::error::{Conflict, StoreError};
use crate::record::{Author, Hash, Stamp};

/// Microseconds since 1970, as times are stored.
pub(super) fn to_micros(time: OffsetDateTime) -> i64 {
    (time.unix_timestamp_nanos() / 1000) as i64
}

pub(super) fn from_micros(micros: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).ok()
}

/// Reads the columns of a row from left to right; the first one names the row when it makes no sense.
pub(super) struct Columns<'r> {
    row: &'r SqliteRow,
    table: &'static str,
    next: usize,
}

impl<'r> Columns<'r> {
    pub(super) fn new(table: &'static str, row: &'r SqliteRow) -> Self {
        Self { row, table, next: 0 }
    }

    /// The row as an error.
    pub(super) fn corrupt(&self) -> StoreError {
        let key: Option<String> = self.row.try_get_raw(0).ok().and_then(describe_key);
        StoreError::corrupt(self.table, key.unwrap_or_else(|| "unknown".to_owned()))
    }

    fn get<T: Decode<'r, Sqlite> + Type<Sqlite>>(&mut self) -> Result<T, StoreError> {
        let index = self.next;
        self.next += 1;
        self.row.try_get(index).map_err(|_| self.corrupt())
    }

    pub(super) fn text(&mut self) -> Result<String, StoreError> {
        self.get()
    }

    pub(super) fn optional_text(&mut self) -> Result<Option<String>, StoreError> {
        self.get()
    }

    pub(super) fn bytes(&mut self) -> Result<&'r [u8], StoreError> {
        self.get()
    }

    pub(super) fn integer(&mut self) -> Result<i64, StoreError> {
        self.get()
    }

    /// A number that was stored as another type of the same size or smaller.
    pub(super) fn number<T: TryFrom<i64>>(&mut self) -> Result<T, StoreError> {
        let number = self.integer()?;
        T::try_from(number).map_err(|_| self.corrupt())
    }

    pub(super) fn optional_number<T: TryFrom<i64>>(&mut self) -> Result<Option<T>, StoreError> {
        let number: Option<i64> = self.get()?;
        number.map(|number| T::try_from(number).map_err(|_| self.corrupt())).transpose()
    }

    /// A client id: all 64 bits count, whatever sign they give.
    pub(super) fn client(&mut self) -> Result<u64, StoreError> {
        self.integer().map(i64::cast_unsigned)
    }

    pub(super) fn id<T>(&mut self, from: impl Fn(&[u8]) -> Option<T>) -> Result<T, StoreError> {
        let bytes = self.bytes()?;
        from(bytes).ok_or_else(|| self.corrupt())
    }

    pub(super) fn optional_id<T>(
        &mut self,
        from: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        let bytes: Option<&[u8]> = self.get()?;
        bytes.map(|bytes| from(bytes).ok_or_else(|| self.corrupt())).transpose()
    }

    pub(super) fn hash(&mut self) -> Result<Hash, StoreError> {
        self.id(|bytes| bytes.try_into().ok().map(Hash))
    }

    pub(super) fn word<T>(&mut self, from: impl Fn(&str) -> Option<T>) -> Result<T, StoreError> {
        let word: &str = self.get()?;
        from(word).ok_or_else(|| self.corrupt())
    }

    pub(super) fn role(&mut self) -> Result<Role, StoreError> {
        self.word(|word| word.parse().ok())
    }

    pub(super) fn time(&mut self) -> Result<OffsetDateTime, StoreError> {
        let micros = self.integer()?;
        from_micros(micros).ok_or_else(|| self.corrupt())
    }

    pub(super) fn optional_time(&mut self) -> Result<Option<OffsetDateTime>, StoreError> {
        let micros: Option<i64> = self.get()?;
        micros.map(|micros| from_micros(micros).ok_or_else(|| self.corrupt())).transpose()
    }

    pub(super) fn optional_json(&mut self) -> Result<Option<serde_json::Value>, StoreError> {
        let json: Option<&str> = self.get()?;
        json.map(|json| serde_json::from_str(json).map_err(|_| self.corrupt())).transpose()
    }
}

/// The key of a damaged row, as far as it can be told: an id as it is written everywhere, or a number.
fn describe_key(value: SqliteValueRef<'_>) -> Option<String> {
    if value.is_null() {
        return None;
    }
    if let Ok(bytes) = <&[u8] as Decode<Sqlite>>::decode(value) {
        return DocumentId::from_slice(bytes).map(|id| id.to_string());
    }
    None
}

/// First eight bytes of the SHA-256 of everything a log row says but its number, so that a flipped bit
/// anywhere in it shows. A number that is wrong shows as a gap.
pub(super) fn update_checksum(
    document: DocumentId,
    epoch: u32,
    author: &Author,
    stamp: Stamp,
    micros: i64,
    bytes: &[u8],
) -> i64 {
    let mut sum = Sha256::new();
    sum.update(document.as_bytes());
    sum.update(epoch.to_le_bytes());
    for id in [
        author.member.as_ref().map(MemberId::as_bytes),
        author.connection.as_ref().map(PeerId::as_bytes),
        author.turn.as_ref().map(TurnId::as_bytes),
        author.via.as_ref().map(MemberId::as_bytes),
    ] {
        // Absent and zero differ by the byte before.
        sum.update([u8::from(id.is_some())]);
        sum.update(id.unwrap_or(&[0; 16]));
    }
    sum.update(stamp.node.as_bytes());
    sum.update(stamp.counter.to_le_bytes());
    sum.update(micros.to_le_bytes());
    sum.update(bytes);
    first_eight(sum)
}

/// The same for a snapshot.
pub(super) fn snapshot_checksum(
    document: DocumentId,
    epoch: u32,
    seq: u64,
    text_hash: Hash,
    bytes: &[u8],
) -> i64 {
    let mut sum = Sha256::new();
    sum.update(document.as_bytes());
    sum.update(epoch.to_le_bytes());
    sum.update(seq.to_le_bytes());
    sum.update(text_hash.0);
    sum.update(bytes);
    first_eight(sum)
}

/// The same for a history segment, over its packed bytes.
pub(super) fn segment_checksum(
    document: DocumentId,
    epoch: u32,
    first_seq: u64,
    last_seq: u64,
    bytes: &[u8],
) -> i64 {
    let mut sum = Sha256::new();
    sum.update(document.as_bytes());
    sum.update(epoch.to_le_bytes());
    sum.update(first_seq.to_le_bytes());
    sum.update(last_seq.to_le_bytes());
    sum.update(bytes);
    first_eight(sum)
}

fn first_eight(sum: Sha256) -> i64 {
    let digest: [u8; 32] = sum.finalize().into();
    i64::from_le_bytes(*digest.first_chunk().expect("a digest is longer than eight bytes"))
}

/// SQLite's result code without its details.
pub(super) fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

/// Whether the disk itself failed, as opposed to being full or locked.
pub(super) fn is_disk_failure(error: &StoreError) -> bool {
    /// SQLite's code for input and output that failed.
    const IOERR: i32 = 10;
    let StoreError::Unavailable { source: Some(source), .. } = error else { return false };
    source.downcast_ref::<sqlx::Error>().and_then(primary_code) == Some(IOERR)
}

/// What an error of the database means to the caller.
pub(crate) fn store_error(error: sqlx::Error) -> StoreError {
    /// locked (5, 6, 15), out of memory (7), read-only (8), interrupted (9), input or output (10),
    /// full (13), cannot be opened (14)
    const PASSING: [i32; 9] = [5, 6, 7, 8, 9, 10, 13, 14, 15];
    /// malformed (11), not a database (26)
    const DAMAGED: [i32; 2] = [11, 26];

    let why = match error.as_database_error() {
        Some(cause) => cause.message().to_owned(),
        None => error.to_string(),
    };
    match (&error, primary_code(&error)) {
        (sqlx::Error::PoolClosed, _) => StoreError::Closed,
        (sqlx::Error::Database(cause), Some(code)) => {
            if cause.is_unique_violation() {
                unique_violation(cause.message()).into()
            } else if cause.is_foreign_key_violation() {
                StoreError::not_found("something this write refers to")
            } else if PASSING.contains(&code) {
                StoreError::Unavailable { why, source: Some(Box::new(error)) }
            } else if DAMAGED.contains(&code) {
                StoreError::corrupt("the whole database", why)
            } else {
                StoreError::Refused { why, source: Some(Box::new(error)) }
            }
        }
        (sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed, _) => {
            StoreError::Unavailable { why, source: Some(Box::new(error)) }
        }
        _ => StoreError::Refused { why, source: Some(Box::new(error)) },
    }
}

/// Reads what SQLite says: `UNIQUE constraint failed: documents.project, documents.kind, documents.path`.
fn unique_violation(message: &str) -> Conflict {
    const TABLES: [&str; 11] = [
        "members",
        "projects",
        "sessions",
        "tokens",
        "invites",
        "documents",
        "updates",
        "snapshots",
        "clients",
        "turns",
        "ledger",
    ];
    let columns = message.rsplit(": ").next().unwrap_or_default();
    if columns.split(", ").any(|column| column == "documents.path") {
        return Conflict::PathTaken;
    }
    let table = columns.split('.').next().unwrap_or_default();
    let table = TABLES.into_iter().find(|known| *known == table).unwrap_or("the database");
    Conflict::Exists { table }
}
