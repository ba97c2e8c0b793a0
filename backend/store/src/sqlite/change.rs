//! Changing rows.

use sqlx::sqlite::{SqliteArguments, SqliteQueryResult};
use sqlx::{Row as _, Sqlite, SqliteConnection};
use time::OffsetDateTime;

use ensemble_protocol::id::{DocumentId, InviteId, MemberId, ProjectId, TurnId};
use ensemble_protocol::rest::{Review, TurnStatus};

use super::row::{snapshot_checksum, store_error, to_micros};
use crate::error::{Conflict, StoreError};
use crate::quarantine::{QUARANTINE_BYTES, QUARANTINE_UPDATES};
use crate::record::{DocumentKind, HunkRecord, TurnRecord};
use crate::write::{Change, NewSnapshot, TurnUpdate};

type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

const INSERT_MEMBER: &str = "insert into members (id, name, color, created_at) values ($1, $2, $3, $4)";
const RENAME_MEMBER: &str = "update members set name = $2 where id = $1";

const INSERT_SESSION: &str = "
    insert into sessions (id, member, hash, created_at, last_seen_at, expires_at)
    values ($1, $2, $3, $4, $4, $5)";
const TOUCH_SESSION: &str = "update sessions set last_seen_at = $2, expires_at = $3 where id = $1";
const DELETE_SESSION: &str = "delete from sessions where id = $1";

const INSERT_TOKEN: &str = "
    insert into tokens (id, hash, member, project, role, name, created_at, expires_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8)";
const DELETE_TOKEN: &str = "delete from tokens where id = $1";

const INSERT_PROJECT: &str = "
    insert into projects (id, name, tree, turns, created_at) values ($1, $2, $3, $4, $5)";
const RENAME_PROJECT: &str = "update projects set name = $2 where id = $1";

const PUT_MEMBERSHIP: &str = "
    insert into memberships (project, member, role, created_at, invite) values ($1, $2, $3, $4, $5)
    on conflict (project, member) do update set role = excluded.role, invite = excluded.invite";
const DELETE_MEMBERSHIP: &str = "delete from memberships where project = $1 and member = $2";

const INSERT_INVITE: &str = "
    insert into invites (id, project, role, hash, created_by, created_at, expires_at, max_uses)
    values ($1, $2, $3, $4, $5, $6, $7, $8)";
const USE_INVITE: &str = "
    update invites set uses = uses + 1
    where id = $1 and revoked_at is null
        and (expires_at is null or expires_at > $2)
        and (max_uses is null or uses < max_uses)";
const REVOKE_INVITE: &str = "update invites set revoked_at = $2 where id = $1 and revoked_at is null";
const INVITE_EXISTS: &str = "select 1 from invites where id = $1";

const INSERT_DOCUMENT: &str = "
    insert into documents (id, project, path, kind, epoch, created_at) values ($1, $2, $3, $4, $5, $6)";
const RENAME_DOCUMENT: &str = "
    update documents set path = $2 where id = $1 and kind = 'text' and deleted_at is null";
const RESTORE_DOCUMENT: &str = "
    update documents set deleted_at = null where id = $1 and kind = 'text' and deleted_at is not null";
const DELETE_DOCUMENT: &str = "
    update documents set deleted_at = $2 where id = $1 and kind = 'text' and deleted_at is null";

