//! Joining by a link.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use ensemble_protocol::error::Problem;
use ensemble_protocol::rest;

use super::with_session;
use crate::commands::{Commands, summary};
use crate::error::ApiError;
use crate::extract::{Counted, Joining, ValidJson};
use crate::site::Site;

/// Joins a project by the secret of a link. Who has a cookie stays who they are.
#[utoipa::path(post, path = "/api/v1/join", tag = "members", request_body = rest::Join, responses(
    (status = 200, description = "The project, the role in it and a token", body = rest::Joined),
    (status = 403, description = "The token is for one project", body = Problem),
    (status = 410, description = "The link does not work any more", body = Problem),
    (status = 413, description = "The body is larger than such a request needs", body = Problem),
    (status = 429, description = "Too often; `Retry-After` says when there is room again", body = Problem),
))]
pub(crate) async fn join(
    State(commands): State<Commands>,
    State(site): State<Arc<Site>>,
    Counted { caller, .. }: Counted<Joining>,
    ValidJson(request): ValidJson<rest::Join>,
) -> Result<Response, ApiError> {
    let entered = commands.join(caller, request).await?;
    let body = rest::Joined {
        project: summary(&entered.project, entered.role),
        role: entered.role,
        token: entered.token.reveal(),
    };
    with_session(Json(body), entered.session, &site)
}
