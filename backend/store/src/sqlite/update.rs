//! Appending an update to a document's log.

use std::sync::LazyLock;

use sqlx::sqlite::SqliteArguments;
use sqlx::{Row as _, Sqlite, SqliteConnection};
use time::OffsetDateTime;

use ensemble_protocol::id::{DocumentId, Version};

use super::row::{Columns, store_error, to_micros, update_checksum};
use crate::error::{Conflict, StoreError};
use crate::record::{ClientOwner, LedgerActor, LedgerEntry, LedgerKind};
use crate::write::{ClientAdvance, Committed, NewUpdate, Write};

type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

const NEXT_SEQ: &str = "
    update documents set last_seq = last_seq + 1
    where id = $1 and epoch = $2 and deleted_at is null
    returning last_seq";

/// Inserts nothing when the stamp belongs to an update that went into a segment.
const INSERT_UPDATE: &str = "
    insert into updates
        (document, epoch, member, connection, turn, via, bytes, checksum, time, node, counter, seq)
    select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12
    where not exists (select 1 from stamps where node = $10 and counter = $11)";

const ADVANCE_CLIENT: &str = "
    insert into clients (document, client, owner_kind, owner, next_clock)
    select $1, $2, $3, $4, $6
    where $5 = 0 or exists (select 1 from clients where document = $1 and client = $2)
    on conflict (document, client) do update set
        next_clock = excluded.next_clock, owner_kind = excluded.owner_kind, owner = excluded.owner
    where clients.next_clock = $5
        and (clients.owner_kind = 'nobody'
            or (clients.owner_kind = excluded.owner_kind
                and clients.owner is not distinct from excluded.owner))";

/// A whole write of the most common form, one update with at most one client, in one trip to the
/// connection's thread; the trips, not the statements, are what a busy log waits for.
///
/// Whatever does not fit fails a `not null` here: there is no number to take from a document that is
/// missing, nor for a stamp that is in history, and no clock to give to a client that stands elsewhere.
macro_rules! whole_write {
    ($($advance:literal)?) => {
        concat!(
            "savepoint one_write;
            update documents set last_seq = last_seq + 1
            where id = $1 and epoch = $2 and deleted_at is null;
            insert into updates
                (document, epoch, seq, member, connection, turn, via, bytes, checksum, time, node, counter)
            values (
                $1, $2,
                (select last_seq from documents
                    where id = $1 and epoch = $2 and deleted_at is null
                        and not exists (select 1 from stamps where node = $10 and counter = $11)),
                $3, $4, $5, $6, $7, $8, $9, $10, $11
            )
            returning seq;",
            $($advance,)?
            "release one_write",
        )
    };
}

const WHOLE_WRITE: &str = whole_write!();
const WHOLE_WRITE_OF_CLIENT: &str = whole_write!(
    "insert into clients (document, client, owner_kind, owner, next_clock)
    values (
        $1, $12, $13, $14,
        case when $15 = 0 or exists (select 1 from clients where document = $1 and client = $12)
            then $16 end
    )
    on conflict (document, client) do update set next_clock =
        case when clients.next_clock = $15
                and clients.owner_kind = excluded.owner_kind
                and clients.owner is not distinct from excluded.owner
            then excluded.next_clock end;"
);

const SELECT_CLIENT: &str = "
    select document, owner_kind, owner, next_clock from clients where document = $1 and client = $2";

/// Entries of one update that may make entries before them longer. An update with more of them is not a flush of a
/// stream but a deletion here and there, which goes on from nowhere.
const EXTENDING_ENTRIES: usize = 64;

/// Rows of the ledger in one statement: enough that the statement, and not the trip to the connection's thread, is
/// what takes time.
const LEDGER_ROWS: usize = 64;

static INSERT_LEDGER: LazyLock<String> = LazyLock::new(|| insert_ledger_sql(1));
static INSERT_LEDGER_ROWS: LazyLock<String> = LazyLock::new(|| insert_ledger_sql(LEDGER_ROWS));

