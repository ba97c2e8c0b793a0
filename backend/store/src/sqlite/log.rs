//! Reading snapshots and the log, of which old rows are in segments.

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};
use tracing::warn;

use ensemble_protocol::id::{DocumentId, MemberId, NodeId, PeerId, TurnId};

use super::row::{Columns, segment_checksum, snapshot_checksum, store_error, to_micros, update_checksum};
use crate::error::StoreError;
use crate::history::{self, Row};
use crate::record::{Author, Document, Snapshot, Stamp, StoredUpdate};

/// No limit.
pub(super) const ALL: usize = usize::MAX;

const SNAPSHOTS: &str = "
    select document, epoch, seq, bytes, checksum, text_hash, created_at from snapshots
    where document = $1 and epoch = $2 and seq < $3 order by seq desc limit 1";
const UPDATES_FROM: &str = "
    select document, epoch, seq, member, connection, turn, via, bytes, checksum, time, node, counter
    from updates where document = $1 and epoch = $2 and seq >= $3 order by seq limit $4";
const SEGMENT_WITH: &str = "
    select document, epoch, first_seq, last_seq, bytes, checksum from segments
    where document = $1 and epoch = $2 and last_seq >= $3 order by last_seq limit 1";

/// The newest snapshot whose checksum is right.
pub(super) async fn newest_snapshot(
    connection: &mut SqliteConnection,
    document: &Document,
) -> Result<Option<Snapshot>, StoreError> {
    snapshot_below(connection, document, i64::MAX).await
}

/// The newest snapshot with a number below this one whose checksum is right.
pub(super) async fn snapshot_below(
    connection: &mut SqliteConnection,
    document: &Document,
    mut below: i64,
) -> Result<Option<Snapshot>, StoreError> {
    loop {
        let row = sqlx::query(SNAPSHOTS)
            .bind(document.id.as_bytes().as_slice())
            .bind(document.epoch)
            .bind(below)
            .fetch_optional(&mut *connection)
            .await
            .map_err(store_error)?;
        let Some(row) = row else { return Ok(None) };
        let mut columns = Columns::new("snapshots", &row);
        let _document = columns.bytes()?;
        let epoch = columns.number()?;
        let seq: u64 = columns.number()?;
        let snapshot = read_snapshot(&mut columns, document.id, epoch, seq);
        match snapshot {
            Ok(snapshot) if seq <= document.last_seq => return Ok(Some(snapshot)),
            _ => warn!(
                document.id = %document.id,
                "snapshot {epoch}.{seq} of document `{}` is damaged; an older one and more of the log are read instead",
                document.id
            ),
        }
        below = seq.cast_signed();
    }
}

/// Reads what follows the key of a snapshot, in the order of its columns.
pub(super) fn read_snapshot(
    columns: &mut Columns<'_>,
    document: DocumentId,
    epoch: u32,
    seq: u64,
) -> Result<Snapshot, StoreError> {
    let corrupt = || StoreError::corrupt("snapshots", format!("{document} {epoch}.{seq}"));
    let bytes = columns.bytes().map_err(|_| corrupt())?;
    let checksum = columns.integer().map_err(|_| corrupt())?;
    let text_hash = columns.hash().map_err(|_| corrupt())?;
    let created_at = columns.time().map_err(|_| corrupt())?;
    if checksum != snapshot_checksum(document, epoch, seq, text_hash, bytes) {
        return Err(corrupt());
    }
    Ok(Snapshot { epoch, seq, bytes: Bytes::copy_from_slice(bytes), text_hash, created_at })
}

/// Up to `limit` updates after the number `seq`. See [`read_updates`].
pub(super) async fn updates_after(
    connection: &mut SqliteConnection,
    document: &Document,
    seq: u64,
    limit: usize,
) -> Result<Vec<StoredUpdate>, StoreError> {
    let mut found = Vec::new();
    read_updates(connection, document, seq, limit, &mut found).await?;
    Ok(found)
}

/// Reads up to `limit` updates after the number `seq`, without gaps, from the log and from segments.
///
/// A damaged or missing update, or a damaged segment, is [`StoreError::Corrupt`]; what comes before it is
/// in `found` even so. The connection must be in a transaction.
pub(super) async fn read_updates(
    connection: &mut SqliteConnection,
    document: &Document,
    seq: u64,
    limit: usize,
    found: &mut Vec<StoredUpdate>,
) -> Result<(), StoreError> {
    let mut next = seq + 1;
    while found.len() < limit && next <= document.last_seq {
        let before = next;
        // Most of the time everything is in the log, so that is where to look first.
        read_log(connection, document, &mut next, limit, found).await?;
        if found.len() < limit && next <= document.last_seq {
            read_segment(connection, document, &mut next, limit, found).await?;
            if next == before {
                return Err(damaged_update(document.id, next));
            }
        }
    }
    Ok(())
}

