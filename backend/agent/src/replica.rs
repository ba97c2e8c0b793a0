//! The replica of a project's turns: how a turn is written there, and the room it is written through.
//!
//! `turns` is the root map; below it every turn has a map of its own, with its answer as a text and its hunks as
//! a map of plain values.

use std::sync::Arc;

use ensemble_protocol::id::{DocumentId, ProjectId, TurnId};
use ensemble_protocol::rest::{self, Review, Timestamp, TurnStatus};
use ensemble_store::{Change, Conflict, HunkRecord, Store, TurnRecord, TurnUpdate};
use ensemble_sync::RoomError;
use ensemble_sync::registry::RoomRegistry;
use ensemble_sync::room::{ReplicaEdit, ReplicaWrite, Room};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::error::AgentError;
use crate::outside::display_name;
use crate::turn::review_of;

/// The root map of the replica.
const TURNS: &str = "turns";

/// How often a commit is tried where the room closes under it, as an idle one may just then.
const TRIES: usize = 3;

/// A new turn.
pub(crate) fn created(turn: &TurnRecord) -> Vec<ReplicaEdit> {
    let id = turn.id.to_string();
    let map = [TURNS, id.as_str()];
    let name = display_name(&turn.agent).map(|name| ReplicaEdit::set(&map, "agent_name", name.into()));
    let mut edits = vec![
        ReplicaEdit::set(&map, "status", turn.status.as_str().into()),
        ReplicaEdit::set(&map, "agent", turn.agent.as_str().into()),
        ReplicaEdit::set(&map, "prompt", turn.prompt.as_str().into()),
        ReplicaEdit::set(&map, "by", turn.by.to_string().into()),
        ReplicaEdit::set(&map, "documents", documents(&turn.documents)),
        ReplicaEdit::set(&map, "created_at", time(turn.created_at)),
        ReplicaEdit::set(&map, "review", turn.review.as_str().into()),
        ReplicaEdit::append(&map, "answer", String::new()),
    ];
    edits.extend(name);
    edits
}

/// A turn that is shown no more.
pub(crate) fn removed(turn: TurnId) -> ReplicaEdit {
    ReplicaEdit::remove(&[TURNS], &turn.to_string())
}

/// What is new about a turn. Its answer grows by [`answered`] instead.
pub(crate) fn updated(turn: TurnId, update: &TurnUpdate) -> Vec<ReplicaEdit> {
    let id = turn.to_string();
    let map = [TURNS, id.as_str()];
    let status = update.status.map(|status| ("status", status_word(status)));
    let documents = update.documents.as_ref().map(|ids| ("documents", documents(ids)));
    let usage = update.usage.as_ref().map(|usage| ("usage", usage.clone()));
    let error =
        update.error.as_ref().map(|error| ("error", json!({ "code": error.code, "detail": error.detail })));
    let finished = update.finished_at.map(|at| ("finished_at", time(at)));
    let review = update.review.map(|review| ("review", review_word(review)));
    [documents, usage, error, finished, review, status]
        .into_iter()
        .flatten()
        .map(|(key, value)| ReplicaEdit::set(&map, key, value))
        .collect()
}

/// More of a turn's answer.
pub(crate) fn answered(turn: TurnId, text: &str) -> ReplicaEdit {
    ReplicaEdit::append(&[TURNS, &turn.to_string()], "answer", text.to_owned())
}

/// A hunk, or what became of it.
pub(crate) fn hunk(record: &HunkRecord) -> ReplicaEdit {
    let mut value = json!({
        "document": record.document.map(|id| id.to_string()),
        "path": record.path,
        "state": record.state.as_str(),
        "anchor": record.anchor,
        "head": record.head,
        "inserted": record.inserted,
        "deleted": record.deleted,
        "line": record.line,
    });
    if let Some(reason) = &record.reason {
        value["reason"] = reason.as_str().into();
    }
    ReplicaEdit::set(&[TURNS, &record.turn.to_string(), "hunks"], &record.hunk.to_string(), value)
}

/// A turn as HTTP and JSON-RPC show it.
pub(crate) fn shown(turn: TurnRecord, hunks: Vec<HunkRecord>) -> rest::Turn {
    let review = review_of(hunks.iter().map(|hunk| hunk.state), turn.review);
    rest::Turn {
        id: turn.id,
        status: turn.status,
        agent_name: display_name(&turn.agent).map(ToOwned::to_owned),
        agent: turn.agent,
        prompt: turn.prompt,
        by: turn.by,
        created_at: turn.created_at.into(),
        finished_at: turn.finished_at.map(Timestamp::from),
        answer: turn.answer,
        documents: turn.documents,
        hunks: hunks.into_iter().map(shown_hunk).collect(),
        usage: turn.usage.and_then(|usage| serde_json::from_value(usage).ok()),
        error: turn.error.map(|error| rest::TurnError { code: error.code, detail: error.detail }),
        review,
    }
}

