//! Accepting a turn, and taking it back.

use std::collections::BTreeSet;
use std::sync::Arc;

use ensemble_protocol::id::{DocumentId, MemberId, ProjectId, TurnId};
use ensemble_protocol::rest::{self, HunkState};
use ensemble_store::{Change, ClientOwner, HunkRecord, TurnRecord, TurnUpdate};
use ensemble_sync::RoomError;
use ensemble_sync::room::ReplicaWrite;

use super::{Shared, Supervisor};
use crate::apply::{DELETED, MOVED_TO};
use crate::context::{ROOM_TRIES, read_room};
use crate::error::AgentError;
use crate::replica::{self, Turns};
use crate::turn::{Turn, Verdict};

impl Supervisor {
    /// Records that a turn's edits stay. It can still be rejected later.
    pub async fn accept(&self, project: ProjectId, turn: TurnId) -> Result<rest::Turn, AgentError> {
        let (_claim, record, reviewed) = self.begin_review(project, turn, Verdict::Accept).await?;
        let mut hunks = self.shared.options.store.hunks_of(turn).await?;
        hunks.retain(|hunk| hunk.state == HunkState::Applied);
        for hunk in &mut hunks {
            hunk.state = HunkState::Accepted;
        }
        self.finish_review(&record, reviewed, hunks).await?;
        self.get(project, turn).await
    }

    /// Takes a turn back in every document it wrote in: its text goes, what it deleted returns, and what people
    /// typed stays, also inside it. Documents it made go, unless somebody else has written in them; documents it
    /// moved return to their path, unless that is taken.
    ///
    /// When this fails half way the turn is not marked, and rejecting it again does the rest.
    pub async fn reject(
        &self,
        project: ProjectId,
        turn: TurnId,
        member: MemberId,
    ) -> Result<rest::Turn, AgentError> {
        let (_claim, record, reviewed) = self.begin_review(project, turn, Verdict::Reject).await?;
        let store = &self.shared.options.store;
        let mut hunks = store.hunks_of(turn).await?;
        // A document that was deleted stays so: there is no text in it to take back.
        hunks.retain(|hunk| {
            matches!(hunk.state, HunkState::Applied | HunkState::Accepted)
                && hunk.reason.as_deref() != Some(DELETED)
        });
        for hunk in &mut hunks {
            hunk.state = HunkState::Rejected;
        }
        let written: BTreeSet<DocumentId> =
            store.ledger_of_turn(turn).await?.into_iter().map(|stored| stored.document).collect();
        for document in written {
            let changes = hunks
                .iter()
                .filter(|hunk| hunk.document == Some(document))
                .map(|hunk| Change::PutHunk(Box::new(hunk.clone())))
                .collect();
            self.take_back(document, turn, member, changes).await?;
        }
        for hunk in &hunks {
            if let Some(to) = hunk.reason.as_deref().and_then(|reason| reason.strip_prefix(MOVED_TO)) {
                self.move_back(&record, member, hunk, to).await?;
            }
        }
        for document in &record.documents {
            self.remove_if_only_ours(&record, member, *document).await?;
        }
        self.finish_review(&record, reviewed, hunks).await?;
        self.get(project, turn).await
    }

    async fn begin_review(
        &self,
        project: ProjectId,
        turn: TurnId,
        verdict: Verdict,
    ) -> Result<(Claim, TurnRecord, Turn), AgentError> {
        // Claimed first and read afterwards, so that of two reviews the second sees what the first did.
        let known = self.record(project, turn).await?.id;
        let claim = Claim::new(&self.shared, known)?;
        let record = self.record(project, turn).await?;
        let reviewed = Turn { id: turn, status: record.status, review: record.review }.review(verdict)?;
        // Its end is recorded a moment before its task is gone, which whoever polls may see.
        let handle = self.shared.state.lock().handles.get(&turn).cloned();
        if let Some(handle) = handle {
            handle.over.cancelled().await;
        }
        Ok((claim, record, reviewed))
    }

