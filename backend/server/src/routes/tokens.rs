//! Bearer tokens: what the caller's programs sign in with.

use axum::Json;
use axum::extract::State;
use ensemble_protocol::error::Problem;
use ensemble_protocol::id::TokenId;
use ensemble_protocol::rest;
use http::StatusCode;

use crate::auth::{Auth, Caller};
use crate::commands::Commands;
use crate::error::ApiError;
use crate::extract::PathId;
use crate::sessions::Key;

/// The newest thousand tokens of the caller. Their secrets were shown when they were made.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "members", responses(
    (status = 200, description = "The tokens", body = Vec<rest::Token>),
    (status = 401, description = "Nobody is signed in", body = Problem),
    (status = 403, description = "A token for one project does not see the others", body = Problem),
))]
pub(crate) async fn list(
    State(auth): State<Auth>,
    caller: Caller,
) -> Result<Json<Vec<rest::Token>>, ApiError> {
    let tokens = auth.tokens(&caller).await?;
    let shown = tokens.into_iter().map(|token| rest::Token {
        current: caller.key() == Key::Token(token.id),
        id: token.id,
        name: token.name,
        project: token.project,
        role: token.role,
        created_at: token.created_at.into(),
        expires_at: token.expires_at.map(Into::into),
    });
    Ok(Json(shown.collect()))
}

/// Revokes a token: it is good for nothing any more, and its sockets close with 4401. A token may end itself.
#[utoipa::path(delete, path = "/api/v1/tokens/{token}", tag = "members",
    params(("token" = TokenId, Path, description = "The token")),
    responses(
        (status = 204, description = "It has ended"),
        (status = 401, description = "Nobody is signed in", body = Problem),
        (status = 403, description = "A token for one project ends only itself", body = Problem),
        (status = 404, description = "The caller has no such token", body = Problem),
    ))]
pub(crate) async fn end(
    State(commands): State<Commands>,
    caller: Caller,
    PathId(token): PathId<TokenId>,
) -> Result<StatusCode, ApiError> {
    commands.end_token(caller, token).await?;
    Ok(StatusCode::NO_CONTENT)
}
