//! Documents: making, moving, deleting, listing and reading them.

use std::borrow::Cow;
use std::sync::Arc;

use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::id::{DocumentId, MemberId, Version};
use ensemble_protocol::{limits, rest};
use ensemble_store::{Author, Change, Document, DocumentKind, NewUpdate, Project};
use ensemble_sync::RoomError;
use ensemble_sync::anchor::BaseText;
use ensemble_sync::room::ReplicaWrite;
use ensemble_sync::{past, writer};
use tokio::time::{Instant, timeout_at};

use super::{Commands, path, tree};
use crate::access::{Access, Action};
use crate::error::ApiError;

/// The epoch every document starts in.
pub(super) const FIRST_EPOCH: u32 = 1;
/// A room may close between finding and asking it; so often it is opened again.
const REOPENINGS: usize = 3;

/// What a room reads once all of it is saved, unless that takes longer than until then.
async fn saved_by<T>(until: Instant, reading: impl Future<Output = T>) -> Option<T> {
    timeout_at(until, reading).await.ok()
}

impl Commands {
    /// Makes a document, with a text or empty.
    pub async fn create_document(
        &self,
        access: &Access,
        request: rest::CreateDocument,
    ) -> Result<rest::CreatedDocument, ApiError> {
        access.authorize(Action::Edit)?;
        self.make_document(access.project.clone(), access.caller.member.id, request).await
    }

    /// As [`Commands::create_document`], for somebody whose rights were checked.
    pub(super) async fn make_document(
        &self,
        project: Project,
        member: MemberId,
        request: rest::CreateDocument,
    ) -> Result<rest::CreatedDocument, ApiError> {
        path::check(&request.path)?;
        let this = self.clone();
        self.finish("document.create", async move {
            let _guard = this.lock(project.id).await;
            let documents = this.store.documents_of(project.id).await?;
            this.refuse_full(&documents)?;
            refuse_taken(&request.path, &documents, None)?;
            this.compare_tree(&project).await?;
            let text = request.text.unwrap_or_default();
            let mut write = ReplicaWrite::default();
            let id = this.add_document(&project, member, &request.path, &text, &mut write)?;
            let seq = write.updates.len() as u64;
            this.commit_tree(&project, write).await?;
            Ok(rest::CreatedDocument { id, path: request.path, version: Version { epoch: FIRST_EPOCH, seq } })
        })
        .await
    }

    /// Adds a document to a write: its row, its text, and its entry in the tree.
    pub(super) fn add_document(
        &self,
        project: &Project,
        member: MemberId,
        path: &str,
        text: &str,
        write: &mut ReplicaWrite,
    ) -> Result<DocumentId, ApiError> {
        let text = normalise(text);
        if text.encode_utf16().count() as u64 > limits::DOCUMENT_UNITS {
            let most = limits::DOCUMENT_UNITS;
            return Err(ApiError::new(
                ErrorCode::TooLarge,
                format!("a document has at most {most} characters"),
            ));
        }
        let id = DocumentId::from_uuid(self.ids.uuid());
        write.changes.push(Change::CreateDocument {
            id,
            project: project.id,
            path: path.into(),
            kind: DocumentKind::Text,
            epoch: FIRST_EPOCH,
        });
        if let Some((bytes, client)) = writer::new_text(&*self.ids, &text) {
            write.updates.push(NewUpdate {
                document: id,
                epoch: FIRST_EPOCH,
                bytes,
                author: Author { member: Some(member), ..Author::default() },
                clients: vec![client],
                ledger: Vec::new(),
                stamp: self.rooms.stamp(),
            });
        }
        let entry = tree::document_entry(path, FIRST_EPOCH, self.clock.now());
        write.edits.push(tree::put_document(&id.to_string(), entry));
        Ok(id)
    }

    /// Moves a document.
    pub async fn rename_document(
        &self,
        access: &Access,
        id: DocumentId,
        request: rest::RenameDocument,
    ) -> Result<rest::CreatedDocument, ApiError> {
        access.authorize(Action::Edit)?;
        self.move_document(access.project.clone(), id, request.path).await
    }

