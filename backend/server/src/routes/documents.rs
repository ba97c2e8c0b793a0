//! Documents.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use ensemble_protocol::error::Problem;
use ensemble_protocol::id::{DocumentId, ProjectId};
use ensemble_protocol::rest;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, StatusCode};

use crate::commands::Commands;
use crate::error::ApiError;
use crate::extract::{Edit, PathId, ProjectAccess, Read, ValidJson};

/// The documents of a project, by path.
#[utoipa::path(get, path = "/api/v1/projects/{project}/documents", tag = "documents",
    params(("project" = ProjectId, Path, description = "The project")),
    responses((status = 200, description = "The documents", body = Vec<rest::Document>)))]
pub(crate) async fn list(
    State(commands): State<Commands>,
    access: ProjectAccess<Read>,
) -> Result<Json<Vec<rest::Document>>, ApiError> {
    commands.list_documents(&access).await.map(Json)
}

/// Makes a document, with a text or empty.
#[utoipa::path(post, path = "/api/v1/projects/{project}/documents", tag = "documents",
    request_body = rest::CreateDocument,
    params(("project" = ProjectId, Path, description = "The project")),
    responses(
        (status = 201, description = "The document", body = rest::CreatedDocument),
        (status = 400, description = "The path is not allowed", body = Problem),
        (status = 403, description = "The caller may only read", body = Problem),
        (status = 409, description = "Another document has the path", body = Problem),
    ))]
pub(crate) async fn create(
    State(commands): State<Commands>,
    access: ProjectAccess<Edit>,
    ValidJson(request): ValidJson<rest::CreateDocument>,
) -> Result<(StatusCode, Json<rest::CreatedDocument>), ApiError> {
    let made = commands.create_document(&access, request).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Moves a document.
#[utoipa::path(patch, path = "/api/v1/projects/{project}/documents/{document}", tag = "documents",
    request_body = rest::RenameDocument,
    params(
        ("project" = ProjectId, Path, description = "The project"),
        ("document" = DocumentId, Path, description = "The document"),
    ),
    responses(
        (status = 200, description = "The document at its new path", body = rest::CreatedDocument),
        (status = 404, description = "There is no such document", body = Problem),
        (status = 409, description = "Another document has the path", body = Problem),
    ))]
pub(crate) async fn rename(
    State(commands): State<Commands>,
    access: ProjectAccess<Edit>,
    PathId(document): PathId<DocumentId>,
    ValidJson(request): ValidJson<rest::RenameDocument>,
) -> Result<Json<rest::CreatedDocument>, ApiError> {
    commands.rename_document(&access, document, request).await.map(Json)
}

/// Takes a document out of the project.
#[utoipa::path(delete, path = "/api/v1/projects/{project}/documents/{document}", tag = "documents",
    params(
        ("project" = ProjectId, Path, description = "The project"),
        ("document" = DocumentId, Path, description = "The document"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is no such document", body = Problem),
    ))]
pub(crate) async fn delete(
    State(commands): State<Commands>,
    access: ProjectAccess<Edit>,
    PathId(document): PathId<DocumentId>,
) -> Result<StatusCode, ApiError> {
    commands.delete_document(&access, document).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A document's text; its `ETag` is the version it is of.
#[utoipa::path(get, path = "/api/v1/projects/{project}/documents/{document}/text", tag = "documents",
    params(
        ("project" = ProjectId, Path, description = "The project"),
        ("document" = DocumentId, Path, description = "The document"),
    ),
    responses(
        (status = 200, description = "The text", body = String, content_type = "text/plain; charset=utf-8"),
        (status = 304, description = "It is still the version of `If-None-Match`"),
        (status = 404, description = "There is no such document", body = Problem),
    ))]
pub(crate) async fn text(
    State(commands): State<Commands>,
    access: ProjectAccess<Read>,
    PathId(document): PathId<DocumentId>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (version, text) = commands.read_text(&access, document).await?;
    let etag = format!("\"{version}\"");
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_known = known.flat_map(|value| value.split(',')).any(|value| value.trim() == etag);
    let about = [(ETAG, etag.as_str()), (CACHE_CONTROL, "no-cache")];
    if is_known {
        return Ok((StatusCode::NOT_MODIFIED, about).into_response());
    }
    let kind = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((about, kind, text.to_string()).into_response())
}

/// Who wrote every character of a document: a person, or a hunk of a turn.
#[utoipa::path(get, path = "/api/v1/projects/{project}/documents/{document}/attribution", tag = "documents",
    params(
        ("project" = ProjectId, Path, description = "The project"),
        ("document" = DocumentId, Path, description = "The document"),
    ),
    responses(
        (status = 200, description = "Who wrote it", body = rest::Attribution),
        (status = 404, description = "There is no such document", body = Problem),
    ))]
pub(crate) async fn attribution(
    State(commands): State<Commands>,
    access: ProjectAccess<Read>,
    PathId(document): PathId<DocumentId>,
) -> Result<Json<rest::Attribution>, ApiError> {
    commands.attribution(&access, document).await.map(Json)
}
