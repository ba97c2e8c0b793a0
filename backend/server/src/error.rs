//! Where an error becomes a response.
//!
//! [`ApiError`] is the only error a handler or command returns. Over HTTP it becomes problem details, over
//! JSON-RPC the same problem as `data`; a socket is told the code.

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use ensemble_agent::AgentError;
use ensemble_protocol::error::{CloseCode, ErrorCode, FailedEdit, Problem};
use ensemble_protocol::id::Version;
use ensemble_store::{Conflict, StoreError};
use ensemble_sync::RoomError;
use http::StatusCode;
use tracing::{debug, error, warn};

type Cause = Arc<dyn Error + Send + Sync>;

/// Why something was not done, as the caller may know it, with the cause for the log.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// For a program.
    pub code: ErrorCode,
    /// For a person. Never the cause of a failure of ours.
    pub detail: Cow<'static, str>,
    cause: Option<Cause>,
    retry_after: Option<Duration>,
    /// What else a problem says, which few do.
    more: Option<Arc<More>>,
}

#[derive(Debug, Default)]
struct More {
    edits: Option<Vec<FailedEdit>>,
    version: Option<Version>,
}

impl ApiError {
    /// A refusal.
    pub fn new(code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), cause: None, retry_after: None, more: None }
    }

    /// A failure of ours, whose cause is for the log only.
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::caused(ErrorCode::Internal, "something went wrong on the server", cause)
    }

    /// Too much is going on, or something we need does not answer.
    pub fn busy(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::Busy, detail)
    }

    /// Asked too often; there is room again after so long.
    pub fn too_often(wait: Duration) -> Self {
        let detail = "too many requests of this kind; try again later";
        Self { retry_after: Some(wait), ..Self::new(ErrorCode::RateLimited, detail) }
    }

    /// Says after how long to try again.
    pub(crate) fn after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// Names the edits that have no place.
    pub(crate) fn with_edits(self, edits: Vec<FailedEdit>) -> Self {
        Self { more: Some(Arc::new(More { edits: Some(edits), ..More::default() })), ..self }
    }

    /// Names the version the document is at.
    pub(crate) fn with_version(self, version: Version) -> Self {
        Self { more: Some(Arc::new(More { version: Some(version), ..More::default() })), ..self }
    }

    /// Whole seconds after which to try again, where that is known.
    pub fn retry_after(&self) -> Option<u64> {
        self.retry_after.map(|wait| wait.as_secs().saturating_add(1))
    }

    fn caused(
        code: ErrorCode,
        detail: impl Into<Cow<'static, str>>,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { cause: Some(Arc::from(cause.into())), ..Self::new(code, detail) }
    }

    /// The HTTP status.
    pub const fn status(&self) -> StatusCode {
        status(self.code)
    }

    /// What a client is told.
    pub fn problem(&self, request_id: &str) -> Problem {
        let status = self.status();
        Problem {
            kind: "about:blank".into(),
            title: status.canonical_reason().unwrap_or("Error").into(),
            status: status.as_u16(),
            detail: self.detail.clone().into_owned(),
            code: self.code,
            request_id: request_id.into(),
            edits: self.more.as_ref().and_then(|more| more.edits.clone()),
            version: self.more.as_ref().and_then(|more| more.version),
        }
    }

    /// Writes the failure into the log, once, where the request ends.
    pub fn log(&self, request_id: &str) {
        if self.status().is_server_error() {
            let chain = self.chain();
            if self.code == ErrorCode::Internal {
                error!(
                    request.id = request_id,
                    code = self.code.as_str(),
                    "request `{request_id}` failed: {chain}"
                );
            } else {
                warn!(
                    request.id = request_id,
                    code = self.code.as_str(),
                    "request `{request_id}` was put off: {chain}"
                );
            }
        } else {
            debug!(
                request.id = request_id,
                code = self.code.as_str(),
                "request `{request_id}` was refused: {}",
                self.detail
            );
        }
    }

    fn chain(&self) -> String {
        let mut text = self.detail.clone().into_owned();
        let mut next = self.cause.as_deref().map(|cause| cause as &dyn Error);
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }

    /// How a socket for one document is closed.
    pub const fn close_code(&self) -> CloseCode {
        close_code(self.code)
    }
}