/// The document, the epoch and the number are the same in all rows; the others follow, row by row.
fn insert_ledger_sql(rows: usize) -> String {
    const SHARED: usize = 3;
    const COLUMNS: usize = 11;
    let row = |row: usize| {
        let first = SHARED + row * COLUMNS + 1;
        let places: Vec<String> = (first..first + COLUMNS).map(|place| format!("${place}")).collect();
        format!("($1, $2, $3, {})", places.join(", "))
    };
    let rows: Vec<String> = (0..rows).map(row).collect();
    format!(
        "insert into ledger
            (document, epoch, seq, position, turn, member, hunk, kind, client, clock, length, text,
             of_client, of_clock)
        values {}",
        rows.join(", ")
    )
}

/// What goes on where an entry of the same hunk ended makes that entry longer: a turn that writes a thousand
/// tokens a second leaves no row for each flush.
///
/// The index is named so that this fails where it cannot be used, rather than take longer with every entry.
const EXTEND_LEDGER: &str = "
    update ledger indexed by ledger_ends set length = length + $7, text = text || $8
    where document = $1 and epoch = $2 and client = $3 and clock + length = $4
        and kind = $5 and turn = $6 and hunk is $9 and (text is null) = ($8 is null)";

const SELECT_LIVE: &str = "select epoch from documents where id = $1 and deleted_at is null";

const SELECT_STAMP: &str = "
    select document, epoch, seq, time from updates where node = $1 and counter = $2
    union all
    select document, epoch, seq, time from stamps where node = $1 and counter = $2
    limit 1";

/// Commits a write of the most common form within a savepoint of its own.
///
/// `None` when it has another form or does not fit what is there. Nothing of it is done then, and the
/// long way tells why.
pub(super) async fn append_alone(
    connection: &mut SqliteConnection,
    write: &Write,
    at: OffsetDateTime,
) -> Result<Option<Committed>, StoreError> {
    let [update] = &write.updates[..] else { return Ok(None) };
    if !write.changes.is_empty() || !update.ledger.is_empty() || update.clients.len() > 1 {
        return Ok(None);
    }
    let advance = update.clients.first();
    let sql = if advance.is_some() { WHOLE_WRITE_OF_CLIENT } else { WHOLE_WRITE };
    let mut query =
        bind_row(sqlx::query(sql).bind(update.document.as_bytes().as_slice()).bind(update.epoch), update, at);
    if let Some(ClientAdvance { client, first, next, owner }) = advance {
        let (kind, id) = owner_columns(owner);
        query = query.bind(client.cast_signed()).bind(kind).bind(id).bind(first).bind(next);
    }
    let error = match query.fetch_all(&mut *connection).await {
        Ok(rows) => {
            let seq = rows.first().and_then(|row| row.try_get::<i64, _>(0).ok());
            let seq = seq.expect("the insert returns a number, or fails") as u64;
            let versions = vec![Version { epoch: update.epoch, seq }];
            return Ok(Some(Committed { versions, at }));
        }
        Err(error) => store_error(error),
    };
    if error.is_unavailable() {
        return Err(error);
    }
    super::run(connection, "rollback to one_write; release one_write").await?;
    Ok(None)
}

pub(super) async fn append(
    connection: &mut SqliteConnection,
    update: &NewUpdate,
    at: OffsetDateTime,
) -> Result<Version, StoreError> {
    let document = update.document;
    let row = sqlx::query(NEXT_SEQ)
        .bind(document.as_bytes().as_slice())
        .bind(update.epoch)
        .fetch_optional(&mut *connection)
        .await
        .map_err(store_error)?;
    let Some(row) = row else {
        return Err(why_not(connection, document, update.epoch).await);
    };
    let seq: i64 = row.try_get(0).map_err(store_error)?;
    let version = Version { epoch: update.epoch, seq: seq as u64 };

    let insert = sqlx::query(INSERT_UPDATE).bind(document.as_bytes().as_slice()).bind(update.epoch);
    let done = bind_row(insert, update, at).bind(seq).execute(&mut *connection).await.map_err(store_error)?;
    if done.rows_affected() == 0 {
        return Err(Conflict::Exists { table: "updates" }.into());
    }

    for advance in &update.clients {
        advance_client(connection, document, advance).await?;
    }
    insert_ledger(connection, document, version, &update.ledger).await?;
    Ok(version)
}

