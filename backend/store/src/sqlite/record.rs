//! Rows of each table as records.

use bytes::Bytes;
use ensemble_protocol::id::{
    DocumentId, HunkId, InviteId, MemberId, NodeId, ProjectId, SessionId, TokenId, TurnId, Version,
};
use ensemble_protocol::rest::{HunkState, Review, TurnStatus};
use sqlx::sqlite::SqliteRow;

use super::row::Columns;
use crate::error::StoreError;
use crate::record::{
    ClientOwner, Document, DocumentKind, HunkRecord, Invite, LedgerActor, LedgerEntry, LedgerKind, Member,
    Membership, Project, Quarantined, Session, StoredLedgerEntry, Token, TurnError, TurnRecord,
};

pub(super) fn project(columns: &mut Columns<'_>) -> Result<Project, StoreError> {
    Ok(Project {
        id: columns.id(ProjectId::from_slice)?,
        name: columns.text()?,
        tree: columns.id(DocumentId::from_slice)?,
        turns: columns.id(DocumentId::from_slice)?,
        created_at: columns.time()?,
    })
}

pub(super) fn member(columns: &mut Columns<'_>) -> Result<Member, StoreError> {
    Ok(Member {
        id: columns.id(MemberId::from_slice)?,
        name: columns.text()?,
        color: columns.text()?,
        created_at: columns.time()?,
    })
}

pub(super) fn membership(columns: &mut Columns<'_>) -> Result<Membership, StoreError> {
    Ok(Membership {
        project: columns.id(ProjectId::from_slice)?,
        member: columns.id(MemberId::from_slice)?,
        role: columns.role()?,
        created_at: columns.time()?,
        invite: columns.optional_id(InviteId::from_slice)?,
    })
}

pub(super) fn session(row: &SqliteRow) -> Result<Session, StoreError> {
    let mut columns = Columns::new("sessions", row);
    Ok(Session {
        id: columns.id(SessionId::from_slice)?,
        member: columns.id(MemberId::from_slice)?,
        hash: columns.hash()?,
        created_at: columns.time()?,
        last_seen_at: columns.time()?,
        expires_at: columns.time()?,
    })
}

pub(super) fn token(row: &SqliteRow) -> Result<Token, StoreError> {
    let mut columns = Columns::new("tokens", row);
    Ok(Token {
        id: columns.id(TokenId::from_slice)?,
        hash: columns.hash()?,
        member: columns.id(MemberId::from_slice)?,
        project: columns.optional_id(ProjectId::from_slice)?,
        role: columns.role()?,
        name: columns.text()?,
        created_at: columns.time()?,
        expires_at: columns.optional_time()?,
    })
}

pub(super) fn invite(row: &SqliteRow) -> Result<Invite, StoreError> {
    let mut columns = Columns::new("invites", row);
    Ok(Invite {
        id: columns.id(InviteId::from_slice)?,
        project: columns.id(ProjectId::from_slice)?,
        role: columns.role()?,
        hash: columns.hash()?,
        created_by: columns.id(MemberId::from_slice)?,
        created_at: columns.time()?,
        expires_at: columns.optional_time()?,
        max_uses: columns.optional_number()?,
        uses: columns.number()?,
        revoked_at: columns.optional_time()?,
    })
}

pub(super) fn document(row: &SqliteRow) -> Result<Document, StoreError> {
    let mut columns = Columns::new("documents", row);
    Ok(Document {
        id: columns.id(DocumentId::from_slice)?,
        project: columns.id(ProjectId::from_slice)?,
        path: columns.text()?,
        kind: columns.word(DocumentKind::from_word)?,
        epoch: columns.number()?,
        last_seq: columns.number()?,
        created_at: columns.time()?,
        deleted_at: columns.optional_time()?,
    })
}

