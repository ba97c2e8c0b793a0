//! Moving old log rows into history segments, in the background.
//!
//! One task looks where there is something to move, reads the rows on a reading connection, packs them,
//! unpacks them again and compares. Only then the writer is asked to put the segment in the place of its
//! rows, in one short transaction. Rows of the log never change, so they need not be read again there;
//! that all of them are still there is checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::TryStreamExt as _;
use sqlx::{Row as _, SqliteConnection, SqlitePool};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use ensemble_protocol::id::DocumentId;

use super::change::SNAPSHOTS_KEPT;
use super::log;
use super::open::Home;
use super::row::{Columns, segment_checksum, store_error, to_micros};
use crate::error::StoreError;
use crate::history::{self, ROW_OVERHEAD_BYTES, Row};

/// Most rows in a segment, so that putting one in the place of its rows takes the writer a few
/// milliseconds and no commit waits longer for it.
const SEGMENT_ROWS: usize = 256;

/// Bytes of rows, unpacked, after which a segment takes no further one. A single update may be larger.
const SEGMENT_BYTES: usize = 256 * 1024;

/// Fewer rows than this are left in the log until there are more: a segment for each handful of rows
/// would save nothing.
const SEGMENT_LEAST_ROWS: usize = 32;

/// How long the stamp of an update that went into a segment is remembered, counted from its commit. A
/// write is sent again by the run of the server that made it, seconds after its fate became unknown; an
/// hour is far beyond that.
pub(super) const STAMP_WINDOW: time::Duration = time::Duration::hours(1);

/// Stamps forgotten at a time, which keeps up with a segment's worth of new ones.
const STAMPS_FORGOTTEN: u32 = 512;

/// Documents that wait to be looked at. When there are more, all are looked through.
const WANTED_DOCUMENTS: usize = 1024;

/// Documents found at a time when all are looked through.
const SWEEP_PAGE: u32 = 256;

const CANDIDATES: &str = "
    select document from snapshots where document > $1
    group by document having count(*) >= $2 order by document limit $3";
const KEPT_SNAPSHOTS: &str = "
    select document, epoch, seq, bytes, checksum, text_hash, created_at from snapshots
    where document = $1 order by epoch desc, seq desc limit $2";
const OLDEST_KEPT: &str = "
    select epoch, seq from snapshots
    where document = $1 order by epoch desc, seq desc limit 1 offset $2";
const OLDEST_ROWS: &str = "
    select document, epoch, seq, member, connection, turn, via, bytes, checksum, time, node, counter
    from updates where document = $1 and (epoch, seq) <= ($2, $3) order by epoch, seq limit $4";

const INSERT_SEGMENT: &str = "
    insert into segments (document, epoch, first_seq, last_seq, bytes, checksum, created_at)
    values ($1, $2, $3, $4, $5, $6, $7)
    returning bytes = $5 and checksum = $6";
const KEEP_STAMPS: &str = "
    insert or replace into stamps (node, counter, document, epoch, seq, time)
    select node, counter, document, epoch, seq, time from updates
    where document = $1 and epoch = $2 and seq between $3 and $4 and time >= $5";
const FORGET_STAMPS: &str = "
    delete from stamps where (node, counter) in (
        select node, counter from stamps where time < $1 order by time limit $2
    )";
const DELETE_ROWS: &str = "
    delete from updates where document = $1 and epoch = $2 and seq between $3 and $4";

/// A segment that is to take the place of its rows, and where to say what came of it.
pub(super) struct Move {
    segment: Packed,
    done: oneshot::Sender<Result<(), StoreError>>,
}

/// Rows in the form they are kept in.
struct Packed {
    document: DocumentId,
    epoch: u32,
    first_seq: u64,
    last_seq: u64,
    bytes: Vec<u8>,
}

/// Tells the pruner where to look. Never waits.
#[derive(Clone)]
pub(super) struct Wanted {
    documents: mpsc::Sender<DocumentId>,
    all: Arc<AtomicBool>,
}

impl Wanted {
    /// A snapshot of this document was committed.
    pub(super) fn look_at(&self, document: DocumentId) {
        if self.documents.try_send(document).is_err() {
            self.all.store(true, Ordering::Relaxed);
        }
    }
}