/// Binds what follows the document and the epoch in a row of the log.
fn bind_row<'q>(query: Query<'q>, update: &'q NewUpdate, at: OffsetDateTime) -> Query<'q> {
    let NewUpdate { document, epoch, bytes, author, stamp, .. } = update;
    let micros = to_micros(at);
    query
        .bind(author.member.as_ref().map(|id| id.as_bytes().as_slice()))
        .bind(author.connection.as_ref().map(|id| id.as_bytes().as_slice()))
        .bind(author.turn.as_ref().map(|id| id.as_bytes().as_slice()))
        .bind(author.via.as_ref().map(|id| id.as_bytes().as_slice()))
        .bind(bytes.as_ref())
        .bind(update_checksum(*document, *epoch, author, *stamp, micros, bytes))
        .bind(micros)
        .bind(stamp.node.as_bytes().as_slice())
        .bind(stamp.counter.cast_signed())
}

/// The document cannot take an update of this epoch; says which reason it was.
async fn why_not(connection: &mut SqliteConnection, document: DocumentId, epoch: u32) -> StoreError {
    let live = sqlx::query(SELECT_LIVE)
        .bind(document.as_bytes().as_slice())
        .fetch_optional(connection)
        .await
        .and_then(|row| row.map(|row| row.try_get::<u32, _>(0)).transpose());
    match live {
        Ok(Some(current)) if current != epoch => Conflict::Epoch { document, epoch: current }.into(),
        Ok(_) => StoreError::not_found(format!("document `{document}`")),
        Err(error) => store_error(error),
    }
}

/// How an owner is stored.
pub(super) fn owner_columns(owner: &ClientOwner) -> (&'static str, Option<&[u8]>) {
    match owner {
        ClientOwner::Member(id) => ("member", Some(id.as_bytes())),
        ClientOwner::Turn(id) => ("turn", Some(id.as_bytes())),
        ClientOwner::Server => ("server", None),
        ClientOwner::Nobody => ("nobody", None),
    }
}

async fn advance_client(
    connection: &mut SqliteConnection,
    document: DocumentId,
    advance: &ClientAdvance,
) -> Result<(), StoreError> {
    let ClientAdvance { client, first, next, owner } = advance;
    let (kind, id) = owner_columns(owner);
    let done = sqlx::query(ADVANCE_CLIENT)
        .bind(document.as_bytes().as_slice())
        .bind(client.cast_signed())
        .bind(kind)
        .bind(id)
        .bind(first)
        .bind(next)
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    if done.rows_affected() == 1 {
        return Ok(());
    }
    let row = sqlx::query(SELECT_CLIENT)
        .bind(document.as_bytes().as_slice())
        .bind(client.cast_signed())
        .fetch_optional(connection)
        .await
        .map_err(store_error)?;
    let mut next_clock = 0;
    if let Some(row) = row {
        let mut columns = Columns::new("clients", &row);
        let _document = columns.bytes()?;
        let registered = super::record::owner(&mut columns)?;
        if registered != *owner {
            return Err(Conflict::ClientOwned { document, client: *client, owner: registered }.into());
        }
        next_clock = columns.number()?;
    }
    Err(Conflict::ClientClock { document, client: *client, first: *first, next_clock }.into())
}

async fn insert_ledger(
    connection: &mut SqliteConnection,
    document: DocumentId,
    version: Version,
    ledger: &[LedgerEntry],
) -> Result<(), StoreError> {
    let extending = ledger.len() <= EXTENDING_ENTRIES;
    let mut position = 0;
    for entries in ledger.chunks(LEDGER_ROWS) {
        if !extending && entries.len() == LEDGER_ROWS {
            insert_entries(connection, &INSERT_LEDGER_ROWS, document, version, position, entries).await?;
        } else {
            for (position, entry) in (position..).zip(entries) {
                if !(extending && extend_ledger(connection, document, version, entry).await?) {
                    let entry = std::slice::from_ref(entry);
                    insert_entries(connection, &INSERT_LEDGER, document, version, position, entry).await?;
                }
            }
        }
        position += entries.len() as i64;
    }
    Ok(())
}