    /// As [`Commands::rename_document`], for somebody whose rights were checked.
    pub(super) async fn move_document(
        &self,
        project: Project,
        id: DocumentId,
        path: String,
    ) -> Result<rest::CreatedDocument, ApiError> {
        path::check(&path)?;
        let this = self.clone();
        self.finish("document.rename", async move {
            let _guard = this.lock(project.id).await;
            let document = this.text_document(&project, id).await?;
            let renamed = rest::CreatedDocument { id, path: path.clone(), version: document.version() };
            if document.path == path {
                return Ok(renamed);
            }
            refuse_taken(&path, &this.store.documents_of(project.id).await?, Some(id))?;
            this.compare_tree(&project).await?;
            let entry = tree::document_entry(&path, document.epoch, document.created_at);
            let write = ReplicaWrite {
                changes: vec![Change::RenameDocument { id, path }],
                updates: Vec::new(),
                edits: vec![tree::put_document(&id.to_string(), entry)],
            };
            this.commit_tree(&project, write).await?;
            Ok(renamed)
        })
        .await
    }

    /// Takes a document out of the project and closes it for everybody who has it open.
    pub async fn delete_document(&self, access: &Access, id: DocumentId) -> Result<(), ApiError> {
        access.authorize(Action::Edit)?;
        self.remove_document(access.project.clone(), id).await
    }

    /// As [`Commands::delete_document`], for somebody whose rights were checked.
    pub(super) async fn remove_document(&self, project: Project, id: DocumentId) -> Result<(), ApiError> {
        let this = self.clone();
        self.finish("document.delete", async move {
            let _guard = this.lock(project.id).await;
            this.text_document(&project, id).await?;
            this.compare_tree(&project).await?;
            let write = ReplicaWrite {
                changes: vec![Change::DeleteDocument { id }],
                updates: Vec::new(),
                edits: vec![tree::remove_document(&id.to_string())],
            };
            this.commit_tree(&project, write).await?;
            this.rooms.close(id);
            Ok(())
        })
        .await
    }

    /// Puts a deleted document back, with all that was in it, for somebody whose rights were checked. Its path
    /// must be free.
    pub(super) async fn restore_document(&self, project: Project, id: DocumentId) -> Result<(), ApiError> {
        let this = self.clone();
        self.finish("document.restore", async move {
            let _guard = this.lock(project.id).await;
            let document = this
                .store
                .document(id)
                .await?
                .filter(|document| document.project == project.id && document.kind == DocumentKind::Text);
            let document = document.ok_or_else(|| {
                ApiError::new(ErrorCode::DocumentNotFound, "there is no such document in this project")
            })?;
            if document.deleted_at.is_none() {
                return Ok(());
            }
            let documents = this.store.documents_of(project.id).await?;
            this.refuse_full(&documents)?;
            refuse_taken(&document.path, &documents, None)?;
            this.compare_tree(&project).await?;
            let entry = tree::document_entry(&document.path, document.epoch, document.created_at);
            let write = ReplicaWrite {
                changes: vec![Change::RestoreDocument { id }],
                updates: Vec::new(),
                edits: vec![tree::put_document(&id.to_string(), entry)],
            };
            this.commit_tree(&project, write).await?;
            Ok(())
        })
        .await
    }

    /// The documents of a project, by path. Sizes are known of those that are open.
    pub async fn list_documents(&self, access: &Access) -> Result<Vec<rest::Document>, ApiError> {
        access.authorize(Action::Read)?;
        let mut listed = Vec::new();
        let until = Instant::now() + limits::READ_WAIT;
        for document in self.store.documents_of(access.project.id).await? {
            let open = match self.rooms.find(document.id) {
                Some(room) => saved_by(until, room.read()).await.and_then(Result::ok),
                None => None,
            };
            // The version goes with the size; a closed document's version is the log's end.
            let size = match &open {
                Some(read) => Some(u64::from(read.len())),
                None if document.last_seq == 0 => Some(0),
                None => None,
            };
            listed.push(rest::Document {
                id: document.id,
                kind: document.kind.as_str().into(),
                size,
                version: open.map_or_else(|| document.version(), |read| read.version),
                path: document.path,
            });
        }
        Ok(listed)
    }