/// Which close code tells a socket for one document about this failure.
///
/// Whatever may be better later is transient: a stock y-websocket client never comes back after a 44xx.
pub(crate) const fn close_code(code: ErrorCode) -> CloseCode {
    match code {
        ErrorCode::NotSignedIn | ErrorCode::BadTicket => CloseCode::NotSignedIn,
        ErrorCode::NoAccess | ErrorCode::ReadOnly | ErrorCode::ForeignOrigin | ErrorCode::ProjectNotFound => {
            CloseCode::NoAccess
        }
        ErrorCode::DocumentNotFound | ErrorCode::NotFound => CloseCode::NotFound,
        ErrorCode::MalformedFrame | ErrorCode::MalformedUpdate | ErrorCode::BadRequest => CloseCode::BadFrame,
        ErrorCode::TooLarge => CloseCode::TooLarge,
        ErrorCode::RateLimited => CloseCode::TooMany,
        _ => CloseCode::Internal,
    }
}

const fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::BadRequest
        | ErrorCode::PathInvalid
        | ErrorCode::MalformedUpdate
        | ErrorCode::MalformedFrame => StatusCode::BAD_REQUEST,
        ErrorCode::NotSignedIn | ErrorCode::BadTicket => StatusCode::UNAUTHORIZED,
        ErrorCode::NoAccess | ErrorCode::ReadOnly | ErrorCode::ForeignOrigin | ErrorCode::ProjectsClosed => {
            StatusCode::FORBIDDEN
        }
        ErrorCode::NotFound
        | ErrorCode::ProjectNotFound
        | ErrorCode::DocumentNotFound
        | ErrorCode::TurnNotFound
        | ErrorCode::AgentNotFound
        | ErrorCode::InviteNotFound => StatusCode::NOT_FOUND,
        ErrorCode::InviteInvalid => StatusCode::GONE,
        ErrorCode::PathTaken
        | ErrorCode::TurnNotRunning
        | ErrorCode::TurnRunning
        | ErrorCode::EditNotFound
        | ErrorCode::EditAmbiguous
        | ErrorCode::VersionUnknown => StatusCode::CONFLICT,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::NotSupported => StatusCode::NOT_IMPLEMENTED,
        ErrorCode::Busy => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for ApiError {
    /// The body is written by the middleware, which knows the request's id.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if let Some(conflict) = error.conflict() {
            return Self::conflict(conflict.clone());
        }
        match error {
            StoreError::Unavailable { .. } | StoreError::Closed => {
                Self::caused(ErrorCode::Busy, "the database does not answer at the moment", error)
            }
            other => Self::internal(other),
        }
    }
}

impl ApiError {
    fn conflict(conflict: Conflict) -> Self {
        match conflict {
            Conflict::PathTaken => Self::new(ErrorCode::PathTaken, "another document has this path"),
            Conflict::InviteInvalid => invite_invalid(),
            Conflict::TurnFinished { .. } => Self::new(ErrorCode::TurnNotRunning, "the turn has ended"),
            other => Self::internal(other),
        }
    }
}

/// The refusal of an invite link, the same whatever is wrong with it.
pub(crate) fn invite_invalid() -> ApiError {
    ApiError::new(ErrorCode::InviteInvalid, "this link does not work any more; ask for a new one")
}

impl From<RoomError> for ApiError {
    fn from(error: RoomError) -> Self {
        match error {
            RoomError::Conflict(conflict) => Self::conflict(conflict),
            RoomError::Store { .. } => Self::internal(error),
            RoomError::NotFound(_) => Self::new(ErrorCode::DocumentNotFound, "there is no such document"),
            RoomError::Full(_) => Self::busy("as many people as fit are in this document"),
            RoomError::Closed(_) | RoomError::Stopping => Self::busy("the server is closing this document"),
            other => Self::new(other.code(), other.to_string()),
        }
    }
}

impl From<AgentError> for ApiError {
    fn from(error: AgentError) -> Self {
        let code = error.code();
        match error {
            AgentError::Room(error) => error.into(),
            AgentError::Store(error) => error.into(),
            error if code == ErrorCode::Internal => Self::internal(error),
            error => Self::new(code, error.to_string()),
        }
    }
}
