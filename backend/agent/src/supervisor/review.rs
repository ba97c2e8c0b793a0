//! Accepting and rejecting: a turn, some of its hunks, or all turns of an agent.
//!
//! The decision is about hunks. Their states are committed with what they mean for their document, one document
//! after the other, so a crash in between leaves a turn of which some hunks are decided, and deciding again does
//! the rest. What is decided about the turn follows from its hunks. Documents return and move before the states
//! of their hunks are committed, and go after that, when it can be seen whether they are empty; so of hunks that
//! are decided already, those are looked at again whose document is there and should not be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ensemble_protocol::id::{DocumentId, HunkId, MemberId, ProjectId, TurnId};
use ensemble_protocol::rest::{self, HunkState};
use ensemble_store::{Change, ClientOwner, Document, HunkRecord, TurnRecord, TurnUpdate};
use ensemble_sync::RoomError;
use ensemble_sync::room::{ReplicaWrite, ReviewWrite, Verdict};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;

use super::{Shared, Supervisor};
use crate::apply::{DELETED, MOVED_TO};
use crate::context::{ROOM_TRIES, read_room};
use crate::error::AgentError;
use crate::replica::{self, Turns};
use crate::turn::review_of;

/// Turns of which one request may change something.
const TURNS_AT_ONCE: usize = 100;
/// Turns that are read together while looking for those of an agent.
const PAGE: u32 = 100;
/// The reason of a rejected hunk whose document a turn had made, and which went with it.
const WENT_WITH_IT: &str = "its document went with it";
/// The reason of a hunk that was decided about when its document was gone.
const GONE: &str = "the document was deleted";

/// Which hunks of a turn are decided about.
#[derive(Debug, Clone, Copy)]
enum Choice<'a> {
    /// All that were applied.
    All,
    /// Those nothing was decided about.
    Open,
    /// These.
    Hunks(&'a [HunkId]),
}

impl Supervisor {
    /// Records that a turn's edits stay, or those of some of its hunks. What was rejected comes back.
    pub async fn accept(
        &self,
        project: ProjectId,
        turn: TurnId,
        hunks: Option<&[HunkId]>,
        member: MemberId,
    ) -> Result<rest::Turn, AgentError> {
        let choice = hunks.map_or(Choice::All, Choice::Hunks);
        self.review(project, turn, choice, Verdict::Keep, member).await?;
        self.get(project, turn).await
    }

    /// Takes a turn back in every document it wrote in, or some of its hunks: their text goes, what they deleted
    /// returns, and what people typed stays, also inside it. Documents it made go, unless somebody else has written
    /// in them; documents it deleted return and those it moved go back, unless their path is taken.
    ///
    /// A turn at work that is rejected as a whole is stopped first. When this fails half way, rejecting again does
    /// the rest.
    pub async fn reject(
        &self,
        project: ProjectId,
        turn: TurnId,
        hunks: Option<&[HunkId]>,
        member: MemberId,
    ) -> Result<rest::Turn, AgentError> {
        let choice = hunks.map_or(Choice::All, Choice::Hunks);
        self.review(project, turn, choice, Verdict::Undo, member).await?;
        self.get(project, turn).await
    }

    /// Accepts what is open of all turns of an agent, newest first, and tells which turns that changed. At most a
    /// hundred at once: none says that there is nothing left.
    pub async fn accept_all(
        &self,
        project: ProjectId,
        agent: &str,
        member: MemberId,
    ) -> Result<Vec<TurnId>, AgentError> {
        self.review_all(project, agent, Choice::Open, Verdict::Keep, member).await
    }

    /// Rejects all turns of an agent, newest first, and tells which turns that changed. At most a hundred at once:
    /// none says that there is nothing left. A turn at work is left alone.
    pub async fn reject_all(
        &self,
        project: ProjectId,
        agent: &str,
        member: MemberId,
    ) -> Result<Vec<TurnId>, AgentError> {
        self.review_all(project, agent, Choice::All, Verdict::Undo, member).await
    }

