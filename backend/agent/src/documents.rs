//! Files as commands: how a turn makes, moves and deletes documents, the same way people do.

use async_trait::async_trait;
use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::id::{DocumentId, MemberId, ProjectId};

/// Why a document was not made, moved or deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct DocumentsError {
    /// For a program.
    pub code: ErrorCode,
    /// For a person.
    pub detail: String,
}

/// The commands about documents, as people use them.
///
/// The server implements this with its own commands, so that a document an agent makes takes the same checks,
/// the same transaction and the same tree replica as one a person makes. A call that returned `Ok` is committed. One
/// whose future is dropped may be committed all the same, so whoever asks waits for the answer.
#[async_trait]
pub trait Documents: Send + Sync + 'static {
    /// Makes an empty text document at a path that is free.
    async fn create(
        &self,
        project: ProjectId,
        member: MemberId,
        path: &str,
    ) -> Result<DocumentId, DocumentsError>;

    /// Moves a document to a path that is free.
    async fn rename(
        &self,
        project: ProjectId,
        member: MemberId,
        document: DocumentId,
        path: &str,
    ) -> Result<(), DocumentsError>;

    /// Puts a deleted document back at its path, if that is free.
    async fn restore(
        &self,
        project: ProjectId,
        member: MemberId,
        document: DocumentId,
    ) -> Result<(), DocumentsError>;

    /// Deletes a document.
    async fn delete(
        &self,
        project: ProjectId,
        member: MemberId,
        document: DocumentId,
    ) -> Result<(), DocumentsError>;
}