/// The task. It ends when the writer does.
pub(super) struct Pruner {
    wanted: mpsc::Receiver<DocumentId>,
    all: Arc<AtomicBool>,
    readers: SqlitePool,
    writer: mpsc::Sender<Move>,
    /// Others stay out until this task is over as well.
    _home: Arc<Home>,
}

/// What the writer tells the pruner by, and what the pruner hears it with.
pub(super) fn wanted() -> (Wanted, mpsc::Receiver<DocumentId>) {
    let (documents, heard) = mpsc::channel(WANTED_DOCUMENTS);
    // All are looked through once at the start: the run before may have left something.
    (Wanted { documents, all: Arc::new(AtomicBool::new(true)) }, heard)
}

impl Pruner {
    pub(super) fn new(
        wanted: &Wanted,
        heard: mpsc::Receiver<DocumentId>,
        readers: SqlitePool,
        writer: mpsc::Sender<Move>,
        home: Arc<Home>,
    ) -> Self {
        Self { wanted: heard, all: Arc::clone(&wanted.all), readers, writer, _home: home }
    }

    pub(super) async fn run(mut self) {
        loop {
            if self.all.swap(false, Ordering::Relaxed)
                && let Err(error) = self.sweep().await
            {
                debug!(%error, "looking for old log rows in all documents did not work");
            }
            let Some(document) = self.wanted.recv().await else { return };
            self.prune(document).await;
        }
    }

    async fn sweep(&mut self) -> Result<(), StoreError> {
        let mut after = Vec::new();
        loop {
            let rows = sqlx::query(CANDIDATES)
                .bind(&after)
                .bind(SNAPSHOTS_KEPT)
                .bind(SWEEP_PAGE)
                .fetch_all(&self.readers)
                .await
                .map_err(store_error)?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.try_get(0).map_err(store_error)?;
            for row in &rows {
                let document = Columns::new("snapshots", row).id(DocumentId::from_slice)?;
                if self.writer.is_closed() {
                    return Ok(());
                }
                self.prune(document).await;
            }
        }
    }

    /// Moves all there is to move of a document. A failure leaves the rest for the next snapshot.
    async fn prune(&self, document: DocumentId) {
        loop {
            match self.step(document).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error @ StoreError::Corrupt { .. }) => {
                    warn!(document.id = %document, %error, "old log rows stay where they are");
                    return;
                }
                Err(error) => {
                    debug!(document.id = %document, %error, "old log rows were not moved");
                    return;
                }
            }
        }
    }

    async fn step(&self, document: DocumentId) -> Result<bool, StoreError> {
        let Some((epoch, rows)) = self.movable(document).await? else { return Ok(false) };
        let packing = tokio::task::spawn_blocking(move || pack(document, epoch, &rows));
        let segment = packing.await.map_err(|_| StoreError::Closed)??;
        let (done, outcome) = oneshot::channel();
        let sent = self.writer.send(Move { segment, done }).await;
        sent.map_err(|_| StoreError::Closed)?;
        outcome.await.map_err(|_| StoreError::Closed)??;
        Ok(true)
    }

    /// The oldest rows no kept snapshot needs, if they are worth a segment.
    async fn movable(&self, document: DocumentId) -> Result<Option<(u32, Vec<Row>)>, StoreError> {
        let mut transaction = self.readers.begin().await.map_err(store_error)?;
        let connection = &mut *transaction;
        let oldest = sqlx::query(OLDEST_KEPT)
            .bind(document.as_bytes().as_slice())
            .bind(SNAPSHOTS_KEPT - 1)
            .fetch_optional(&mut *connection)
            .await
            .map_err(store_error)?;
        let Some(oldest) = oldest else { return Ok(None) };
        let mut columns = Columns::new("snapshots", &oldest);
        let (epoch, seq) = (columns.number::<u32>()?, columns.number::<u64>()?);

        let mut rows: Vec<Row> = Vec::new();
        {
            let mut bytes = 0;
            let mut found = sqlx::query(OLDEST_ROWS)
                .bind(document.as_bytes().as_slice())
                .bind(epoch)
                .bind(seq.cast_signed())
                .bind(SEGMENT_ROWS as i64)
                .fetch(&mut *connection);
            while bytes < SEGMENT_BYTES
                && let Some(row) = found.try_next().await.map_err(store_error)?
            {
                // A damaged row ends the moving, and is still there for somebody to look at.
                let row = log::read_row(document, &row)?;
                if let Some(last) = rows.last()
                    && (last.update.epoch, last.update.seq + 1) != (row.update.epoch, row.update.seq)
                {
                    break;
                }
                bytes += row.update.bytes.len() + ROW_OVERHEAD_BYTES;
                rows.push(row);
            }
            if rows.len() < SEGMENT_LEAST_ROWS && bytes < SEGMENT_BYTES {
                return Ok(None);
            }
        }
        check_snapshots(connection, document).await?;
        let epoch = rows.first().map_or(epoch, |row| row.update.epoch);
        Ok(Some((epoch, rows)))
    }
}

