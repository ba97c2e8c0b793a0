//! Edits over HTTP: by a program with a token, or by whoever is signed in.

use std::collections::HashMap;

use ensemble_agent::outside::{
    FailedHunk, FileStep, OutsideDocument, OutsideDone, OutsideError, OutsidePlan, Outsider, TreePart,
};
use ensemble_agent::policy::Entry;
use ensemble_edit::Mode;
use ensemble_protocol::error::{ErrorCode, FailedEdit, NearestText};
use ensemble_protocol::id::{DocumentId, Version};
use ensemble_protocol::rest;
use ensemble_store::{
    Change, ClientOwner, Document, DocumentKind, LedgerActor, LedgerEntry, LedgerKind, Project,
};
use ensemble_sync::room::ReplicaWrite;

use super::documents::{FIRST_EPOCH, normalise, refuse_taken};
use super::{Commands, path, tree};
use crate::access::{Access, Action};
use crate::auth::{AUTOMATIC_TOKENS, Credential};
use crate::error::ApiError;

/// How often a patch is planned anew because its paths became those of other documents meanwhile.
const PLAN_TRIES: u32 = 3;

impl Commands {
    /// Replaces texts in one document, all of them or none.
    pub async fn edit_document(
        &self,
        access: &Access,
        id: DocumentId,
        request: rest::EditDocument,
    ) -> Result<rest::EditedDocument, ApiError> {
        let who = self.outsider(access)?;
        let document = self.text_document(&access.project, id).await?;
        let entry = Entry { id, path: document.path };
        let edits = request
            .edits
            .iter()
            .map(|edit| rest::TextReplacement {
                old_text: normalise(&edit.old_text).into_owned(),
                new_text: normalise(&edit.new_text).into_owned(),
            })
            .collect();
        let (this, project) = (self.clone(), access.project.clone());
        self.finish("document.edit", async move {
            let turns = this.turns();
            let plan = turns.plan_replacements(entry, request.base_version.as_deref(), edits).await?;
            let done = turns.edit_outside(&project, &who, plan, TreePart::default()).await?;
            let turn = done.turn;
            let edited = done.documents.into_iter().next();
            let (version, hunks) = edited
                .and_then(|document| Some((document.version?, document.hunks)))
                .ok_or_else(|| ApiError::internal("edits of a document that say nothing of it"))?;
            Ok(rest::EditedDocument { version, hunks, turn })
        })
        .await
    }

    /// Applies a patch to the documents of a project: all of it or nothing, or file by file as Codex does.
    pub async fn apply_patch(
        &self,
        access: &Access,
        request: rest::ApplyPatch,
    ) -> Result<rest::PatchedDocuments, ApiError> {
        let who = self.outsider(access)?;
        let mode = match request.compat {
            Some(rest::Compat::Codex) => Mode::Codex,
            None => Mode::Unique,
        };
        let (this, project) = (self.clone(), access.project.clone());
        self.finish("project.patch", async move {
            let base_versions = request.base_versions.unwrap_or_default();
            let turns = this.turns();
            let mut tries = 0;
            // Looking for places takes a while, and the project's documents come, go and move meanwhile.
            let (_guard, documents, plan) = loop {
                let entries = self::entries(&this.store.documents_of(project.id).await?);
                let patch = request.patch.clone();
                let plan = turns.plan_patch(&entries, patch, &base_versions, mode).await?;
                // From here on what the patch calls a path stays that document until it is applied.
                let guard = this.lock(project.id).await;
                let documents = this.store.documents_of(project.id).await?;
                if plan.still_means(&self::entries(&documents)) {
                    break (guard, documents, plan);
                }
                tries += 1;
                if tries == PLAN_TRIES {
                    let detail = "documents of the patch come, go or move all the time; try again later";
                    return Err(ApiError::new(ErrorCode::Busy, detail));
                }
            };
            if !plan.steps().is_empty() {
                this.compare_tree(&project).await?;
            }
            let tree = this.tree_part(&project, &who, documents, &plan)?;
            let OutsideDone { turn, documents } = turns.edit_outside(&project, &who, plan, tree).await?;
            Ok(rest::PatchedDocuments { documents: documents.into_iter().map(patched).collect(), turn })
        })
        .await
    }

    /// Who edits, if they may and not too often.
    fn outsider(&self, access: &Access) -> Result<Outsider, ApiError> {
        access.authorize(Action::Edit)?;
        let member = &access.caller.member;
        let (id, name, color) = (member.id, member.name.clone(), member.color.clone());
        Ok(match &access.caller.credential {
            Credential::Session(_) => {
                self.rates.check_edit(id, None)?;
                Outsider::person(id, name, color)
            }
            Credential::Token { id: token, name: of_token, .. } => {
                self.rates.check_edit(id, Some(*token))?;
                let is_automatic = AUTOMATIC_TOKENS.contains(&of_token.as_str());
                let name = if is_automatic { format!("{name}'s token") } else { of_token.clone() };
                Outsider::token(id, format!("token:{token}"), name, color)
            }
        })
    }

