//! Sessions: the browsers somebody is signed in with.

use axum::Json;
use axum::extract::State;
use ensemble_protocol::error::Problem;
use ensemble_protocol::id::SessionId;
use ensemble_protocol::rest;
use http::StatusCode;

use crate::auth::{Auth, Caller, Credential};
use crate::commands::Commands;
use crate::error::ApiError;
use crate::extract::PathId;

/// The browsers the caller is signed in with.
#[utoipa::path(get, path = "/api/v1/sessions", tag = "members", responses(
    (status = 200, description = "The sessions", body = Vec<rest::Session>),
    (status = 401, description = "Nobody is signed in", body = Problem),
))]
pub(crate) async fn list(
    State(auth): State<Auth>,
    caller: Caller,
) -> Result<Json<Vec<rest::Session>>, ApiError> {
    let sessions = auth.sessions(&caller).await?;
    let shown = sessions.into_iter().map(|session| rest::Session {
        id: session.id,
        created_at: session.created_at.into(),
        last_seen_at: session.last_seen_at.into(),
        expires_at: session.expires_at.into(),
        current: caller.credential == Credential::Session(session.id),
    });
    Ok(Json(shown.collect()))
}

/// Signs a browser out: its cookie is good for nothing any more, and its sockets close with 4401.
#[utoipa::path(delete, path = "/api/v1/sessions/{session}", tag = "members",
    params(("session" = SessionId, Path, description = "The session")),
    responses(
        (status = 204, description = "It has ended"),
        (status = 401, description = "Nobody is signed in", body = Problem),
        (status = 404, description = "The caller has no such session", body = Problem),
    ))]
pub(crate) async fn end(
    State(commands): State<Commands>,
    caller: Caller,
    PathId(session): PathId<SessionId>,
) -> Result<StatusCode, ApiError> {
    commands.end_session(caller, session).await?;
    Ok(StatusCode::NO_CONTENT)
}