    async fn review_all(
        &self,
        project: ProjectId,
        agent: &str,
        choice: Choice<'_>,
        verdict: Verdict,
        member: MemberId,
    ) -> Result<Vec<TurnId>, AgentError> {
        let store = &self.shared.options.store;
        let mut is_known = agent == self.shared.options.agent.id;
        let mut reviewed = Vec::new();
        let mut before = None;
        loop {
            let page = store.turns_of(project, PAGE, before).await?;
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            for record in page.iter().filter(|record| record.agent == agent) {
                is_known = true;
                if record.status.is_final()
                    && self.review(project, record.id, choice, verdict, member).await?
                {
                    reviewed.push(record.id);
                }
                if reviewed.len() == TURNS_AT_ONCE {
                    return Ok(reviewed);
                }
            }
        }
        if is_known { Ok(reviewed) } else { Err(AgentError::AgentNotFound(agent.to_owned())) }
    }

    /// Decides about hunks, and tells whether that changed anything.
    async fn review(
        &self,
        project: ProjectId,
        turn: TurnId,
        choice: Choice<'_>,
        verdict: Verdict,
        member: MemberId,
    ) -> Result<bool, AgentError> {
        let known = self.record(project, turn).await?;
        if !known.status.is_final() {
            if verdict == Verdict::Keep || matches!(choice, Choice::Hunks(_)) {
                return Err(AgentError::TurnRunning(turn));
            }
            match self.interrupt(project, turn).await {
                Ok(_) | Err(AgentError::TurnNotRunning(_)) => {}
                Err(error) => return Err(error),
            }
        }
        // Of two reviews of a turn the second sees what the first did.
        let _claim = Claim::wait(&self.shared, turn).await;
        let record = self.record(project, turn).await?;
        // Its end is recorded a moment before its task is gone, which whoever polls may see.
        let handle = self.shared.state.lock().handles.get(&turn).cloned();
        if let Some(handle) = handle {
            handle.over.cancelled().await;
        }

        let hunks = self.shared.options.store.hunks_of(turn).await?;
        if let Choice::Hunks(named) = choice
            && let Some(unknown) = named.iter().find(|id| !hunks.iter().any(|hunk| hunk.hunk == **id))
        {
            return Err(AgentError::BadRequest(format!("turn `{turn}` has no hunk `{unknown}`")));
        }
        let state = match verdict {
            Verdict::Keep => HunkState::Accepted,
            Verdict::Undo => HunkState::Rejected,
        };
        let chosen = hunks.iter().filter(|hunk| hunk.state != state).filter(|hunk| match choice {
            Choice::All => is_reviewable(hunk.state),
            Choice::Open => hunk.state == HunkState::Applied,
            Choice::Hunks(named) => is_reviewable(hunk.state) && named.contains(&hunk.hunk),
        });
        // What was applied is in the document as it is: only what was rejected has to come back.
        let (moving, staying): (Vec<HunkRecord>, Vec<HunkRecord>) =
            chosen.cloned().partition(|hunk| verdict == Verdict::Undo || hunk.state == HunkState::Rejected);
        let again = hunks.iter().filter(|hunk| hunk.state == state).filter(|hunk| match choice {
            Choice::All => true,
            Choice::Open => false,
            Choice::Hunks(named) => named.contains(&hunk.hunk),
        });
        let again: Vec<HunkRecord> = again.cloned().collect();
        let decision = Decision { supervisor: self, record: &record, member, verdict, state };
        let (mut decided, failed) = decision.carry_out(moving, again).await?;
        decided.extend(staying.into_iter().map(|hunk| HunkRecord { state, ..hunk }));
        let changed = self.finish_review(&record, hunks, decided, state).await?;
        failed.map_or(Ok(changed), Err)
    }