/// Rows are moved only behind three snapshots that are all good.
async fn check_snapshots(connection: &mut SqliteConnection, document: DocumentId) -> Result<(), StoreError> {
    let mut rows = sqlx::query(KEPT_SNAPSHOTS)
        .bind(document.as_bytes().as_slice())
        .bind(SNAPSHOTS_KEPT)
        .fetch(connection);
    while let Some(row) = rows.try_next().await.map_err(store_error)? {
        let mut columns = Columns::new("snapshots", &row);
        let _document = columns.bytes()?;
        let (epoch, seq) = (columns.number()?, columns.number()?);
        log::read_snapshot(&mut columns, document, epoch, seq)?;
    }
    Ok(())
}

/// Packs rows, unpacks them again and compares.
fn pack(document: DocumentId, epoch: u32, rows: &[Row]) -> Result<Packed, StoreError> {
    let bytes = history::pack(rows);
    let (first, last) = (rows.first().expect("there are rows"), rows.last().expect("there are rows"));
    let (first_seq, last_seq) = (first.update.seq, last.update.seq);
    if history::unpack(&bytes, epoch).as_deref() != Some(rows) {
        let why = format!("updates {first_seq} to {last_seq} of `{document}` do not unpack as they were");
        return Err(StoreError::Refused { why, source: None });
    }
    Ok(Packed { document, epoch, first_seq, last_seq, bytes })
}

/// Puts a segment in the place of its rows, and answers.
pub(super) async fn make_move(connection: &mut SqliteConnection, order: Move, now: OffsetDateTime) -> bool {
    let moved = replace_rows(connection, &order.segment, now).await;
    let failed = moved.is_err();
    if failed {
        let _ = super::run(connection, "rollback").await;
    }
    let _ = order.done.send(moved);
    !failed
}

impl Move {
    /// Says that it was not done.
    pub(super) fn refuse(self, why: StoreError) {
        let _ = self.done.send(Err(why));
    }
}

async fn replace_rows(
    connection: &mut SqliteConnection,
    segment: &Packed,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let Packed { document, epoch, first_seq, last_seq, bytes } = segment;
    let keyed = |sql| {
        sqlx::query(sql)
            .bind(document.as_bytes().as_slice())
            .bind(epoch)
            .bind(first_seq.cast_signed())
            .bind(last_seq.cast_signed())
    };
    let changed = || StoreError::corrupt("updates", format!("{document} {epoch}.{first_seq} to {last_seq}"));
    let stamps_from = to_micros(now.saturating_sub(STAMP_WINDOW));

    super::run(connection, "begin immediate").await?;
    let inserted = keyed(INSERT_SEGMENT)
        .bind(bytes.as_slice())
        .bind(segment_checksum(*document, *epoch, *first_seq, *last_seq, bytes))
        .bind(to_micros(now))
        .fetch_one(&mut *connection)
        .await
        .map_err(store_error)?;
    if !inserted.try_get::<bool, _>(0).map_err(store_error)? {
        return Err(changed());
    }
    keyed(KEEP_STAMPS).bind(stamps_from).execute(&mut *connection).await.map_err(store_error)?;
    let deleted = keyed(DELETE_ROWS).execute(&mut *connection).await.map_err(store_error)?;
    if deleted.rows_affected() != last_seq - first_seq + 1 {
        return Err(changed());
    }
    sqlx::query(FORGET_STAMPS)
        .bind(stamps_from)
        .bind(STAMPS_FORGOTTEN)
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    super::run(connection, "commit").await
}
