//! Edits from outside: planned, prepared in every room, committed with their turn, and seen for a moment.

use std::collections::{BTreeMap, HashMap};

use ensemble_edit::Mode;
use ensemble_protocol::id::{DocumentId, ProjectId, TurnId, Version};
use ensemble_protocol::limits;
use ensemble_protocol::rest::{HunkState, Review, TextReplacement, TurnStatus};
use ensemble_store::{Change, HunkRecord, Project, TurnRecord, TurnUpdate};
use ensemble_sync::RoomError;
use ensemble_sync::anchor::Anchor;
use ensemble_sync::room::{AgentPresence, Telling, TextEdits};
use ensemble_sync::transaction::Transaction;

use super::Supervisor;
use crate::apply::{DELETED, MOVED_TO};
use crate::context::ROOM_TRIES;
use crate::error::AgentError;
use crate::outside::{
    FailedHunk, FileStep, OutsideDocument, OutsideDone, OutsideError, OutsidePlan, Outsider, PROMPT, Settled,
    TreePart, plan_patch, plan_replacements, settle,
};
use crate::policy::Entry;
use crate::replica;

/// What was prepared of a plan.
struct Prepared {
    transaction: Transaction,
    hunks: Vec<HunkRecord>,
    changes: bool,
    /// Where each document's last edit ends, to show who made it.
    ends: Vec<(DocumentId, Anchor)>,
}

impl Supervisor {
    /// Finds the places of replacements in one document. Nothing is changed.
    pub async fn plan_replacements(
        &self,
        entry: Entry,
        base_version: Option<&str>,
        edits: Vec<TextReplacement>,
    ) -> Result<OutsidePlan, OutsideError> {
        let options = &self.shared.options;
        let turn = TurnId::from_uuid(options.ids.uuid());
        plan_replacements(&options.rooms, turn, entry, base_version, edits).await
    }

    /// Finds the places of a patch in these documents of a project. Nothing is changed.
    ///
    /// In [`Mode::Unique`] everything has its place, or this fails; in [`Mode::Codex`] at least one file does.
    /// Before it is done somebody has to see to it that it [still means](OutsidePlan::still_means) the same.
    pub async fn plan_patch(
        &self,
        entries: &[Entry],
        patch: String,
        base_versions: &BTreeMap<String, String>,
        mode: Mode,
    ) -> Result<OutsidePlan, OutsideError> {
        let options = &self.shared.options;
        let turn = TurnId::from_uuid(options.ids.uuid());
        plan_patch(&options.rooms, turn, entries, patch, base_versions, mode).await
    }

    /// Does what was planned, all of it in one transaction with the turn that stands for it.
    ///
    /// Nothing was done where this fails, unless the server is stopping.
    pub async fn edit_outside(
        &self,
        project: &Project,
        who: &Outsider,
        plan: OutsidePlan,
        tree: TreePart,
    ) -> Result<OutsideDone, AgentError> {
        self.show(who, &plan).await;
        let mut tries = 0;
        let outcome = loop {
            tries += 1;
            match self.try_outside(project, who, &plan, &tree).await {
                // An idle room closes under it now and then, and then nothing was committed.
                Err(AgentError::Room(RoomError::Closed(_))) if tries < ROOM_TRIES => {}
                outcome => break outcome,
            }
        };
        self.linger(who, &plan, outcome.as_ref().map_or(&[][..], |(_, ends)| ends)).await;
        outcome.map(|(done, _)| done)
    }

    async fn try_outside(
        &self,
        project: &Project,
        who: &Outsider,
        plan: &OutsidePlan,
        tree: &TreePart,
    ) -> Result<(OutsideDone, Vec<(DocumentId, Anchor)>), AgentError> {
        let shared = &self.shared;
        let options = &shared.options;
        let prepared = self.prepare(project, who, plan, tree).await?;
        let Prepared { mut transaction, hunks, changes, ends } = prepared;
        if !changes {
            return Ok((done(None, plan, tree, hunks, &HashMap::new()), ends));
        }
        let record = self.outside_turn(project.id, who, plan, tree);
        let removed = self.make_room(project.id).await?;
        let give_back = |removed: Vec<TurnId>| {
            if let Some(shown) = shared.state.lock().shown.get_mut(&project.id) {
                shown.extend(removed);
            }
        };
        let mut edits = replica::created(&record);
        let ended = TurnUpdate { finished_at: record.finished_at, ..TurnUpdate::default() };
        edits.extend(replica::updated(record.id, &ended));
        edits.extend(hunks.iter().map(replica::hunk));
        edits.extend(removed.iter().map(|turn| replica::removed(*turn)));
        if let Err(error) = transaction.edit_replica(project.turns, edits).await {
            give_back(removed);
            return Err(error.into());
        }
        let mut changes = vec![Change::CreateTurn(Box::new(record.clone()))];
        changes.extend(tree.changes.iter().cloned());
        changes.extend(hunks.iter().cloned().map(|hunk| Change::PutHunk(Box::new(hunk))));
        let together = match transaction.commit(changes, tree.updates.clone()).await {
            Ok(together) => together,
            Err(error) => {
                give_back(removed);
                return Err(error.into());
            }
        };
        if let Some(shown) = shared.state.lock().shown.get_mut(&project.id) {
            shown.push_front(record.id);
        }
        tracing::info!(
            turn.id = %record.id, project.id = %record.project,
            "turn `{}` edited {} documents over HTTP", record.id, record.documents.len()
        );
        for step in &plan.steps {
            if let FileStep::Delete { document, .. } = step {
                options.rooms.close(*document);
            }
        }
        Ok((done(Some(record.id), plan, tree, hunks, &together.versions), ends))
    }

