//! Tickets for sockets: a cookie alone opens none.

use axum::Json;
use axum::extract::State;
use ensemble_protocol::error::Problem;
use ensemble_protocol::rest;
use http::StatusCode;

use crate::auth::{Auth, Caller};
use crate::error::ApiError;

/// Makes a ticket: valid for 30 seconds, for the first socket that presents it.
#[utoipa::path(post, path = "/api/v1/socket-tickets", tag = "members", responses(
    (status = 201, description = "The ticket", body = rest::SocketTicket),
    (status = 401, description = "Nobody is signed in", body = Problem),
))]
pub(crate) async fn create(
    State(auth): State<Auth>,
    caller: Caller,
) -> Result<(StatusCode, Json<rest::SocketTicket>), ApiError> {
    let (ticket, expires_at) = auth.issue_ticket(&caller)?;
    let body = rest::SocketTicket { ticket: ticket.reveal(), expires_at: expires_at.into() };
    Ok((StatusCode::CREATED, Json(body)))
}
