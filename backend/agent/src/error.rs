//! Why the agent did not do what it was asked, by what the caller can do about it.

use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::id::{DocumentId, TurnId, Version};
use ensemble_store::{Conflict, StoreError};
use ensemble_sync::RoomError;

/// Why a command about a turn was refused.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// There is no such project.
    #[error("there is no such project")]
    ProjectNotFound,
    /// There is no such text document in the project.
    #[error("there is no document `{0}` in this project")]
    DocumentNotFound(DocumentId),
    /// There is no such turn in the project.
    #[error("there is no turn `{0}` in this project")]
    TurnNotFound(TurnId),
    /// There is no such agent in the project.
    #[error("there is no agent `{0}` in this project")]
    AgentNotFound(String),
    /// The request makes no sense; the text says what is wrong with it.
    #[error("{0}")]
    BadRequest(String),
    /// The prompt is longer than [`ensemble_protocol::limits::PROMPT_CHARS`].
    #[error("the prompt has {chars} characters; {limit} are the most")]
    PromptTooLong {
        /// Characters it has.
        chars: usize,
        /// Characters it may have.
        limit: usize,
    },
    /// The offsets are of a version that is not the current one.
    #[error("the selection is of version {given} of the document, which is at {current} by now")]
    VersionUnknown {
        /// The version the caller named.
        given: Version,
        /// The version the document is at.
        current: Version,
    },
    /// As many turns wait for the agent as may; try again later.
    #[error("{0} turns wait for this agent already")]
    QueueFull(usize),
    /// The server is stopping; try again after it has started.
    #[error("the server is stopping")]
    Stopping,
    /// The turn is over.
    #[error("turn `{0}` is over")]
    TurnNotRunning(TurnId),
    /// The turn is still at work; stop it first.
    #[error("turn `{0}` is still at work; stop it first")]
    TurnRunning(TurnId),
    /// The store could not be read.
    #[error("the turns could not be read")]
    Store(#[source] StoreError),
    /// A room could not do it.
    #[error("a document could not be read or written")]
    Room(#[source] RoomError),
}

impl AgentError {
    /// The stable code clients are told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::ProjectNotFound => ErrorCode::ProjectNotFound,
            Self::DocumentNotFound(_) => ErrorCode::DocumentNotFound,
            Self::TurnNotFound(_) => ErrorCode::TurnNotFound,
            Self::AgentNotFound(_) => ErrorCode::AgentNotFound,
            Self::BadRequest(_) => ErrorCode::BadRequest,
            Self::PromptTooLong { .. } => ErrorCode::TooLarge,
            Self::VersionUnknown { .. } => ErrorCode::VersionUnknown,
            Self::QueueFull(_) | Self::Stopping => ErrorCode::Busy,
            Self::TurnNotRunning(_) => ErrorCode::TurnNotRunning,
            Self::TurnRunning(_) => ErrorCode::TurnRunning,
            Self::Store(error) if error.is_unavailable() => ErrorCode::Busy,
            Self::Store(_) => ErrorCode::Internal,
            Self::Room(error) => error.code(),
        }
    }
}

impl From<StoreError> for AgentError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Closed => Self::Stopping,
            StoreError::Conflict { what } => what.into(),
            other => Self::Store(other),
        }
    }
}

impl From<RoomError> for AgentError {
    fn from(error: RoomError) -> Self {
        match error {
            RoomError::Stopping => Self::Stopping,
            RoomError::Conflict(what) => what.into(),
            other => Self::Room(other),
        }
    }
}

impl From<Conflict> for AgentError {
    fn from(conflict: Conflict) -> Self {
        match conflict {
            Conflict::TurnFinished { turn } => Self::TurnNotRunning(turn),
            other => Self::Store(StoreError::Conflict { what: other }),
        }
    }
}