    /// Commits what became of the hunks and what that says about the turn.
    async fn finish_review(
        &self,
        record: &TurnRecord,
        hunks: Vec<HunkRecord>,
        decided: Vec<HunkRecord>,
        state: HunkState,
    ) -> Result<bool, AgentError> {
        let options = &self.shared.options;
        let before = review_of(hunks.iter().map(|hunk| hunk.state), record.review);
        let of = |hunk: &HunkRecord| decided.iter().find(|decided| decided.hunk == hunk.hunk);
        let states = hunks.iter().map(|hunk| of(hunk).unwrap_or(hunk).state);
        // A turn that changed nothing is decided about as a whole.
        let said = if state == HunkState::Accepted { rest::Review::Accepted } else { rest::Review::Rejected };
        let review = review_of(states, said);
        if decided.is_empty() && review == record.review {
            return Ok(false);
        }
        // Where the last review ended half way, the list of turns has not heard of all it did.
        let told: Vec<HunkRecord> = if before == record.review {
            decided.clone()
        } else {
            hunks.iter().map(|hunk| of(hunk).unwrap_or(hunk).clone()).collect()
        };
        let update = TurnUpdate { review: Some(review), ..TurnUpdate::default() };
        let mut edits = Vec::new();
        if self.is_shown(record.project, record.id).await? {
            edits.extend(replica::updated(record.id, &update));
            edits.extend(told.iter().map(replica::hunk));
        }
        let changed = !decided.is_empty() || review != before;
        let mut changes = vec![Change::UpdateTurn { id: record.id, update: Box::new(update) }];
        changes.extend(decided.into_iter().map(|hunk| Change::PutHunk(Box::new(hunk))));
        let turns = Turns::of(&options.store, &options.rooms, record.project).await?;
        turns.commit(ReplicaWrite { changes, edits, ..ReplicaWrite::default() }).await?;
        tracing::info!(turn.id = %record.id, "turn `{}` is {}", record.id, review.as_str());
        Ok(changed)
    }
}

const fn is_reviewable(state: HunkState) -> bool {
    matches!(state, HunkState::Applied | HunkState::Accepted | HunkState::Rejected)
}

/// A decision about some hunks of a turn, on its way.
struct Decision<'a> {
    supervisor: &'a Supervisor,
    record: &'a TurnRecord,
    member: MemberId,
    verdict: Verdict,
    state: HunkState,
}