    /// Keeps the places in all rooms, and prepares everything but the replica of the turns.
    async fn prepare(
        &self,
        project: &Project,
        who: &Outsider,
        plan: &OutsidePlan,
        tree: &TreePart,
    ) -> Result<Prepared, AgentError> {
        let documents = plan.files.iter().map(|file| file.document);
        let documents = documents.chain([project.turns]).chain(tree.tree);
        let mut transaction = Transaction::begin(&self.shared.options.rooms, documents).await?;
        let mut all = Vec::new();
        let mut ends = Vec::new();
        let mut changes = !plan.steps.is_empty();
        for file in &plan.files {
            let edits = TextEdits { turn: plan.turn, member: who.member, edits: file.edits.clone() };
            let text = transaction.edit_text(file.document, edits).await?;
            if let Some(last) = text.edits.last() {
                ends.push((file.document, last.written.end));
            }
            let Settled { hunks, changes: here } = settle(plan.turn, file, &text);
            all.extend(hunks);
            changes |= here;
        }
        all.extend(plan.steps.iter().map(|step| of_step(plan.turn, step, tree)));
        all.extend(plan.missed.iter().map(|failed| of_missed(plan.turn, failed)));
        all.sort_by_key(|record| record.hunk);
        if let Some(tree_room) = tree.tree {
            transaction.edit_replica(tree_room, tree.edits.clone()).await?;
        }
        Ok(Prepared { transaction, hunks: all, changes, ends })
    }

    fn outside_turn(
        &self,
        project: ProjectId,
        who: &Outsider,
        plan: &OutsidePlan,
        tree: &TreePart,
    ) -> TurnRecord {
        let options = &self.shared.options;
        let mut documents: Vec<DocumentId> = plan.files.iter().map(|file| file.document).collect();
        documents.extend(plan.steps.iter().filter_map(|step| document_of(step, tree)));
        documents.sort_unstable();
        documents.dedup();
        let now = options.clock.now();
        TurnRecord {
            id: plan.turn,
            project,
            agent: who.agent.clone(),
            by: who.member,
            prompt: PROMPT.into(),
            status: TurnStatus::Done,
            documents,
            answer: String::new(),
            usage: None,
            error: None,
            review: Review::Open,
            node: options.node,
            created_at: now,
            finished_at: Some(now),
        }
    }

    /// Shows who is about to write where.
    async fn show(&self, who: &Outsider, plan: &OutsidePlan) {
        for file in &plan.files {
            if let (Some(first), Some(start)) = (file.edits.first(), file.starts.first()) {
                self.see(who, plan.turn, file.document, (*start, first.at), Telling::Now).await;
            }
        }
    }

    async fn see(
        &self,
        who: &Outsider,
        turn: TurnId,
        document: DocumentId,
        cursor: (Anchor, Anchor),
        telling: Telling,
    ) {
        let presence = AgentPresence {
            agent: who.agent.clone(),
            name: who.name.clone(),
            color: who.color.clone(),
            turn,
            status: "writing",
            cursor: Some(cursor),
            telling,
        };
        self.shared.state.lock().outside.insert((document, who.presence.clone()), turn);
        // Nobody is in a document that is not open.
        if let Some(room) = self.shared.options.rooms.find(document) {
            room.set_agent(&who.presence, Some(presence)).await;
        }
    }

