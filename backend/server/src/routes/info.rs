//! What a page wants to know before anybody signed in.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ensemble_protocol::rest;

/// The server's version, who may make projects, and which model answers.
#[utoipa::path(get, path = "/api/v1/info", tag = "server", responses((status = 200, description = "That", body = rest::Info)))]
pub(crate) async fn show(State(info): State<Arc<rest::Info>>) -> Json<rest::Info> {
    Json((*info).clone())
}