/// A hunk as HTTP and JSON-RPC show it.
pub(crate) fn shown_hunk(hunk: HunkRecord) -> rest::Hunk {
    rest::Hunk {
        id: hunk.hunk,
        document: hunk.document,
        path: hunk.path,
        state: hunk.state,
        line: hunk.line,
        inserted: hunk.inserted,
        deleted: hunk.deleted,
        reason: hunk.reason,
    }
}

fn status_word(status: TurnStatus) -> Value {
    status.as_str().into()
}

fn review_word(review: Review) -> Value {
    review.as_str().into()
}

fn documents(ids: &[DocumentId]) -> Value {
    ids.iter().map(|id| Value::from(id.to_string())).collect()
}

fn time(at: OffsetDateTime) -> Value {
    serde_json::to_value(Timestamp(at)).expect("times of this era are written in RFC 3339")
}

/// The turns of a project: their rows and their replica, which change together or not at all.
#[derive(Debug, Clone)]
pub(crate) struct Turns {
    rooms: RoomRegistry,
    document: DocumentId,
}

impl Turns {
    /// The turns of a project.
    pub(crate) async fn of(
        store: &Arc<dyn Store>,
        rooms: &RoomRegistry,
        project: ProjectId,
    ) -> Result<Self, AgentError> {
        let project = store.project(project).await?.ok_or(AgentError::ProjectNotFound)?;
        Ok(Self { rooms: rooms.clone(), document: project.turns })
    }

    /// Commits rows and what they mean for the replica.
    ///
    /// A room that closes without an answer may have committed. Then it is tried again where that shows: where a
    /// row is created, or a turn ends, which happens only once; or where a second time changes
    /// nothing.
    pub(crate) async fn commit(&self, write: ReplicaWrite) -> Result<(), AgentError> {
        let may_repeat = shows_repetition(&write) || changes_nothing_twice(&write);
        let mut tries = 0;
        loop {
            let room: Room = self.rooms.open(self.document).await?;
            tries += 1;
            match room.commit(write.clone()).await {
                Ok(_) => return Ok(()),
                Err(RoomError::Closed(_)) if tries < TRIES && may_repeat => {}
                Err(RoomError::Conflict(conflict)) if tries > 1 && shows_first_try(&conflict) => {
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Whether a write cannot be committed twice.
fn shows_repetition(write: &ReplicaWrite) -> bool {
    write.changes.iter().any(|change| match change {
        Change::CreateTurn(_) => true,
        Change::UpdateTurn { update, .. } => update.status.is_some_and(TurnStatus::is_final),
        _ => false,
    })
}

/// Whether committing a write twice leaves what committing it once does.
fn changes_nothing_twice(write: &ReplicaWrite) -> bool {
    !write.edits.iter().any(|edit| matches!(edit, ReplicaEdit::Append { text, .. } if !text.is_empty()))
}

const fn shows_first_try(conflict: &Conflict) -> bool {
    matches!(conflict, Conflict::Exists { .. } | Conflict::TurnFinished { .. })
}

#[cfg(test)]
mod tests {
    use ensemble_protocol::id::HunkId;
    use ensemble_protocol::rest::HunkState;

    use super::*;

    #[test]
    fn a_hunk_has_the_shape_of_the_contract() {
        let turn = TurnId::from_slice(&[1; 16]).expect("sixteen bytes");
        let record = HunkRecord {
            turn,
            hunk: HunkId(3),
            document: None,
            path: "a.py".into(),
            state: HunkState::Missed,
            anchor: None,
            head: None,
            inserted: 0,
            deleted: 0,
            line: None,
            reason: Some("it stands in two places".into()),
        };
        let ReplicaEdit::Set { map, key, value } = hunk(&record) else { panic!("a key is set") };
        assert_eq!(map, [TURNS.to_owned(), turn.to_string(), "hunks".to_owned()]);
        assert_eq!(key, "3");
        assert_eq!(
            value,
            json!({
                "document": null, "path": "a.py", "state": "missed", "anchor": null, "head": null,
                "inserted": 0, "deleted": 0, "line": null, "reason": "it stands in two places"
            })
        );
    }

    #[test]
    fn only_what_is_new_about_a_turn_is_set() {
        let turn = TurnId::from_slice(&[1; 16]).expect("sixteen bytes");
        let update = TurnUpdate { status: Some(TurnStatus::Running), ..TurnUpdate::default() };
        let edits = updated(turn, &update);
        assert_eq!(edits, [ReplicaEdit::set(&[TURNS, &turn.to_string()], "status", "running".into())]);
    }
}
