//! Invite links.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ensemble_protocol::error::{ErrorCode, Problem};
use ensemble_protocol::id::{InviteId, ProjectId};
use ensemble_protocol::rest;
use http::{HeaderMap, StatusCode, Uri};

use crate::commands::{Commands, WhoCame};
use crate::error::ApiError;
use crate::extract::{ListInvites, ManageInvites, PathId, ProjectAccess, ValidJson};
use crate::site::Site;

/// The project's links, newest first. Their secrets were shown when they were made.
#[utoipa::path(get, path = "/api/v1/projects/{project}/invites", tag = "invites",
    params(("project" = ProjectId, Path, description = "The project")),
    responses(
        (status = 200, description = "The links", body = Vec<rest::Invite>),
        (status = 403, description = "Viewers do not see them", body = Problem),
    ))]
pub(crate) async fn list(
    State(commands): State<Commands>,
    access: ProjectAccess<ListInvites>,
) -> Result<Json<Vec<rest::Invite>>, ApiError> {
    commands.list_invites(&access).await.map(Json)
}

/// Makes a link that gives a role.
#[utoipa::path(post, path = "/api/v1/projects/{project}/invites", tag = "invites", request_body = rest::CreateInvite,
    params(("project" = ProjectId, Path, description = "The project")),
    responses(
        (status = 201, description = "The link", body = rest::CreatedInvite),
        (status = 403, description = "Only owners make links", body = Problem),
    ))]
pub(crate) async fn create(
    State(commands): State<Commands>,
    State(site): State<Arc<Site>>,
    access: ProjectAccess<ManageInvites>,
    headers: HeaderMap,
    ValidJson(request): ValidJson<rest::CreateInvite>,
) -> Result<(StatusCode, Json<rest::CreatedInvite>), ApiError> {
    let role = request.role;
    let made = commands.create_invite(&access, request).await?;
    let body = rest::CreatedInvite {
        id: made.id,
        link: site.join_link(&headers, made.secret.text()),
        secret: made.secret.reveal(),
        role,
        expires_at: made.expires_at.map(Into::into),
    };
    Ok((StatusCode::CREATED, Json(body)))
}

/// Makes a link useless. Who joined by it stays, unless `members=remove` takes them out, too.
#[utoipa::path(delete, path = "/api/v1/projects/{project}/invites/{invite}", tag = "invites",
    params(
        ("project" = ProjectId, Path, description = "The project"),
        ("invite" = InviteId, Path, description = "The link"),
        ("members" = Option<String>, Query,
            description = "`remove` takes out those who have their role by it, but not the caller"),
    ),
    responses(
        (status = 204, description = "It works no more"),
        (status = 400, description = "`members` is not `remove`", body = Problem),
        (status = 403, description = "Only owners revoke links", body = Problem),
        (status = 404, description = "There is no such link", body = Problem),
    ))]
pub(crate) async fn revoke(
    State(commands): State<Commands>,
    access: ProjectAccess<ManageInvites>,
    PathId(invite): PathId<InviteId>,
    uri: Uri,
) -> Result<StatusCode, ApiError> {
    let who_came = read_who_came(uri.query().unwrap_or_default())?;
    commands.revoke_invite(&access, invite, who_came).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn read_who_came(query: &str) -> Result<WhoCame, ApiError> {
    let mut who_came = WhoCame::Stays;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        if pair != "members=remove" {
            return Err(ApiError::new(ErrorCode::BadRequest, "the only parameter is `members=remove`"));
        }
        who_came = WhoCame::Leaves;
    }
    Ok(who_came)
}