impl Decision<'_> {
    /// Makes the documents what the decision says, and gives the hunks whose records change, as they are then. A
    /// hunk that made, moved or deleted a document which cannot be put back is left as it was. A document that
    /// cannot be written leaves its hunks undecided and does not keep the others from following: then the first
    /// failure is told as well. `again` are hunks that were decided like this before, perhaps not to the end.
    async fn carry_out(
        &self,
        hunks: Vec<HunkRecord>,
        again: Vec<HunkRecord>,
    ) -> Result<(Vec<HunkRecord>, Option<AgentError>), AgentError> {
        let (hunks, followed) = self.bring_documents_back(hunks).await?;
        let mut by_document: BTreeMap<DocumentId, Vec<HunkRecord>> = BTreeMap::new();
        let mut decided = Vec::new();
        for hunk in hunks {
            let hunk = HunkRecord { state: self.state, ..hunk };
            match hunk.document {
                Some(document) => by_document.entry(document).or_default().push(hunk),
                None => decided.push(hunk),
            }
        }
        let mut failed = None;
        for (document, theirs) in &mut by_document {
            for hunk in &*theirs {
                self.move_document(hunk).await?;
            }
            match self.settle(*document, theirs, followed.contains(document)).await {
                Ok(true) => {}
                // Should the document return, its text is made to follow then.
                Ok(false) => theirs.iter_mut().for_each(|hunk| {
                    hunk.reason.get_or_insert_with(|| GONE.to_owned());
                }),
                Err(error) => {
                    theirs.clear();
                    failed.get_or_insert(error);
                }
            }
        }
        let mut looked_at: BTreeMap<DocumentId, Vec<HunkRecord>> = BTreeMap::new();
        for hunk in by_document.values().flatten().chain(&again) {
            if let Some(document) = hunk.document {
                looked_at.entry(document).or_default().push(hunk.clone());
            }
        }
        for (document, theirs) in looked_at {
            match self.verdict {
                Verdict::Undo if self.remove_if_only_ours(document, &theirs).await? => {
                    by_document.remove(&document);
                    let reason = Some(WENT_WITH_IT.to_owned());
                    decided
                        .extend(theirs.into_iter().map(|hunk| HunkRecord { reason: reason.clone(), ..hunk }));
                }
                Verdict::Keep if theirs.iter().any(|hunk| hunk.reason.as_deref() == Some(DELETED)) => {
                    self.delete_again(document).await?;
                }
                _ => {}
            }
        }
        decided.extend(by_document.into_values().flatten());
        Ok((decided, failed))
    }

    /// Brings documents back that a hunk deleted, or that went when the hunks that made them were rejected. Gives
    /// the hunks that can be decided about, and the documents in which others may have been decided about while
    /// they were gone.
    async fn bring_documents_back(
        &self,
        hunks: Vec<HunkRecord>,
    ) -> Result<(Vec<HunkRecord>, BTreeSet<DocumentId>), AgentError> {
        let reason = match self.verdict {
            Verdict::Undo => DELETED,
            Verdict::Keep => WENT_WITH_IT,
        };
        let options = &self.supervisor.shared.options;
        let lost: BTreeSet<DocumentId> = hunks
            .iter()
            .filter(|hunk| hunk.reason.as_deref() == Some(reason))
            .filter_map(|hunk| hunk.document)
            .collect();
        let mut unreachable = BTreeSet::new();
        for id in lost {
            let Some(document) = options.store.document(id).await? else { continue };
            if document.deleted_at.is_none() {
                continue;
            }
            if let Err(error) = options.documents.restore(self.record.project, self.member, id).await {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(document.id = %id, error, "a document could not be brought back");
                unreachable.insert(id);
            }
        }
        let mut hunks = hunks;
        hunks.retain(|hunk| {
            let is_lost = hunk.document.is_some_and(|document| unreachable.contains(&document));
            !is_lost || hunk.reason.as_deref() != Some(reason)
        });
        let was_gone = |hunk: &HunkRecord| {
            hunk.reason.as_deref().is_some_and(|said| [DELETED, WENT_WITH_IT, GONE].contains(&said))
        };
        let followed = hunks.iter().filter(|hunk| was_gone(hunk)).filter_map(|hunk| hunk.document).collect();
        if self.verdict == Verdict::Keep {
            for hunk in &mut hunks {
                hunk.reason.take_if(|said| said == WENT_WITH_IT || said == GONE);
            }
        }
        Ok((hunks, followed))
    }

    /// Makes a document's text follow, and commits the states with it; `false` when there is no such document any
    /// more. With `everything` it follows all decisions, not only this one.
    async fn settle(
        &self,
        document: DocumentId,
        hunks: &[HunkRecord],
        everything: bool,
    ) -> Result<bool, AgentError> {
        let review = ReviewWrite {
            turn: self.record.id,
            hunks: hunks.iter().map(|hunk| hunk.hunk).collect(),
            verdict: self.verdict,
            everything,
            member: self.member,
            changes: hunks.iter().map(|hunk| Change::PutHunk(Box::new(hunk.clone()))).collect(),
            stop: CancellationToken::new(),
        };
        let mut tries = 0;
        loop {
            let result = match self.supervisor.shared.options.rooms.open(document).await {
                Ok(room) => room.review(review.clone()).await.map(drop),
                Err(error) => Err(error),
            };
            tries += 1;
            match result {
                // Doing it twice is harmless, so a room that closed under it is asked again.
                Err(RoomError::Closed(_)) if tries < ROOM_TRIES => {}
                Ok(()) => return Ok(true),
                Err(RoomError::NotFound(_)) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Moves a document back that a hunk moved, or there again. One that somebody has moved on stays.
    async fn move_document(&self, hunk: &HunkRecord) -> Result<(), AgentError> {
        let moved = hunk.reason.as_deref().and_then(|reason| reason.strip_prefix(MOVED_TO));
        let (Some(id), Some(to)) = (hunk.document, moved) else { return Ok(()) };
        let (from, to) = match self.verdict {
            Verdict::Undo => (to, hunk.path.as_str()),
            Verdict::Keep => (hunk.path.as_str(), to),
        };
        let Some(document) = self.live(id).await?.filter(|document| document.path == from) else {
            return Ok(());
        };
        let options = &self.supervisor.shared.options;
        if let Err(error) = options.documents.rename(self.record.project, self.member, document.id, to).await
        {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(document.id = %id, error, "a document was not moved back");
        }
        Ok(())
    }

    /// Deletes a document the turn made, if nothing is left in it and nobody else ever wrote in it. Tells whether
    /// it did.
    async fn remove_if_only_ours(&self, id: DocumentId, hunks: &[HunkRecord]) -> Result<bool, AgentError> {
        let options = &self.supervisor.shared.options;
        let record = self.record;
        let Some(document) = self.live(id).await? else { return Ok(false) };
        // One of its hunks is about it, so it was not made after the turn's end either. Edits over HTTP make
        // their documents in the very commit that ends their turn.
        let was_made_by_it = document.created_at >= record.created_at;
        if !was_made_by_it {
            return Ok(false);
        }
        let clients = options.store.clients_of(id).await?;
        let only_ours = clients.iter().all(|client| {
            matches!(client.owner, ClientOwner::Server) || client.owner == ClientOwner::Turn(record.id)
        });
        let has_ours = clients.iter().any(|client| client.owner == ClientOwner::Turn(record.id));
        // It may have been stopped before it wrote in it. A document somebody made with a text is not like that, and
        // one it only moved or deleted may be somebody's empty one, made while the turn waited.
        let is_moved = |hunk: &HunkRecord| {
            hunk.reason.as_deref().is_some_and(|said| said == DELETED || said.starts_with(MOVED_TO))
        };
        let is_untouched = clients.is_empty() && !hunks.iter().any(is_moved);
        if !only_ours || !(has_ours || is_untouched) || !read_room(&options.rooms, id).await?.1.is_empty() {
            return Ok(false);
        }
        match options.documents.delete(record.project, self.member, id).await {
            Ok(()) => Ok(true),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(document.id = %id, error, "an empty document stays");
                Ok(false)
            }
        }
    }

    async fn delete_again(&self, id: DocumentId) -> Result<(), AgentError> {
        if self.live(id).await?.is_none() {
            return Ok(());
        }
        let options = &self.supervisor.shared.options;
        if let Err(error) = options.documents.delete(self.record.project, self.member, id).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(document.id = %id, error, "a document was not deleted again");
        }
        Ok(())
    }

    async fn live(&self, id: DocumentId) -> Result<Option<Document>, AgentError> {
        let document = self.supervisor.shared.options.store.document(id).await?;
        Ok(document.filter(|document| document.deleted_at.is_none()))
    }
}

/// The right to review a turn, held by one at a time; others wait for it.
struct Claim {
    shared: Arc<Shared>,
    turn: TurnId,
    held: Option<OwnedMutexGuard<()>>,
}

impl Claim {
    async fn wait(shared: &Arc<Shared>, turn: TurnId) -> Self {
        let lock: Arc<Mutex<()>> = shared.state.lock().reviewing.entry(turn).or_default().clone();
        // Made before waiting, so that one who gives up waiting tidies up, too.
        let mut claim = Self { shared: shared.clone(), turn, held: None };
        claim.held = Some(lock.lock_owned().await);
        claim
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        drop(self.held.take());
        let mut state = self.shared.state.lock();
        if state.reviewing.get(&self.turn).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            state.reviewing.remove(&self.turn);
        }
    }
}
