//! The caller, and the members of a project.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use ensemble_protocol::error::Problem;
use ensemble_protocol::id::{MemberId, ProjectId};
use ensemble_protocol::rest;
use http::{HeaderMap, StatusCode};

use super::set_session;
use crate::auth::{Caller, Credential, session_cookie};
use crate::commands::Commands;
use crate::error::ApiError;
use crate::extract::{ManageMembers, PathId, ProjectAccess, ValidJson};
use crate::site::Site;

/// Who is signed in.
#[utoipa::path(get, path = "/api/v1/me", tag = "members", responses(
    (status = 200, description = "The caller", body = rest::Me),
    (status = 401, description = "Nobody", body = Problem),
))]
pub(crate) async fn me(
    State(site): State<Arc<Site>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let member = caller.member;
    let mut response =
        Json(rest::Me { id: member.id, name: member.name, color: member.color }).into_response();
    // A page asks this when it is opened: the browser keeps the cookie as long as the session is extended.
    if matches!(caller.credential, Credential::Session(_))
        && let Some(secret) = session_cookie(&headers, site.cookie_name())
    {
        set_session(&mut response, &secret, &site)?;
    }
    Ok(response)
}

/// Changes what somebody may do in a project, also on the sockets they have open.
#[utoipa::path(patch, path = "/api/v1/projects/{project}/members/{member}", tag = "members",
    request_body = rest::ChangeMember,
    params(
        ("project" = ProjectId, Path, description = "The project"),
        ("member" = MemberId, Path, description = "The member"),
    ),
    responses(
        (status = 200, description = "The member", body = rest::Member),
        (status = 403, description = "Only owners do this, and the last one stays one", body = Problem),
        (status = 404, description = "There is no such member", body = Problem),
    ))]
pub(crate) async fn change(
    State(commands): State<Commands>,
    access: ProjectAccess<ManageMembers>,
    PathId(member): PathId<MemberId>,
    ValidJson(request): ValidJson<rest::ChangeMember>,
) -> Result<Json<rest::Member>, ApiError> {
    commands.change_member(&access, member, request).await.map(Json)
}

/// Takes somebody out of a project. A link they know lets them in again until it is revoked.
#[utoipa::path(delete, path = "/api/v1/projects/{project}/members/{member}", tag = "members",
    params(
        ("project" = ProjectId, Path, description = "The project"),
        ("member" = MemberId, Path, description = "The member"),
    ),
    responses(
        (status = 204, description = "They are out, and their sockets closed"),
        (status = 403, description = "Only owners do this, and the last one stays", body = Problem),
        (status = 404, description = "There is no such member", body = Problem),
    ))]
pub(crate) async fn remove(
    State(commands): State<Commands>,
    access: ProjectAccess<ManageMembers>,
    PathId(member): PathId<MemberId>,
) -> Result<StatusCode, ApiError> {
    commands.remove_member(&access, member).await?;
    Ok(StatusCode::NO_CONTENT)
}
