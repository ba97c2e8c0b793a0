//! What happens around every request: its id, one log line, a time limit, headers, and the checks that keep
//! pages of other sites out.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::limits;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
    REFERRER_POLICY, RETRY_AFTER, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, StatusCode};
use tokio::time::Instant;
use tracing::{Instrument as _, debug, info, info_span};

use crate::auth::session_cookie;
use crate::error::ApiError;
use crate::rates::Address;
use crate::site::Origin;
use crate::state::AppState;

/// The header a page sends with every request that changes something, which other sites cannot send.
pub(crate) const CSRF_HEADER: HeaderName = HeaderName::from_static("x-ensemble");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const HSTS: &str = "max-age=31536000";
/// Bytes of randomness in the nonce of a page.
const NONCE_BYTES: usize = 16;

/// Gives the request an id, limits its time, writes errors as problem details and one line into the log.
pub(crate) async fn observe(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let id: Arc<str> = URL_SAFE_NO_PAD.encode(state.ids.uuid().as_bytes()).into();
    let method = request.method().clone();
    // The route rather than the path, and never the query: neither secrets nor millions of different lines.
    let route = request.extensions().get::<MatchedPath>().map_or("(page)", MatchedPath::as_str).to_owned();
    let started = Instant::now();

    let span = info_span!("request", request.id = %id);
    let handled = tokio::time::timeout(limits::REQUEST_TIME, next.run(request)).instrument(span);
    let mut response = handled
        .await
        .unwrap_or_else(|_| ApiError::busy("the server could not answer in time; try again").into_response());

    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        error.log(&id);
        write_problem(&mut response, &error, &id);
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }

    let status = response.status().as_u16();
    let duration_ms = started.elapsed().as_millis() as u64;
    // Pages, files and probes come by the dozen; what people do is what is worth a line.
    if route.starts_with("/api") || route.starts_with("/sync") || status >= 500 {
        info!(request.id = %id, http.status = status, duration_ms, "{method} {route} answered {status}");
    } else {
        debug!(request.id = %id, http.status = status, duration_ms, "{method} {route} answered {status}");
    }
    response
}

fn write_problem(response: &mut Response, error: &ApiError, id: &str) {
    let problem = serde_json::to_vec(&error.problem(id)).expect("a problem is JSON");
    *response.body_mut() = Body::from(problem);
    let headers = response.headers_mut();
    headers.remove(http::header::CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(seconds) = error.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
}

/// The policy of one page, with the nonce for the style element its editor makes.
#[derive(Debug, Clone)]
pub(crate) struct PageNonce(pub String);

impl PageNonce {
    /// A nonce nobody can guess.
    pub(crate) fn new(ids: &Arc<dyn ensemble_store::Ids>) -> Self {
        Self(URL_SAFE_NO_PAD.encode(&ids.secret()[..NONCE_BYTES]))
    }

    fn policy(&self) -> String {
        format!(
            "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{}'; connect-src 'self'; \
             img-src 'self' data:; font-src 'self'; worker-src 'self'; manifest-src 'self'; \
             frame-ancestors 'none'; base-uri 'none'; form-action 'self'; require-trusted-types-for 'script'",
            self.0
        )
    }
}

/// Headers that make browsers strict.
pub(crate) async fn secure(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let is_api = request.uri().path().starts_with("/api/");
    let mut response = next.run(request).await;
    let nonce = response.extensions_mut().remove::<PageNonce>();
    let headers = response.headers_mut();
    let policy = nonce.as_ref().map(PageNonce::policy);
    let policy = policy.as_deref().unwrap_or("default-src 'none'; frame-ancestors 'none'");
    if let Ok(value) = HeaderValue::from_str(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, value);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    for (name, value) in [
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-embedder-policy", "require-corp"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if state.site.is_https() {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HSTS));
    }
    if is_api && !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// Keeps pages of other sites from using a visitor's cookie, and from signing a visitor in.
///
/// A bearer token is proof enough: another site does not have it. Everything else that changes something must
/// not come from a foreign page, and with a cookie it needs a header that only our page can send.
pub(crate) async fn same_site(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if is_safe || headers.contains_key(AUTHORIZATION) {
        return next.run(request).await;
    }
    if state.site.origin(headers) == Origin::Foreign {
        return foreign_origin().into_response();
    }
    let has_cookie = session_cookie(headers, state.site.cookie_name()).is_some();
    if has_cookie && !headers.contains_key(CSRF_HEADER) {
        let detail =
            "requests that change something and are signed in by a cookie carry the header `X-Ensemble: 1`";
        return ApiError::new(ErrorCode::ForeignOrigin, detail).into_response();
    }
    next.run(request).await
}

/// Counts what is asked from one address, before anything is looked up for it. Pages and files are not counted.
pub(crate) async fn count(
    State(state): State<AppState>,
    address: Address,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let is_counted = path.starts_with("/api/") || path.starts_with("/sync");
    if is_counted && let Err(error) = state.rates.check_address(address) {
        return error.into_response();
    }
    next.run(request).await
}

/// The refusal of pages of other sites.
pub(crate) fn foreign_origin() -> ApiError {
    ApiError::new(
        ErrorCode::ForeignOrigin,
        "this page does not belong to this server; if it does, set `ENSEMBLE_PUBLIC_URL` to what browsers call it",
    )
}

/// Anything that has no route below `/api`, `/health`, `/sync` and the like.
pub(crate) async fn nothing_here() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "there is nothing at this address")
}

/// A route exists, but not with this method.
pub(crate) async fn wrong_method() -> ApiError {
    ApiError::new(ErrorCode::MethodNotAllowed, "this address does not take this method")
}

/// Writes the bare refusals of the HTTP library as problems too.
pub(crate) async fn explain(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    if response.status() == StatusCode::PAYLOAD_TOO_LARGE && response.extensions().get::<ApiError>().is_none()
    {
        return crate::extract::too_large().into_response();
    }
    response
}
