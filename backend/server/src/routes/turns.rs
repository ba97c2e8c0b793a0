//! Turns.

use axum::Json;
use axum::extract::State;
use ensemble_protocol::error::{ErrorCode, Problem};
use ensemble_protocol::id::{ProjectId, TurnId};
use ensemble_protocol::{limits, rest};
use http::{StatusCode, Uri};

use crate::commands::Commands;
use crate::error::ApiError;
use crate::extract::{AgentId, OptionalJson, PathId, ProjectAccess, Prompt, Read, ValidJson};

/// The newest turns of a project, newest first.
#[utoipa::path(get, path = "/api/v1/projects/{project}/turns", tag = "turns",
    params(
        ("project" = ProjectId, Path, description = "The project"),
        ("before" = Option<TurnId>, Query, description = "Only turns older than this one"),
    ),
    responses((status = 200, description = "The turns", body = Vec<rest::Turn>)))]
pub(crate) async fn list(
    State(commands): State<Commands>,
    access: ProjectAccess<Read>,
    uri: Uri,
) -> Result<Json<Vec<rest::Turn>>, ApiError> {
    let before = read_before(uri.query().unwrap_or_default())?;
    commands.list_turns(&access, limits::TURNS_SHOWN as u32, before).await.map(Json)
}

fn read_before(query: &str) -> Result<Option<TurnId>, ApiError> {
    let mut before = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let read = pair.strip_prefix("before=").and_then(|text| text.parse().ok());
        before = Some(read.ok_or_else(|| {
            ApiError::new(ErrorCode::BadRequest, "the only parameter is `before`, the id of a turn")
        })?);
    }
    Ok(before)
}

/// Gives an agent a prompt.
#[utoipa::path(post, path = "/api/v1/projects/{project}/turns", tag = "turns", request_body = rest::StartTurn,
    params(("project" = ProjectId, Path, description = "The project")),
    responses(
        (status = 201, description = "The turn", body = rest::TurnAnswer),
        (status = 403, description = "The caller may only read", body = Problem),
        (status = 429, description = "Too often; `Retry-After` says when there is room again", body = Problem),
        (status = 503, description = "Too many turns wait already", body = Problem),
    ))]
pub(crate) async fn start(
    State(commands): State<Commands>,
    access: ProjectAccess<Prompt>,
    ValidJson(request): ValidJson<rest::StartTurn>,
) -> Result<(StatusCode, Json<rest::TurnAnswer>), ApiError> {
    let turn = commands.start_turn(&access, request).await?;
    Ok((StatusCode::CREATED, Json(rest::TurnAnswer { turn })))
}

/// A turn.
#[utoipa::path(get, path = "/api/v1/projects/{project}/turns/{turn}", tag = "turns",
    params(
        ("project" = ProjectId, Path, description = "The project"),
        ("turn" = TurnId, Path, description = "The turn"),
    ),
    responses(
        (status = 200, description = "The turn", body = rest::Turn),
        (status = 404, description = "There is no such turn", body = Problem),
    ))]
pub(crate) async fn show(
    State(commands): State<Commands>,
    access: ProjectAccess<Read>,
    PathId(turn): PathId<TurnId>,
) -> Result<Json<rest::Turn>, ApiError> {
    commands.show_turn(&access, turn).await.map(Json)
}

/// Stops a turn. What it has written stays.
#[utoipa::path(post, path = "/api/v1/projects/{project}/turns/{turn}/interrupt", tag = "turns",
    params(
        ("project" = ProjectId, Path, description = "The project"),
        ("turn" = TurnId, Path, description = "The turn"),
    ),
    responses(
        (status = 200, description = "The turn", body = rest::TurnAnswer),
        (status = 409, description = "The turn has ended", body = Problem),
    ))]
pub(crate) async fn interrupt(
    State(commands): State<Commands>,
    access: ProjectAccess<Prompt>,
    PathId(turn): PathId<TurnId>,
) -> Result<Json<rest::TurnAnswer>, ApiError> {
    let turn = commands.interrupt_turn(&access, turn).await?;
    Ok(Json(rest::TurnAnswer { turn }))
}