/// Reads from the log as far as it goes on without a gap.
async fn read_log(
    connection: &mut SqliteConnection,
    document: &Document,
    next: &mut u64,
    limit: usize,
    found: &mut Vec<StoredUpdate>,
) -> Result<(), StoreError> {
    let mut rows = sqlx::query(UPDATES_FROM)
        .bind(document.id.as_bytes().as_slice())
        .bind(document.epoch)
        .bind(next.cast_signed())
        .bind(i64::try_from(limit - found.len()).unwrap_or(i64::MAX))
        .fetch(connection);
    while let Some(row) = rows.try_next().await.map_err(store_error)? {
        // Damage further on is no concern of this reader, so the number comes first.
        let seq = row.try_get::<i64, _>("seq").map_err(store_error)?;
        if seq != next.cast_signed() {
            break;
        }
        found.push(read_row(document.id, &row)?.update);
        *next += 1;
    }
    Ok(())
}

/// Reads from the segment that holds the update, if one does.
async fn read_segment(
    connection: &mut SqliteConnection,
    document: &Document,
    next: &mut u64,
    limit: usize,
    found: &mut Vec<StoredUpdate>,
) -> Result<(), StoreError> {
    let row = sqlx::query(SEGMENT_WITH)
        .bind(document.id.as_bytes().as_slice())
        .bind(document.epoch)
        .bind(next.cast_signed())
        .fetch_optional(connection)
        .await
        .map_err(store_error)?;
    let Some(row) = row else { return Ok(()) };
    let segment = Segment::read(document.id, document.epoch, &row)?;
    if segment.first_seq > *next {
        return Ok(());
    }
    let skipped = (*next - segment.first_seq) as usize;
    for row in segment.rows.into_iter().skip(skipped).take(limit - found.len()) {
        found.push(row.update);
        *next += 1;
    }
    Ok(())
}

/// A history segment, unpacked and found undamaged.
pub(super) struct Segment {
    pub(super) first_seq: u64,
    pub(super) rows: Vec<Row>,
}

impl Segment {
    pub(super) fn read(document: DocumentId, epoch: u32, row: &SqliteRow) -> Result<Self, StoreError> {
        let mut columns = Columns::new("segments", row);
        let _document = columns.bytes()?;
        let _epoch = columns.integer()?;
        let first_seq: u64 = columns.number()?;
        let last_seq: u64 = columns.number()?;
        let corrupt =
            || StoreError::corrupt("segments", format!("{document} {epoch}.{first_seq} to {last_seq}"));
        let bytes = columns.bytes().map_err(|_| corrupt())?;
        let checksum = columns.integer().map_err(|_| corrupt())?;
        if checksum != segment_checksum(document, epoch, first_seq, last_seq, bytes) {
            return Err(corrupt());
        }
        let rows = history::unpack(bytes, epoch).ok_or_else(corrupt)?;
        let numbered = rows.iter().map(|row| row.update.seq).eq(first_seq..=last_seq);
        if !numbered || !rows.iter().all(|row| is_undamaged(document, row)) {
            return Err(corrupt());
        }
        Ok(Self { first_seq, rows })
    }
}

fn is_undamaged(document: DocumentId, row: &Row) -> bool {
    let StoredUpdate { epoch, author, bytes, at, stamp, .. } = &row.update;
    row.checksum == update_checksum(document, *epoch, author, *stamp, to_micros(*at), bytes)
}

fn damaged_update(document: DocumentId, seq: u64) -> StoreError {
    StoreError::corrupt("updates", format!("{document} {seq}"))
}

/// A row of the log, in the order of the columns of the table's query.
pub(super) fn read_row(document: DocumentId, row: &SqliteRow) -> Result<Row, StoreError> {
    let mut columns = Columns::new("updates", row);
    let _document = columns.bytes()?;
    let epoch = columns.number()?;
    let seq = columns.number()?;
    let corrupt = || damaged_update(document, seq);
    let author = Author {
        member: columns.optional_id(MemberId::from_slice).map_err(|_| corrupt())?,
        connection: columns.optional_id(PeerId::from_slice).map_err(|_| corrupt())?,
        turn: columns.optional_id(TurnId::from_slice).map_err(|_| corrupt())?,
        via: columns.optional_id(MemberId::from_slice).map_err(|_| corrupt())?,
    };
    let bytes = Bytes::copy_from_slice(columns.bytes().map_err(|_| corrupt())?);
    let checksum = columns.integer().map_err(|_| corrupt())?;
    let at = columns.time().map_err(|_| corrupt())?;
    let stamp = Stamp {
        node: columns.id(NodeId::from_slice).map_err(|_| corrupt())?,
        counter: columns.client().map_err(|_| corrupt())?,
    };
    let row = Row { update: StoredUpdate { epoch, seq, author, bytes, at, stamp }, checksum };
    if is_undamaged(document, &row) { Ok(row) } else { Err(corrupt()) }
}