/// Reads `owner_kind` and `owner`.
pub(super) fn owner(columns: &mut Columns<'_>) -> Result<ClientOwner, StoreError> {
    let kind = columns.text()?;
    Ok(match kind.as_str() {
        "member" => ClientOwner::Member(columns.id(MemberId::from_slice)?),
        "turn" => ClientOwner::Turn(columns.id(TurnId::from_slice)?),
        "server" => {
            columns.optional_id(|_| None::<()>)?;
            ClientOwner::Server
        }
        "nobody" => {
            columns.optional_id(|_| None::<()>)?;
            ClientOwner::Nobody
        }
        _ => return Err(columns.corrupt()),
    })
}

pub(super) fn ledger_entry(row: &SqliteRow) -> Result<StoredLedgerEntry, StoreError> {
    let mut columns = Columns::new("ledger", row);
    Ok(StoredLedgerEntry {
        document: columns.id(DocumentId::from_slice)?,
        version: Version { epoch: columns.number()?, seq: columns.number()? },
        entry: LedgerEntry {
            by: match (columns.optional_id(TurnId::from_slice)?, columns.optional_id(MemberId::from_slice)?) {
                (Some(turn), None) => LedgerActor::Turn(turn),
                (None, Some(member)) => LedgerActor::Member(member),
                _ => return Err(columns.corrupt()),
            },
            hunk: columns.optional_number()?.map(HunkId),
            kind: columns.word(LedgerKind::from_word)?,
            client: columns.client()?,
            clock: columns.number()?,
            length: columns.number()?,
            text: columns.optional_text()?,
            of: match (columns.optional_number::<i64>()?, columns.optional_number()?) {
                (Some(client), Some(clock)) => Some((client.cast_unsigned(), clock)),
                _ => None,
            },
        },
    })
}

pub(super) fn undone_hunk(row: &SqliteRow) -> Result<(TurnId, HunkId), StoreError> {
    let mut columns = Columns::new("hunks", row);
    Ok((columns.id(TurnId::from_slice)?, HunkId(columns.number()?)))
}

pub(super) fn turn(row: &SqliteRow) -> Result<TurnRecord, StoreError> {
    let mut columns = Columns::new("turns", row);
    Ok(TurnRecord {
        id: columns.id(TurnId::from_slice)?,
        project: columns.id(ProjectId::from_slice)?,
        agent: columns.text()?,
        by: columns.id(MemberId::from_slice)?,
        prompt: columns.text()?,
        status: columns.word(TurnStatus::from_word)?,
        documents: columns.id(split_ids)?,
        answer: columns.text()?,
        usage: columns.optional_json()?,
        error: match (columns.optional_text()?, columns.optional_text()?) {
            (Some(code), detail) => Some(TurnError { code, detail: detail.unwrap_or_default() }),
            (None, _) => None,
        },
        review: columns.word(Review::from_word)?,
        node: columns.id(NodeId::from_slice)?,
        created_at: columns.time()?,
        finished_at: columns.optional_time()?,
    })
}

fn split_ids(bytes: &[u8]) -> Option<Vec<DocumentId>> {
    bytes.chunks(16).map(DocumentId::from_slice).collect()
}

pub(super) fn quarantined(row: &SqliteRow) -> Result<Quarantined, StoreError> {
    let mut columns = Columns::new("quarantine", row);
    Ok(Quarantined {
        document: columns.id(DocumentId::from_slice)?,
        hash: columns.hash()?,
        bytes: Bytes::copy_from_slice(columns.bytes()?),
        reason: columns.text()?,
        at: columns.time()?,
        member: columns.optional_id(MemberId::from_slice)?,
    })
}

pub(super) fn hunk(row: &SqliteRow) -> Result<HunkRecord, StoreError> {
    let mut columns = Columns::new("hunks", row);
    Ok(HunkRecord {
        turn: columns.id(TurnId::from_slice)?,
        hunk: HunkId(columns.number()?),
        document: columns.optional_id(DocumentId::from_slice)?,
        path: columns.text()?,
        state: columns.word(HunkState::from_word)?,
        anchor: columns.optional_json()?,
        head: columns.optional_json()?,
        inserted: columns.number()?,
        deleted: columns.number()?,
        line: columns.optional_number()?,
        reason: columns.optional_text()?,
    })
}