/// Keeps what a turn did, or some of its hunks; what was rejected comes back. Doing it again changes nothing.
#[utoipa::path(post, path = "/api/v1/projects/{project}/turns/{turn}/accept", tag = "turns",
    request_body = rest::ReviewTurn,
    params(
        ("project" = ProjectId, Path, description = "The project"),
        ("turn" = TurnId, Path, description = "The turn"),
    ),
    responses(
        (status = 200, description = "The turn", body = rest::TurnAnswer),
        (status = 400, description = "The turn has no such hunk", body = Problem),
        (status = 409, description = "The turn is at work", body = Problem),
    ))]
pub(crate) async fn accept(
    State(commands): State<Commands>,
    access: ProjectAccess<Prompt>,
    PathId(turn): PathId<TurnId>,
    OptionalJson(request): OptionalJson<rest::ReviewTurn>,
) -> Result<Json<rest::TurnAnswer>, ApiError> {
    let turn = commands.accept_turn(&access, turn, request.hunks).await?;
    Ok(Json(rest::TurnAnswer { turn }))
}

/// Takes back what a turn did, or some of its hunks. What people typed stays. Doing it again changes nothing. A
/// turn at work is stopped first when all of it is taken back.
#[utoipa::path(post, path = "/api/v1/projects/{project}/turns/{turn}/reject", tag = "turns",
    request_body = rest::ReviewTurn,
    params(
        ("project" = ProjectId, Path, description = "The project"),
        ("turn" = TurnId, Path, description = "The turn"),
    ),
    responses(
        (status = 200, description = "The turn", body = rest::TurnAnswer),
        (status = 400, description = "The turn has no such hunk", body = Problem),
        (status = 409, description = "Hunks are named, and the turn is at work", body = Problem),
    ))]
pub(crate) async fn reject(
    State(commands): State<Commands>,
    access: ProjectAccess<Prompt>,
    PathId(turn): PathId<TurnId>,
    OptionalJson(request): OptionalJson<rest::ReviewTurn>,
) -> Result<Json<rest::TurnAnswer>, ApiError> {
    let turn = commands.reject_turn(&access, turn, request.hunks).await?;
    Ok(Json(rest::TurnAnswer { turn }))
}

/// What a turn did, unit by unit: where it inserted, and what it deleted with its text.
#[utoipa::path(get, path = "/api/v1/projects/{project}/turns/{turn}/changes", tag = "turns",
    params(
        ("project" = ProjectId, Path, description = "The project"),
        ("turn" = TurnId, Path, description = "The turn"),
    ),
    responses(
        (status = 200, description = "What it did", body = rest::TurnChanges),
        (status = 404, description = "There is no such turn", body = Problem),
    ))]
pub(crate) async fn changes(
    State(commands): State<Commands>,
    access: ProjectAccess<Read>,
    PathId(turn): PathId<TurnId>,
) -> Result<Json<rest::TurnChanges>, ApiError> {
    commands.turn_changes(&access, turn).await.map(Json)
}

/// Keeps what nobody has decided about yet of an agent's turns, at most a hundred of them at once: ask again until
/// the answer names none.
#[utoipa::path(post, path = "/api/v1/projects/{project}/agents/{agent}/accept", tag = "turns",
    params(
        ("project" = ProjectId, Path, description = "The project"),
        ("agent" = String, Path, description = "The agent"),
    ),
    responses(
        (status = 200, description = "The turns of which something changed", body = rest::ReviewedTurns),
        (status = 404, description = "There is no such agent", body = Problem),
    ))]
pub(crate) async fn accept_agent(
    State(commands): State<Commands>,
    access: ProjectAccess<Prompt>,
    PathId(AgentId(agent)): PathId<AgentId>,
) -> Result<Json<rest::ReviewedTurns>, ApiError> {
    commands.accept_agent(&access, agent).await.map(Json)
}

/// Takes back all turns of an agent that are over, at most a hundred of them at once: ask again until the answer
/// names none.
#[utoipa::path(post, path = "/api/v1/projects/{project}/agents/{agent}/reject", tag = "turns",
    params(
        ("project" = ProjectId, Path, description = "The project"),
        ("agent" = String, Path, description = "The agent"),
    ),
    responses(
        (status = 200, description = "The turns of which something changed", body = rest::ReviewedTurns),
        (status = 404, description = "There is no such agent", body = Problem),
    ))]
pub(crate) async fn reject_agent(
    State(commands): State<Commands>,
    access: ProjectAccess<Prompt>,
    PathId(AgentId(agent)): PathId<AgentId>,
) -> Result<Json<rest::ReviewedTurns>, ApiError> {
    commands.reject_agent(&access, agent).await.map(Json)
}
