//! The caller.

use axum::Json;
use ensemble_protocol::error::Problem;
use ensemble_protocol::rest;

use crate::auth::Caller;

/// Who is signed in.
#[utoipa::path(get, path = "/api/v1/me", tag = "members", responses(
    (status = 200, description = "The caller", body = rest::Me),
    (status = 401, description = "Nobody", body = Problem),
))]
pub(crate) async fn me(caller: Caller) -> Json<rest::Me> {
    let member = caller.member;
    Json(rest::Me { id: member.id, name: member.name, color: member.color })
}