    /// What a plan means for the tree, step by step: a path may be taken only after it became free.
    fn tree_part(
        &self,
        project: &Project,
        who: &Outsider,
        mut live: Vec<Document>,
        plan: &OutsidePlan,
    ) -> Result<TreePart, ApiError> {
        let mut write = ReplicaWrite::default();
        let mut made = HashMap::new();
        let mut versions: HashMap<DocumentId, Version> = HashMap::new();
        for step in plan.steps() {
            match step {
                FileStep::Add { hunk, path, text } => {
                    path::check(path)?;
                    self.refuse_full(&live)?;
                    refuse_taken(path, &live, None)?;
                    let id = self.add_document(project, who.member, path, text, &mut write)?;
                    if let Some(update) = write.updates.last_mut().filter(|update| update.document == id) {
                        // The text is the turn's, and goes with it when it is rejected.
                        update.author.turn = Some(plan.turn());
                        for client in &mut update.clients {
                            client.owner = ClientOwner::Turn(plan.turn());
                            update.ledger.push(LedgerEntry {
                                by: LedgerActor::Turn(plan.turn()),
                                hunk: Some(*hunk),
                                kind: LedgerKind::Inserted,
                                client: client.client,
                                clock: client.first,
                                length: client.next - client.first,
                                text: None,
                                of: None,
                            });
                        }
                    }
                    made.insert(*hunk, id);
                    versions.insert(id, Version { epoch: FIRST_EPOCH, seq: 0 });
                    live.push(Document {
                        id,
                        project: project.id,
                        path: path.clone(),
                        kind: DocumentKind::Text,
                        epoch: FIRST_EPOCH,
                        last_seq: 0,
                        created_at: self.clock.now(),
                        deleted_at: None,
                    });
                }
                FileStep::Delete { document, .. } => {
                    live.retain(|held| held.id != *document);
                    write.changes.push(Change::DeleteDocument { id: *document });
                    write.edits.push(tree::remove_document(&document.to_string()));
                }
                FileStep::Move { document, to, .. } => {
                    path::check(to)?;
                    refuse_taken(to, &live, Some(*document))?;
                    let Some(held) = live.iter_mut().find(|held| held.id == *document) else { continue };
                    held.path.clone_from(to);
                    versions.insert(*document, held.version());
                    write.changes.push(Change::RenameDocument { id: *document, path: to.clone() });
                    let entry = tree::document_entry(to, held.epoch, held.created_at);
                    write.edits.push(tree::put_document(&document.to_string(), entry));
                }
            }
        }
        let ReplicaWrite { changes, updates, edits } = write;
        let tree = (!edits.is_empty()).then_some(project.tree);
        Ok(TreePart { tree, changes, updates, edits, made, versions })
    }
}

fn entries(documents: &[Document]) -> Vec<Entry> {
    documents.iter().map(|document| Entry { id: document.id, path: document.path.clone() }).collect()
}

fn patched(document: OutsideDocument) -> rest::PatchedDocument {
    let OutsideDocument { document: id, path, version, hunks } = document;
    rest::PatchedDocument { id, path, version, hunks }
}

impl From<OutsideError> for ApiError {
    fn from(error: OutsideError) -> Self {
        let detail = error.to_string();
        match error {
            OutsideError::Failed(failed) => {
                let code = failed.first().map_or(ErrorCode::EditNotFound, FailedHunk::code);
                Self::new(code, detail).with_edits(failed.into_iter().map(failed_edit).collect())
            }
            OutsideError::VersionUnknown { current, .. } => {
                Self::new(ErrorCode::VersionUnknown, detail).with_version(current)
            }
            OutsideError::BadRequest(_) => Self::new(ErrorCode::BadRequest, detail),
            OutsideError::TooLarge(_) => Self::new(ErrorCode::TooLarge, detail),
            OutsideError::Agent(error) => error.into(),
        }
    }
}

fn failed_edit(failed: FailedHunk) -> FailedEdit {
    let code = failed.code();
    let FailedHunk { hunk, path, document, miss } = failed;
    let nearest = miss.nearest.map(|nearest| NearestText {
        line: nearest.line,
        first_difference: nearest.first_difference,
        expected: nearest.expected,
        found: nearest.found,
    });
    FailedEdit { hunk, path, document, code, detail: miss.message, lines: miss.lines, nearest }
}