    /// Leaves who has written in view for a moment; at once where nothing was written.
    async fn linger(&self, who: &Outsider, plan: &OutsidePlan, ends: &[(DocumentId, Anchor)]) {
        for (document, end) in ends {
            self.see(who, plan.turn, *document, (*end, *end), Telling::Soon).await;
        }
        let was_written = !ends.is_empty();
        let documents: Vec<DocumentId> = plan.files.iter().map(|file| file.document).collect();
        let (supervisor, key, turn) = (self.clone(), who.presence.clone(), plan.turn);
        self.shared.tasks.spawn(async move {
            let shared = &supervisor.shared;
            if was_written {
                tokio::select! {
                    () = shared.stop.cancelled() => {}
                    () = tokio::time::sleep(limits::EDIT_PRESENCE) => {}
                }
            }
            for document in documents {
                let place = (document, key.clone());
                {
                    let mut state = shared.state.lock();
                    // Whoever came back in the meantime is seen on.
                    if state.outside.get(&place) != Some(&turn) {
                        continue;
                    }
                    state.outside.remove(&place);
                }
                if let Some(room) = shared.options.rooms.find(document) {
                    room.set_agent(&place.1, None).await;
                }
            }
        });
    }
}

/// What the caller is told.
fn done(
    turn: Option<TurnId>,
    plan: &OutsidePlan,
    tree: &TreePart,
    hunks: Vec<HunkRecord>,
    versions: &HashMap<DocumentId, Version>,
) -> OutsideDone {
    let mut documents: BTreeMap<String, OutsideDocument> = BTreeMap::new();
    let mut paths: HashMap<DocumentId, String> = HashMap::new();
    for file in &plan.files {
        paths.insert(file.document, file.path.clone());
    }
    let mut gone = Vec::new();
    for step in &plan.steps {
        match step {
            FileStep::Add { path, .. } => {
                document_of(step, tree).map(|document| paths.insert(document, path.clone()));
            }
            FileStep::Move { document, to, .. } => drop(paths.insert(*document, to.clone())),
            FileStep::Delete { document, path, .. } => {
                paths.insert(*document, path.clone());
                gone.push(*document);
            }
        }
    }
    let version = |document: DocumentId| {
        let read = plan.files.iter().find(|file| file.document == document).map(|file| file.version);
        let moved = tree.versions.get(&document).copied();
        let known = versions.get(&document).copied().or(read).or(moved);
        known.filter(|_| !gone.contains(&document))
    };
    for hunk in hunks {
        let path = hunk.document.and_then(|document| paths.get(&document)).unwrap_or(&hunk.path).clone();
        // A document that goes and one that takes its path are two.
        let is_gone = hunk.document.is_some_and(|document| gone.contains(&document));
        let key = if is_gone { format!("{path}\0") } else { path.clone() };
        let told = documents.entry(key).or_insert_with(|| OutsideDocument {
            document: hunk.document,
            path,
            version: hunk.document.and_then(version),
            hunks: Vec::new(),
        });
        told.hunks.push(replica::shown_hunk(hunk));
    }
    OutsideDone { turn, documents: documents.into_values().collect() }
}

fn document_of(step: &FileStep, tree: &TreePart) -> Option<DocumentId> {
    match step {
        FileStep::Add { hunk, .. } => tree.made.get(hunk).copied(),
        FileStep::Delete { document, .. } | FileStep::Move { document, .. } => Some(*document),
    }
}

fn of_step(turn: TurnId, step: &FileStep, tree: &TreePart) -> HunkRecord {
    let (hunk, path, reason, text) = match step {
        FileStep::Add { hunk, path, text } => (*hunk, path, None, Some(text)),
        FileStep::Delete { hunk, path, .. } => (*hunk, path, Some(DELETED.to_owned()), None),
        FileStep::Move { hunk, from, to, .. } => (*hunk, from, Some(format!("{MOVED_TO}{to}")), None),
    };
    HunkRecord {
        turn,
        hunk,
        document: document_of(step, tree),
        path: path.clone(),
        state: HunkState::Applied,
        anchor: text.map(|_| Anchor::Start.to_relative_position()),
        head: None,
        inserted: text.map_or(0, |text| u32::try_from(text.encode_utf16().count()).unwrap_or(u32::MAX)),
        deleted: 0,
        line: text.map(|_| 1),
        reason,
    }
}

fn of_missed(turn: TurnId, failed: &FailedHunk) -> HunkRecord {
    HunkRecord {
        turn,
        hunk: failed.hunk,
        document: failed.document,
        path: failed.path.clone(),
        state: HunkState::Missed,
        anchor: None,
        head: None,
        inserted: 0,
        deleted: 0,
        line: failed.miss.lines.first().copied(),
        reason: Some(failed.miss.message.clone()),
    }
}