    async fn finish_review(
        &self,
        record: &TurnRecord,
        reviewed: Turn,
        hunks: Vec<HunkRecord>,
    ) -> Result<(), AgentError> {
        let options = &self.shared.options;
        let turns = Turns::of(&options.store, &options.rooms, record.project).await?;
        let update = TurnUpdate { review: Some(reviewed.review), ..TurnUpdate::default() };
        let mut edits = replica::updated(record.id, &update);
        edits.extend(hunks.iter().map(replica::hunk));
        let mut changes = vec![Change::UpdateTurn { id: record.id, update: Box::new(update) }];
        changes.extend(hunks.into_iter().map(|hunk| Change::PutHunk(Box::new(hunk))));
        turns.commit(ReplicaWrite { changes, edits, ..ReplicaWrite::default() }).await?;
        tracing::info!(turn.id = %record.id, "turn `{}` was {}", record.id, reviewed.review.as_str());
        Ok(())
    }

    async fn take_back(
        &self,
        document: DocumentId,
        turn: TurnId,
        member: MemberId,
        changes: Vec<Change>,
    ) -> Result<(), AgentError> {
        let mut tries = 0;
        loop {
            let result = match self.shared.options.rooms.open(document).await {
                Ok(room) => room.reject(turn, member, changes.clone()).await.map(drop),
                Err(error) => Err(error),
            };
            tries += 1;
            match result {
                // Rejecting what is rejected is harmless, so a room that closed under it is asked again.
                Err(RoomError::Closed(_)) if tries < ROOM_TRIES => {}
                // Deleted with all its text.
                Ok(()) | Err(RoomError::NotFound(_)) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn move_back(
        &self,
        record: &TurnRecord,
        member: MemberId,
        hunk: &HunkRecord,
        to: &str,
    ) -> Result<(), AgentError> {
        let options = &self.shared.options;
        let Some(id) = hunk.document else { return Ok(()) };
        let Some(document) = options.store.document(id).await? else { return Ok(()) };
        if document.deleted_at.is_some() || document.path != to {
            // Somebody has moved it on: that stays.
            return Ok(());
        }
        if let Err(error) = options.documents.rename(record.project, member, id, &hunk.path).await {
            tracing::warn!(document.id = %id, error = &error as &dyn std::error::Error, "a document was not moved back");
        }
        Ok(())
    }

    /// Deletes a document the turn made, if nothing is left in it and nobody else ever wrote in it.
    async fn remove_if_only_ours(
        &self,
        record: &TurnRecord,
        member: MemberId,
        id: DocumentId,
    ) -> Result<(), AgentError> {
        let options = &self.shared.options;
        let Some(document) = options.store.document(id).await? else { return Ok(()) };
        // It has written in it, as is looked at below, so it was not made after the turn's end either. Edits
        // over HTTP make their documents in the very commit that ends their turn.
        let was_made_by_it = document.created_at >= record.created_at && document.deleted_at.is_none();
        if !was_made_by_it {
            return Ok(());
        }
        let clients = options.store.clients_of(id).await?;
        let only_ours = clients.iter().all(|client| {
            matches!(client.owner, ClientOwner::Server) || client.owner == ClientOwner::Turn(record.id)
        });
        let has_ours = clients.iter().any(|client| client.owner == ClientOwner::Turn(record.id));
        if !only_ours || !has_ours || !read_room(&options.rooms, id).await?.1.is_empty() {
            return Ok(());
        }
        if let Err(error) = options.documents.delete(record.project, member, id).await {
            tracing::warn!(document.id = %id, error = &error as &dyn std::error::Error, "an empty document stays");
        }
        Ok(())
    }
}

/// The right to review a turn, held by one at a time.
struct Claim {
    shared: Arc<Shared>,
    turn: TurnId,
}

impl Claim {
    fn new(shared: &Arc<Shared>, turn: TurnId) -> Result<Self, AgentError> {
        if shared.state.lock().reviewing.insert(turn) {
            Ok(Self { shared: shared.clone(), turn })
        } else {
            Err(AgentError::TurnAlreadyReviewed(turn))
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.shared.state.lock().reviewing.remove(&self.turn);
    }
}