    /// A document's text and the version it is of. All of it is in the log.
    pub async fn read_text(&self, access: &Access, id: DocumentId) -> Result<(Version, Arc<str>), ApiError> {
        access.authorize(Action::Read)?;
        let read = self.read_base(access, id).await?;
        Ok((read.version, read.text))
    }

    /// A document's text with the ids of its units.
    ///
    /// What people type is in it once it is saved. While that takes long, the text is the last that was.
    pub(super) async fn read_base(&self, access: &Access, id: DocumentId) -> Result<BaseText, ApiError> {
        self.text_document(&access.project, id).await?;
        self.may_open(id)?;
        let until = Instant::now() + limits::READ_WAIT;
        for _ in 0..REOPENINGS {
            match saved_by(until, self.rooms.open(id).await?.read()).await {
                Some(Err(RoomError::Closed(_))) => {}
                None | Some(Err(RoomError::Busy(_))) => return self.read_saved(access, id).await,
                Some(read) => return Ok(read?),
            }
        }
        Err(ApiError::busy("the document is being closed; try again"))
    }

    /// The text a document had when something was last saved, from the log alone.
    async fn read_saved(&self, access: &Access, id: DocumentId) -> Result<BaseText, ApiError> {
        let version = self.text_document(&access.project, id).await?.version();
        let read = past::text_at(&self.rooms, id, version).await?;
        read.ok_or_else(|| {
            ApiError::busy("what was typed here is not saved yet; try again later").after(limits::READ_WAIT)
        })
    }

    /// Refuses to open one more document when as many are open as may be. Those that are open stay so.
    pub fn may_open(&self, id: DocumentId) -> Result<(), ApiError> {
        if self.rooms.len() >= self.documents.open && self.rooms.find(id).is_none() {
            return Err(ApiError::busy("as many documents are open as this server takes; try again later"));
        }
        Ok(())
    }

    /// Refuses another document where there are as many as may be.
    pub(super) fn refuse_full(&self, documents: &[Document]) -> Result<(), ApiError> {
        let most = self.documents.per_project;
        if documents.len() < most {
            return Ok(());
        }
        Err(ApiError::new(ErrorCode::TooLarge, format!("a project has at most {most} documents")))
    }

    /// A live text of the project. Another project's is as good as none.
    pub async fn text_document(&self, project: &Project, id: DocumentId) -> Result<Document, ApiError> {
        self.store
            .document(id)
            .await?
            .filter(|document| {
                document.project == project.id
                    && document.kind == DocumentKind::Text
                    && document.deleted_at.is_none()
            })
            .ok_or_else(|| {
                ApiError::new(ErrorCode::DocumentNotFound, "there is no such document in this project")
            })
    }
}

/// Refuses a path that another document has, or that would be one file with it on some system.
pub(super) fn refuse_taken(
    path: &str,
    documents: &[Document],
    except: Option<DocumentId>,
) -> Result<(), ApiError> {
    documents
        .iter()
        .filter(|document| Some(document.id) != except)
        .find_map(|document| path::collision(path, &document.path))
        .map_or(Ok(()), |why| Err(ApiError::new(ErrorCode::PathTaken, why)))
}

/// Line ends are `\n` in documents, whatever system a text comes from.
pub(super) fn normalise(text: &str) -> Cow<'_, str> {
    if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_become_one_character() {
        assert_eq!(normalise("a\r\nb\rc\n\r\n"), "a\nb\nc\n\n");
        assert!(matches!(normalise("a\nb"), Cow::Borrowed(_)));
    }
}
