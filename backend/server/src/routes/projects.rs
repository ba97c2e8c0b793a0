//! Projects.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use ensemble_protocol::error::Problem;
use ensemble_protocol::id::ProjectId;
use ensemble_protocol::rest;
use http::{HeaderMap, StatusCode};

use super::with_session;
use crate::auth::Caller;
use crate::commands::Commands;
use crate::error::ApiError;
use crate::extract::{Counted, MakingProject, ProjectAccess, Read, ValidJson};
use crate::site::Site;

/// The projects of the caller, the one joined last first.
#[utoipa::path(get, path = "/api/v1/projects", tag = "projects", responses(
    (status = 200, description = "Their projects", body = Vec<rest::ProjectSummary>),
    (status = 401, description = "Nobody is signed in", body = Problem),
))]
pub(crate) async fn list(
    State(commands): State<Commands>,
    caller: Caller,
) -> Result<Json<Vec<rest::ProjectSummary>>, ApiError> {
    commands.list_projects(&caller).await.map(Json)
}

/// Makes a project, with the caller as its owner; somebody new is given a name, a cookie and a token.
#[utoipa::path(post, path = "/api/v1/projects", tag = "projects", request_body = rest::CreateProject, responses(
    (status = 201, description = "The project, a token of its owner and a link for editors", body = rest::CreatedProject),
    (status = 400, description = "A name is missing or too long", body = Problem),
    (status = 403, description = "Projects are by invitation here, or the token is for one project", body = Problem),
    (status = 429, description = "Too often; `Retry-After` says when there is room again", body = Problem),
))]
pub(crate) async fn create(
    State(commands): State<Commands>,
    State(site): State<Arc<Site>>,
    Counted { caller, .. }: Counted<MakingProject>,
    headers: HeaderMap,
    ValidJson(request): ValidJson<rest::CreateProject>,
) -> Result<Response, ApiError> {
    let made = commands.create_project(caller, request).await?;
    let body = rest::CreatedProject {
        project: crate::commands::summary(&made.entered.project, made.entered.role),
        token: made.entered.token.reveal(),
        link: site.join_link(&headers, made.invite.text()),
    };
    with_session((StatusCode::CREATED, Json(body)), made.entered.session, &site)
}

/// A project with its people and agents.
#[utoipa::path(get, path = "/api/v1/projects/{project}", tag = "projects",
    params(("project" = ProjectId, Path, description = "The project")),
    responses(
        (status = 200, description = "The project", body = rest::Project),
        (status = 401, description = "Nobody is signed in", body = Problem),
        (status = 404, description = "There is none, or the caller is not in it", body = Problem),
    ))]
pub(crate) async fn show(
    State(commands): State<Commands>,
    access: ProjectAccess<Read>,
) -> Result<Json<rest::Project>, ApiError> {
    commands.show_project(&access).await.map(Json)
}