const INSERT_TURN: &str = "
    insert into turns
        (id, project, agent, member, prompt, status, documents, answer, usage, error_code, error_detail,
         review, node, created_at, finished_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
const UPDATE_TURN: &str = "
    update turns set
        status = coalesce($2, status),
        answer = coalesce($3, answer),
        documents = coalesce($4, documents),
        usage = coalesce($5, usage),
        error_code = coalesce($6, error_code),
        error_detail = coalesce($7, error_detail),
        finished_at = coalesce($8, finished_at),
        review = coalesce($9, review)
    where id = $1
        and ($10 or status in ('queued', 'running'))";
const TURN_EXISTS: &str = "select 1 from turns where id = $1";

const PUT_HUNK: &str = "
    insert into hunks
        (turn, hunk, document, path, state, anchor, head, inserted, deleted, line, reason)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    on conflict (turn, hunk) do update set
        document = excluded.document, path = excluded.path, state = excluded.state,
        anchor = excluded.anchor, head = excluded.head, inserted = excluded.inserted,
        deleted = excluded.deleted, line = excluded.line, reason = excluded.reason";

const PUT_SNAPSHOT: &str = "
    insert into snapshots (document, epoch, seq, bytes, checksum, text_hash, created_at)
    select $1, $2, $3, $4, $5, $6, $7
    where exists (select 1 from documents where id = $1 and epoch = $2 and last_seq >= $3)
    on conflict (document, epoch, seq) do update set
        bytes = excluded.bytes, checksum = excluded.checksum, text_hash = excluded.text_hash,
        created_at = excluded.created_at";
const DROP_OLD_SNAPSHOTS: &str = "
    delete from snapshots
    where document = $1 and (epoch, seq) not in (
        select epoch, seq from snapshots where document = $1 order by epoch desc, seq desc limit $2
    )";
const SELECT_EPOCH: &str = "select epoch from documents where id = $1";

const PUT_QUARANTINE: &str = "
    insert into quarantine (document, hash, bytes, reason, at, member) values ($1, $2, $3, $4, $5, $6)
    on conflict (document, hash) do nothing";
const DROP_OLD_QUARANTINE: &str = "
    delete from quarantine where (document, hash) in (
        select document, hash from (
            select document, hash,
                row_number() over newest as number, sum(length(bytes)) over newest as bytes
            from quarantine
            window newest as (order by at desc, rowid desc rows unbounded preceding)
        ) where number > $1 or bytes > $2
    )";

const NOTE_LOAD_FAILURE: &str = "
    insert into load_failures (document, failures, at) values ($1, 1, $2)
    on conflict (document) do update set failures = failures + 1, at = excluded.at";
const CLEAR_LOAD_FAILURES: &str = "delete from load_failures where document = $1";

/// Snapshots kept of a document: should the newest be damaged there is another, and one for luck.
pub(super) const SNAPSHOTS_KEPT: u32 = 3;

pub(super) async fn apply(
    connection: &mut SqliteConnection,
    change: &Change,
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    let now = to_micros(at);
    match change {
        Change::CreateMember { id, name, color } => {
            run(connection, query(INSERT_MEMBER, id.as_bytes()).bind(name).bind(color).bind(now)).await?;
        }
        Change::RenameMember { id, name } => {
            let done = run(connection, query(RENAME_MEMBER, id.as_bytes()).bind(name)).await?;
            expect_member(&done, *id)?;
        }
        Change::CreateSession { id, member, hash, expires_at } => {
            let insert = query(INSERT_SESSION, id.as_bytes())
                .bind(member.as_bytes().as_slice())
                .bind(hash.0.as_slice())
                .bind(now)
                .bind(to_micros(*expires_at));
            run(connection, insert).await?;
        }
        Change::TouchSession { id, expires_at } => {
            let update = query(TOUCH_SESSION, id.as_bytes()).bind(now).bind(to_micros(*expires_at));
            let done = run(connection, update).await?;
            if done.rows_affected() == 0 {
                return Err(StoreError::not_found(format!("session `{id}`")));
            }
        }
        Change::DeleteSession { id } => {
            run(connection, query(DELETE_SESSION, id.as_bytes())).await?;
        }
        Change::CreateToken { id, hash, member, project, role, name, expires_at } => {
            let insert = query(INSERT_TOKEN, id.as_bytes())
                .bind(hash.0.as_slice())
                .bind(member.as_bytes().as_slice())
                .bind(project.as_ref().map(|id| id.as_bytes().as_slice()))
                .bind(role.as_str())
                .bind(name)
                .bind(now)
                .bind(expires_at.map(to_micros));
            run(connection, insert).await?;
        }
        Change::DeleteToken { id } => {
            run(connection, query(DELETE_TOKEN, id.as_bytes())).await?;
        }
        Change::CreateProject { id, name, tree, turns } => {
            let insert = query(INSERT_PROJECT, id.as_bytes())
                .bind(name)
                .bind(tree.as_bytes().as_slice())
                .bind(turns.as_bytes().as_slice())
                .bind(now);
            run(connection, insert).await?;
            for (document, kind) in [(tree, DocumentKind::Tree), (turns, DocumentKind::Turns)] {
                insert_document(connection, *document, *id, "", kind, 1, now).await?;
            }
        }
        Change::RenameProject { id, name } => {
            let done = run(connection, query(RENAME_PROJECT, id.as_bytes()).bind(name)).await?;
            expect_project(&done, *id)?;
        }
        Change::PutMembership { project, member, role, invite } => {
            let upsert = query(PUT_MEMBERSHIP, project.as_bytes())
                .bind(member.as_bytes().as_slice())
                .bind(role.as_str())
                .bind(now)
                .bind(invite.as_ref().map(|id| id.as_bytes().as_slice()));
            run(connection, upsert).await?;
        }
        Change::DeleteMembership { project, member } => {
            let delete = query(DELETE_MEMBERSHIP, project.as_bytes()).bind(member.as_bytes().as_slice());
            run(connection, delete).await?;
        }
        Change::CreateInvite { id, project, role, hash, created_by, expires_at, max_uses } => {
            let insert = query(INSERT_INVITE, id.as_bytes())
                .bind(project.as_bytes().as_slice())
                .bind(role.as_str())
                .bind(hash.0.as_slice())
                .bind(created_by.as_bytes().as_slice())
                .bind(now)
                .bind(expires_at.map(to_micros))
                .bind(max_uses);
            run(connection, insert).await?;
        }
        Change::UseInvite { id } => use_invite(connection, *id, now).await?,
        Change::RevokeInvite { id } => {
            let done = run(connection, query(REVOKE_INVITE, id.as_bytes()).bind(now)).await?;
            if done.rows_affected() == 0 {
                expect_invite(connection, *id).await?;
            }
        }
        Change::CreateDocument { id, project, path, kind, epoch } => {
            insert_document(connection, *id, *project, path, *kind, *epoch, now).await?;
        }
        Change::RenameDocument { id, path } => {
            let done = run(connection, query(RENAME_DOCUMENT, id.as_bytes()).bind(path)).await?;
            expect_document(&done, *id)?;
        }
        Change::DeleteDocument { id } => {
            let done = run(connection, query(DELETE_DOCUMENT, id.as_bytes()).bind(now)).await?;
            expect_document(&done, *id)?;
        }
        Change::RestoreDocument { id } => {
            let done = run(connection, query(RESTORE_DOCUMENT, id.as_bytes())).await?;
            expect_document(&done, *id)?;
        }
        Change::CreateTurn(turn) => create_turn(connection, turn).await?,
        Change::UpdateTurn { id, update } => update_turn(connection, *id, update).await?,
        Change::PutHunk(hunk) => put_hunk(connection, hunk).await?,
        Change::PutSnapshot(snapshot) => put_snapshot(connection, snapshot, now).await?,
        Change::Quarantine { document, member, hash, bytes, reason } => {
            let insert = query(PUT_QUARANTINE, document.as_bytes())
                .bind(hash.0.as_slice())
                .bind(bytes.as_ref())
                .bind(reason)
                .bind(now)
                .bind(member.as_ref().map(|member| member.as_bytes().as_slice()));
            run(connection, insert).await?;
            let drop = sqlx::query(DROP_OLD_QUARANTINE).bind(QUARANTINE_UPDATES).bind(QUARANTINE_BYTES);
            run(connection, drop).await?;
        }
        Change::NoteLoadFailure { document } => {
            run(connection, query(NOTE_LOAD_FAILURE, document.as_bytes()).bind(now)).await?;
        }
        Change::ClearLoadFailures { document } => {
            run(connection, query(CLEAR_LOAD_FAILURES, document.as_bytes())).await?;
        }
        Change::AnnounceNode { node } => {
            super::meta::put(connection, super::meta::NODE, &node.to_string()).await?;
        }
    }
    Ok(())
}

fn query<'q>(sql: &'static str, id: &'q [u8; 16]) -> Query<'q> {
    sqlx::query(sql).bind(id.as_slice())
}

async fn run(connection: &mut SqliteConnection, query: Query<'_>) -> Result<SqliteQueryResult, StoreError> {
    query.execute(connection).await.map_err(store_error)
}

fn expect_member(done: &SqliteQueryResult, id: MemberId) -> Result<(), StoreError> {
    if done.rows_affected() == 0 { Err(StoreError::not_found(format!("member `{id}`"))) } else { Ok(()) }
}

fn expect_project(done: &SqliteQueryResult, id: ProjectId) -> Result<(), StoreError> {
    if done.rows_affected() == 0 { Err(StoreError::not_found(format!("project `{id}`"))) } else { Ok(()) }
}

fn expect_document(done: &SqliteQueryResult, id: DocumentId) -> Result<(), StoreError> {
    if done.rows_affected() == 0 { Err(StoreError::not_found(format!("document `{id}`"))) } else { Ok(()) }
}

async fn expect_invite(connection: &mut SqliteConnection, id: InviteId) -> Result<(), StoreError> {
    match query(INVITE_EXISTS, id.as_bytes()).fetch_optional(connection).await.map_err(store_error)? {
        Some(_) => Ok(()),
        None => Err(StoreError::not_found(format!("invite `{id}`"))),
    }
}

async fn use_invite(connection: &mut SqliteConnection, id: InviteId, now: i64) -> Result<(), StoreError> {
    let done = run(connection, query(USE_INVITE, id.as_bytes()).bind(now)).await?;
    if done.rows_affected() == 0 {
        expect_invite(connection, id).await?;
        return Err(Conflict::InviteInvalid.into());
    }
    Ok(())
}

async fn insert_document(
    connection: &mut SqliteConnection,
    id: DocumentId,
    project: ProjectId,
    path: &str,
    kind: DocumentKind,
    epoch: u32,
    now: i64,
) -> Result<(), StoreError> {
    let insert = query(INSERT_DOCUMENT, id.as_bytes())
        .bind(project.as_bytes().as_slice())
        .bind(path)
        .bind(kind.as_str())
        .bind(epoch)
        .bind(now);
    run(connection, insert).await.map(drop)
}

/// How a turn's documents are stored: their ids, one after the other.
fn join_ids(ids: &[DocumentId]) -> Vec<u8> {
    ids.iter().flat_map(|id| *id.as_bytes()).collect()
}

async fn create_turn(connection: &mut SqliteConnection, turn: &TurnRecord) -> Result<(), StoreError> {
    let insert = query(INSERT_TURN, turn.id.as_bytes())
        .bind(turn.project.as_bytes().as_slice())
        .bind(&turn.agent)
        .bind(turn.by.as_bytes().as_slice())
        .bind(&turn.prompt)
        .bind(turn.status.as_str())
        .bind(join_ids(&turn.documents))
        .bind(&turn.answer)
        .bind(turn.usage.as_ref().map(ToString::to_string))
        .bind(turn.error.as_ref().map(|error| &error.code))
        .bind(turn.error.as_ref().map(|error| &error.detail))
        .bind(turn.review.as_str())
        .bind(turn.node.as_bytes().as_slice())
        .bind(to_micros(turn.created_at))
        .bind(turn.finished_at.map(to_micros));
    run(connection, insert).await.map(drop)
}

async fn update_turn(
    connection: &mut SqliteConnection,
    id: TurnId,
    update: &TurnUpdate,
) -> Result<(), StoreError> {
    let TurnUpdate { status, answer, documents, usage, error, finished_at, review } = update;
    let only_review = review.is_some()
        && status.is_none()
        && answer.is_none()
        && documents.is_none()
        && usage.is_none()
        && error.is_none()
        && finished_at.is_none();
    let change = query(UPDATE_TURN, id.as_bytes())
        .bind(status.map(TurnStatus::as_str))
        .bind(answer.as_deref())
        .bind(documents.as_deref().map(join_ids))
        .bind(usage.as_ref().map(ToString::to_string))
        .bind(error.as_ref().map(|error| &error.code))
        .bind(error.as_ref().map(|error| &error.detail))
        .bind(finished_at.map(to_micros))
        .bind(review.map(Review::as_str))
        .bind(only_review);
    if run(connection, change).await?.rows_affected() == 1 {
        return Ok(());
    }
    match query(TURN_EXISTS, id.as_bytes()).fetch_optional(connection).await.map_err(store_error)? {
        Some(_) => Err(Conflict::TurnFinished { turn: id }.into()),
        None => Err(StoreError::not_found(format!("turn `{id}`"))),
    }
}

async fn put_hunk(connection: &mut SqliteConnection, hunk: &HunkRecord) -> Result<(), StoreError> {
    let upsert = query(PUT_HUNK, hunk.turn.as_bytes())
        .bind(hunk.hunk.0)
        .bind(hunk.document.as_ref().map(|id| id.as_bytes().as_slice()))
        .bind(&hunk.path)
        .bind(hunk.state.as_str())
        .bind(hunk.anchor.as_ref().map(ToString::to_string))
        .bind(hunk.head.as_ref().map(ToString::to_string))
        .bind(hunk.inserted)
        .bind(hunk.deleted)
        .bind(hunk.line)
        .bind(&hunk.reason);
    run(connection, upsert).await.map(drop)
}

async fn put_snapshot(
    connection: &mut SqliteConnection,
    snapshot: &NewSnapshot,
    now: i64,
) -> Result<(), StoreError> {
    let NewSnapshot { document, epoch, seq, bytes, text_hash } = snapshot;
    let upsert = query(PUT_SNAPSHOT, document.as_bytes())
        .bind(epoch)
        .bind(seq.cast_signed())
        .bind(bytes.as_ref())
        .bind(snapshot_checksum(*document, *epoch, *seq, *text_hash, bytes))
        .bind(text_hash.0.as_slice())
        .bind(now);
    if run(connection, upsert).await?.rows_affected() == 0 {
        let row = query(SELECT_EPOCH, document.as_bytes())
            .fetch_optional(&mut *connection)
            .await
            .map_err(store_error)?;
        let Some(row) = row else {
            return Err(StoreError::not_found(format!("document `{document}`")));
        };
        let current: u32 = row.try_get(0).map_err(store_error)?;
        if current != *epoch {
            return Err(Conflict::Epoch { document: *document, epoch: current }.into());
        }
        return Err(StoreError::not_found(format!("update {seq} of document `{document}`")));
    }
    run(connection, query(DROP_OLD_SNAPSHOTS, document.as_bytes()).bind(SNAPSHOTS_KEPT)).await?;
    Ok(())
}
