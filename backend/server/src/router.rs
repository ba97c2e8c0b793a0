//! Every route in one table, and what happens around all of them.

use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use axum::{Json, Router};
use ensemble_protocol::error::Problem;
use ensemble_protocol::limits;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::middleware::{count, explain, observe, same_site, secure, wrong_method};
use crate::state::AppState;
use crate::{assets, routes as at, socket};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Ensemble",
        description = "A multiplayer code editor in which a code model is one more person at the table. \
                       Errors are problem details (RFC 9457) with a stable `code`. \
                       Live editing goes over WebSockets: `/sync` speaks the Hocuspocus protocol, \
                       `/sync/{project}/{document}` speaks y-websocket."
    ),
    components(schemas(Problem)),
    modifiers(&SignIn),
    security(("token" = []), ("cookie" = []))
)]
struct Description;

/// The two ways to sign in.
struct SignIn;

impl Modify for SignIn {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let components = description.components.get_or_insert_default();
        let token = Http::new(HttpAuthScheme::Bearer);
        components.add_security_scheme("token", SecurityScheme::Http(token));
        // A cookie needs the header `X-Ensemble: 1` wherever something is changed.
        let cookie = ApiKey::Cookie(ApiKeyValue::new("__Host-ensemble"));
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(cookie));
    }
}

fn api() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(at::health::live))
        .routes(routes!(at::health::ready))
        .routes(routes!(at::info::show))
        .routes(routes!(at::members::me))
        .routes(routes!(at::projects::list, at::projects::create))
        .routes(routes!(at::projects::show))
        .routes(routes!(at::invites::list, at::invites::create))
        .routes(routes!(at::invites::revoke))
        .routes(routes!(at::members::change, at::members::remove))
        .routes(routes!(at::sessions::list))
        .routes(routes!(at::sessions::end))
        .routes(routes!(at::tokens::list))
        .routes(routes!(at::tokens::end))
        .routes(routes!(at::join::join))
        .merge(texts().layer(DefaultBodyLimit::max(limits::BODY_BYTES)))
        .routes(routes!(at::documents::rename, at::documents::delete))
        .routes(routes!(at::documents::text))
        .routes(routes!(at::documents::attribution))
        .merge(turns().layer(DefaultBodyLimit::max(limits::TURN_BODY_BYTES)))
        .routes(routes!(at::tickets::create))
}

/// Routes whose bodies bring text.
fn texts() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(at::documents::list, at::documents::create))
        .routes(routes!(at::edits::patch))
        .routes(routes!(at::edits::replace))
}

/// Routes whose bodies are prompts and lists of hunks.
fn turns() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(at::turns::list, at::turns::start))
        .routes(routes!(at::turns::show))
        .routes(routes!(at::turns::interrupt))
        .routes(routes!(at::turns::accept))
        .routes(routes!(at::turns::reject))
        .routes(routes!(at::turns::changes))
        .routes(routes!(at::turns::accept_agent))
        .routes(routes!(at::turns::reject_agent))
}

/// The description of the HTTP API, made from the code that serves it.
pub fn description() -> utoipa::openapi::OpenApi {
    api().into_openapi()
}

/// The whole server, as a service.
pub(crate) fn router(state: AppState) -> Router {
    let (api, description) = api().split_for_parts();
    api.route("/api/openapi.json", get(async move || Json(description)))
        .route("/sync", get(socket::hocuspocus::upgrade))
        .route("/sync/{project}/{document}", get(socket::y_websocket::upgrade))
        .fallback(assets::serve)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(state.clone(), same_site))
        .layer(from_fn(explain))
        // Routes that take more say so themselves.
        .layer(DefaultBodyLimit::max(limits::SMALL_BODY_BYTES))
        .layer(from_fn_with_state(state.clone(), count))
        .layer(from_fn_with_state(state.clone(), secure))
        .layer(from_fn_with_state(state.clone(), observe))
        .with_state(state)
}
