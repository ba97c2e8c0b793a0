//! Handlers of the HTTP API, by what they are about.
//!
//! What they do is in [`commands`](crate::commands); their bodies are in `protocol::rest`.

pub(crate) mod documents;
pub(crate) mod edits;
pub(crate) mod health;
pub(crate) mod info;
pub(crate) mod invites;
pub(crate) mod join;
pub(crate) mod members;
pub(crate) mod projects;
pub(crate) mod sessions;
pub(crate) mod tickets;
pub(crate) mod tokens;
pub(crate) mod turns;

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::header::{HeaderValue, SET_COOKIE};

use crate::auth::NewSecret;
use crate::error::ApiError;
use crate::site::Site;

/// Adds the cookie of a new session to an answer.
fn with_session(
    response: impl IntoResponse,
    session: Option<NewSecret>,
    site: &Arc<Site>,
) -> Result<Response, ApiError> {
    let mut response = response.into_response();
    if let Some(session) = session {
        set_session(&mut response, session.text(), site)?;
    }
    Ok(response)
}

/// Gives a browser the cookie of its session, for as long as a session lasts from now.
fn set_session(response: &mut Response, secret: &str, site: &Site) -> Result<(), ApiError> {
    let seconds = ensemble_protocol::limits::SESSION_LIFE.as_secs() as i64;
    let mut value = HeaderValue::from_str(&site.set_cookie(secret, seconds)).map_err(ApiError::internal)?;
    value.set_sensitive(true);
    response.headers_mut().insert(SET_COOKIE, value);
    Ok(())
}
