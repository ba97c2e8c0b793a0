//! Documents a turn makes, deletes and moves, as far as its policy lets it.
//!
//! A command that began comes to its end whoever waits for it, so a stop waits for it too: what it did is recorded
//! and can be rejected.

use std::sync::Arc;

use ensemble_protocol::id::{DocumentId, HunkId};
use ensemble_store::HunkRecord;
use tokio::time::Instant;

use super::writer::DocumentWriter;
use super::{Applier, CUT_OFF, DELETED, MOVED_TO};
use crate::context;
use crate::policy::{Entry, NEW_FILES, NOT_PART_OF_TURN};

impl Applier {
    /// Whether the turn was stopped before a command began; then its hunk is missed.
    fn is_stopped(&mut self, hunk: HunkId, document: Option<DocumentId>, path: &str) -> bool {
        let is_stopped = self.job.stop.is_cancelled();
        if is_stopped {
            self.hunks.missed(hunk, document, path, CUT_OFF);
        }
        is_stopped
    }

    pub(super) async fn add_file(&mut self, hunk: HunkId, path: &Arc<str>, text: String) {
        if self.document_at(path).is_some() {
            self.hunks.missed(hunk, self.document_at(path), path, NOT_PART_OF_TURN);
            return;
        }
        if self.made >= NEW_FILES {
            self.hunks.missed(hunk, None, path, "the turn has made as many documents as one may");
            return;
        }
        if self.is_stopped(hunk, None, path) {
            return;
        }
        let files = self.job.files.clone();
        let made = files.create(self.job.project, self.job.member, path).await;
        let document = match made {
            Ok(document) => document,
            Err(error) => {
                self.hunks.missed(hunk, None, path, &error.detail);
                return;
            }
        };
        self.made += 1;
        self.job.documents.push(document);
        self.documents_are_new = true;
        self.job.entries.push(Entry { id: document, path: path.to_string() });
        match context::read_room(&self.job.rooms, document).await {
            Ok((room, base)) => {
                let mut writer = DocumentWriter::new(document, path.clone(), room, base, Instant::now());
                let record = self.hunks.record(hunk, Some(document), path);
                self.hunks.put(HunkRecord { line: Some(1), ..record });
                if !text.is_empty() {
                    writer.push_new_text(hunk, text);
                }
                self.paths.insert(path.to_string(), self.writers.len());
                self.writer_of.insert(hunk, self.writers.len());
                self.writers.push(writer);
            }
            Err(error) => self.fail(&error),
        }
    }

    pub(super) async fn delete_file(&mut self, hunk: HunkId, path: &Arc<str>) {
        let document = self.document_at(path);
        let Some(&at) = self.paths.get(&**path).filter(|_| self.job.policy.may_delete(path)) else {
            self.hunks.missed(hunk, document, path, NOT_PART_OF_TURN);
            return;
        };
        let document = self.writers[at].document;
        if self.is_stopped(hunk, Some(document), path) {
            return;
        }
        let files = self.job.files.clone();
        let deleted = files.delete(self.job.project, self.job.member, document).await;
        match deleted {
            Ok(()) => {
                for lost in self.writers[at].drop_all() {
                    self.hunks.missed(lost, Some(document), path, "the document was deleted");
                }
                self.paths.remove(&**path);
                self.job.entries.retain(|entry| entry.id != document);
                let record = self.hunks.record(hunk, Some(document), path);
                self.hunks.put(HunkRecord { reason: Some(DELETED.into()), ..record });
            }
            Err(error) => self.hunks.missed(hunk, Some(document), path, &error.detail),
        }
    }

    pub(super) async fn move_file(&mut self, hunk: HunkId, from: &Arc<str>, to: &Arc<str>) {
        let document = self.document_at(from);
        let Some(&at) = self.paths.get(&**from).filter(|_| self.job.policy.may_move(from, to)) else {
            self.hunks.missed(hunk, document, from, NOT_PART_OF_TURN);
            return;
        };
        let document = self.writers[at].document;
        if self.is_stopped(hunk, Some(document), from) {
            return;
        }
        let files = self.job.files.clone();
        let moved = files.rename(self.job.project, self.job.member, document, to).await;
        match moved {
            Ok(()) => {
                self.paths.remove(&**from);
                self.paths.insert(to.to_string(), at);
                self.writers[at].path = to.clone();
                for entry in self.job.entries.iter_mut().filter(|entry| entry.id == document) {
                    entry.path = to.to_string();
                }
                let record = self.hunks.record(hunk, Some(document), from);
                self.hunks.put(HunkRecord { reason: Some(format!("{MOVED_TO}{to}")), ..record });
            }
            Err(error) => self.hunks.missed(hunk, Some(document), from, &error.detail),
        }
    }
}
