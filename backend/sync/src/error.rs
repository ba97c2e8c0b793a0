//! What can go wrong with a room, by what the caller can do about it.

use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::id::DocumentId;
use ensemble_store::StoreError;

use crate::admission::Refusal;

/// Why a room did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RoomError {
    /// There is no such document.
    #[error("document `{0}` does not exist")]
    NotFound(DocumentId),
    /// The room closed meanwhile: open it again.
    #[error("the room of document `{0}` has closed")]
    Closed(DocumentId),
    /// Its stored history is damaged: it is open for reading, from what is readable.
    #[error("document `{0}` is damaged and open for reading only")]
    Damaged(DocumentId),
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
    /// As many peers as a room holds are in it.
    #[error("the room of document `{0}` is full")]
    Full(DocumentId),
    /// Others' edits took the document for too long: try again later.
    #[error("document `{0}` is busy")]
    Busy(DocumentId),
    /// The turn was stopped before this was written.
    #[error("the turn was stopped")]
    TurnStopped,
    /// The edit does not fit the document: a fault of the caller.
    #[error("the edit does not fit document `{document}`: {refusal}")]
    Refused {
        /// The document.
        document: DocumentId,
        /// Why.
        refusal: Refusal,
    },
    /// A row in the way, such as a path that is taken.
    #[error("it conflicts with what is kept: {0}")]
    Conflict(ensemble_store::Conflict),
    /// The database does not answer, or holds something that makes no sense; the log has the cause.
    #[error("document `{document}` could not be read or written: {detail}")]
    Store {
        /// The document.
        document: DocumentId,
        /// What the store said.
        detail: String,
    },
}

impl RoomError {
    pub(crate) fn store(document: DocumentId, error: StoreError) -> Self {
        match error {
            StoreError::Conflict { what } => Self::Conflict(what),
            StoreError::Closed => Self::Stopping,
            other => Self::Store { document, detail: other.to_string() },
        }
    }

    /// Why a write of a document failed. What such a write names is the document: when that is deleted under it,
    /// it is the document that is not there.
    pub(crate) fn of_write(document: DocumentId, error: StoreError) -> Self {
        match error {
            StoreError::NotFound { .. } => Self::NotFound(document),
            other => Self::store(document, other),
        }
    }

    /// The stable code clients are told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound(_) => ErrorCode::DocumentNotFound,
            Self::Damaged(_) => ErrorCode::ReadOnly,
            Self::TurnStopped => ErrorCode::TurnNotRunning,
            Self::Refused { .. } => ErrorCode::BadRequest,
            Self::Conflict(ensemble_store::Conflict::PathTaken) => ErrorCode::PathTaken,
            Self::Closed(_) | Self::Stopping | Self::Full(_) | Self::Busy(_) | Self::Conflict(_) => {
                ErrorCode::Busy
            }
            Self::Store { .. } => ErrorCode::Internal,
        }
    }
}
