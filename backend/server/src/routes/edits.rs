//! Edits over HTTP.

use axum::Json;
use axum::extract::State;
use ensemble_protocol::error::Problem;
use ensemble_protocol::id::{DocumentId, ProjectId};
use ensemble_protocol::rest;

use crate::commands::Commands;
use crate::error::ApiError;
use crate::extract::{Edit, PathId, ProjectAccess, ValidJson};

/// Applies a patch in the `*** Begin Patch` format to documents of the project, all of it or nothing.
///
/// It is seen as a turn named after the caller's token, and can be taken back like one.
#[utoipa::path(post, path = "/api/v1/projects/{project}/edits", tag = "edits",
    request_body = rest::ApplyPatch,
    params(("project" = ProjectId, Path, description = "The project")),
    responses(
        (status = 200, description = "What became of each document", body = rest::PatchedDocuments),
        (status = 400, description = "It is no patch, or names a path that is not allowed", body = Problem),
        (status = 403, description = "The caller may only read", body = Problem),
        (status = 409, description = "A hunk has no place or several, a version is unknown or a path is taken; nothing was changed", body = Problem),
        (status = 413, description = "More than one request may do", body = Problem),
        (status = 429, description = "Too often; `Retry-After` says when there is room again", body = Problem),
    ))]
pub(crate) async fn patch(
    State(commands): State<Commands>,
    access: ProjectAccess<Edit>,
    ValidJson(request): ValidJson<rest::ApplyPatch>,
) -> Result<Json<rest::PatchedDocuments>, ApiError> {
    commands.apply_patch(&access, request).await.map(Json)
}

/// Replaces texts in a document, all of them or none. Only what differs is written.
///
/// It is seen as a turn named after the caller's token, and can be taken back like one.
#[utoipa::path(post, path = "/api/v1/projects/{project}/documents/{document}/edits", tag = "edits",
    request_body = rest::EditDocument,
    params(
        ("project" = ProjectId, Path, description = "The project"),
        ("document" = DocumentId, Path, description = "The document"),
    ),
    responses(
        (status = 200, description = "What became of the edits", body = rest::EditedDocument),
        (status = 403, description = "The caller may only read", body = Problem),
        (status = 404, description = "There is no such document", body = Problem),
        (status = 409, description = "An edit has no place or several, or the version is unknown; nothing was changed", body = Problem),
        (status = 413, description = "More than one request may do", body = Problem),
        (status = 429, description = "Too often; `Retry-After` says when there is room again", body = Problem),
    ))]
pub(crate) async fn replace(
    State(commands): State<Commands>,
    access: ProjectAccess<Edit>,
    PathId(document): PathId<DocumentId>,
    ValidJson(request): ValidJson<rest::EditDocument>,
) -> Result<Json<rest::EditedDocument>, ApiError> {
    commands.edit_document(&access, document, request).await.map(Json)
}
