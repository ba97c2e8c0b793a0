//! The caller.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use ensemble_protocol::error::Problem;
use ensemble_protocol::rest;
use http::HeaderMap;

use super::set_session;
use crate::auth::{Caller, Credential, session_cookie};
use crate::error::ApiError;
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
