//! Whether the server is alive, and whether it can do its work.

use std::sync::Arc;

use axum::extract::State;
use ensemble_protocol::error::Problem;
use ensemble_store::{Health, Store};

use crate::error::ApiError;

/// The process answers.
#[utoipa::path(get, path = "/health/live", tag = "health", responses((status = 200, description = "It does", body = String)))]
pub(crate) async fn live() -> &'static str {
    "alive\n"
}

/// The database answers reads and takes writes.
#[utoipa::path(get, path = "/health/ready", tag = "health", responses(
    (status = 200, description = "It does", body = String),
    (status = 503, description = "It does not", body = Problem),
))]
pub(crate) async fn ready(State(store): State<Arc<dyn Store>>) -> Result<&'static str, ApiError> {
    store.ping().await?;
    let health = store.health().borrow().clone();
    match health {
        Health::Healthy => Ok("ready\n"),
        Health::Degraded { .. } => {
            Err(ApiError::busy("the database takes no writes at the moment; they wait"))
        }
    }
}
