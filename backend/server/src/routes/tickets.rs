//! Tickets for sockets: a cookie alone opens none.

use axum::Json;
use axum::extract::State;
use ensemble_protocol::error::Problem;
use ensemble_protocol::rest;
use http::StatusCode;

use crate::auth::{Auth, Caller};
use crate::error::ApiError;
use crate::rates::{Address, Rates};

/// Makes a ticket: valid for 30 seconds, for the first socket that presents it.
#[utoipa::path(post, path = "/api/v1/socket-tickets", tag = "members", responses(
    (status = 201, description = "The ticket", body = rest::SocketTicket),
    (status = 401, description = "Nobody is signed in", body = Problem),
    (status = 429, description = "Too often; `Retry-After` says when there is room again", body = Problem),
))]
pub(crate) async fn create(
    State(auth): State<Auth>,
    State(rates): State<Rates>,
    address: Address,
    caller: Caller,
) -> Result<(StatusCode, Json<rest::SocketTicket>), ApiError> {
    rates.kinds.tickets.check(address, Some(caller.member.id))?;
    let (ticket, expires_at) = auth.issue_ticket(&caller)?;
    let body = rest::SocketTicket { ticket: ticket.reveal(), expires_at: expires_at.into() };
    Ok((StatusCode::CREATED, Json(body)))
}