/// Makes the entry longer that ends where this one begins, if there is one.
async fn extend_ledger(
    connection: &mut SqliteConnection,
    document: DocumentId,
    version: Version,
    entry: &LedgerEntry,
) -> Result<bool, StoreError> {
    let LedgerActor::Turn(turn) = &entry.by else { return Ok(false) };
    if !matches!(entry.kind, LedgerKind::Inserted | LedgerKind::Deleted) {
        return Ok(false);
    }
    let done = sqlx::query(EXTEND_LEDGER)
        .bind(document.as_bytes().as_slice())
        .bind(version.epoch)
        .bind(entry.client.cast_signed())
        .bind(entry.clock)
        .bind(entry.kind.as_str())
        .bind(turn.as_bytes().as_slice())
        .bind(entry.length)
        .bind(entry.text.as_deref())
        .bind(entry.hunk.map(|hunk| hunk.0))
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(done.rows_affected() > 0)
}

/// Inserts as many entries as the statement has rows.
async fn insert_entries(
    connection: &mut SqliteConnection,
    sql: &'static str,
    document: DocumentId,
    version: Version,
    position: i64,
    entries: &[LedgerEntry],
) -> Result<(), StoreError> {
    let mut query = sqlx::query(sql)
        .bind(document.as_bytes().as_slice())
        .bind(version.epoch)
        .bind(version.seq.cast_signed());
    for (position, entry) in (position..).zip(entries) {
        let (turn, member) = match &entry.by {
            LedgerActor::Turn(turn) => (Some(turn.as_bytes().as_slice()), None),
            LedgerActor::Member(member) => (None, Some(member.as_bytes().as_slice())),
        };
        query = query
            .bind(position)
            .bind(turn)
            .bind(member)
            .bind(entry.hunk.map(|hunk| hunk.0))
            .bind(entry.kind.as_str())
            .bind(entry.client.cast_signed())
            .bind(entry.clock)
            .bind(entry.length)
            .bind(entry.text.as_deref())
            .bind(entry.of.map(|(client, _)| client.cast_signed()))
            .bind(entry.of.map(|(_, clock)| clock));
    }
    query.execute(connection).await.map(drop).map_err(store_error)
}

/// What became of this write when it was committed before, under the same stamps.
pub(super) async fn first_outcome(
    connection: &mut SqliteConnection,
    write: &Write,
) -> Result<Option<Committed>, StoreError> {
    let mut outcome: Option<Committed> = None;
    for (position, update) in write.updates.iter().enumerate() {
        let row = sqlx::query(SELECT_STAMP)
            .bind(update.stamp.node.as_bytes().as_slice())
            .bind(update.stamp.counter.cast_signed())
            .fetch_optional(&mut *connection)
            .await
            .map_err(store_error)?;
        match row {
            None if outcome.is_none() => {
                // The first stamp is new. If a later one is not, the write was put together wrongly, and
                // its own failure is the better answer.
                return Ok(None);
            }
            None => return Err(Conflict::Stamp.into()),
            Some(row) => {
                let mut columns = Columns::new("updates", &row);
                let document = columns.id(DocumentId::from_slice)?;
                if document != update.document {
                    return Err(Conflict::Stamp.into());
                }
                let version = Version { epoch: columns.number()?, seq: columns.number()? };
                let at = columns.time()?;
                let outcome = outcome
                    .get_or_insert_with(|| Committed { versions: Vec::with_capacity(position + 1), at });
                outcome.versions.push(version);
            }
        }
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Connection as _};

    use super::*;

    /// Looking for the entry that ends here must not mean looking at all entries of a client.
    #[tokio::test]
    async fn an_entry_is_found_by_where_it_ends() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        crate::migrate::run(&mut connection).await.unwrap();
        let explain = AssertSqlSafe(format!("explain query plan {EXTEND_LEDGER}"));
        let rows = sqlx::query(explain).fetch_all(&mut connection).await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
        let expected = "SEARCH ledger USING INDEX ledger_ends (document=? AND client=? AND <expr>=?";
        assert!(matches!(&plan[..], [step] if step.starts_with(expected)), "{plan:?}");
    }
}
