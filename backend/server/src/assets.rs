//! The built front end, inside the program; a debug build reads it from disk.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, Method, StatusCode, Uri};
use rust_embed::RustEmbed;

use crate::error::ApiError;
use crate::middleware::{PageNonce, nothing_here, wrong_method};
use crate::state::AppState;

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../../frontend/dist"]
#[allow_missing = true]
struct Dist;

const INDEX: &str = "index.html";
/// Stands in the page where its nonce goes.
const NONCE_MARK: &str = "__CSP_NONCE__";
/// Files in this folder have a hash of their content in their name.
const HASHED: &str = "assets/";
/// First parts of addresses that belong to programs; whatever has no route there is an error, never a page.
const PROGRAMS: [&str; 5] = ["api", "sync", "health", "mcp", "metrics"];
const FOR_EVER: &str = "public, max-age=31536000, immutable";
const ASK_AGAIN: &str = "no-cache";

/// What is shown where the front end was not built.
const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Ensemble</title>\
    <h1>The page is not built yet</h1><p>The server is running, but its page is missing.</p>\
    <p>Run <code>make run</code> in the project's folder, or <code>npm ci &amp;&amp; npm run build</code> \
    in <code>frontend</code>, and reload.</p></html>";

/// A file of the front end, or the page for whatever a browser asks for that is no file.
pub(crate) async fn serve(
    State(state): State<AppState>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let path = uri.path().trim_start_matches('/');
    if path.split('/').next().is_some_and(|first| PROGRAMS.contains(&first)) {
        return nothing_here().await.into_response();
    }
    if !matches!(method, Method::GET | Method::HEAD) {
        return wrong_method().await.into_response();
    }
    if !path.is_empty()
        && path != INDEX
        && let Some(file) = Dist::get(path)
    {
        return asset(path, file, &headers);
    }
    let accepts_pages = headers.get(ACCEPT).is_none_or(|value| {
        value.to_str().is_ok_and(|text| text.contains("text/html") || text.contains("*/*"))
    });
    // A script or picture that is not there is an error, not a page.
    let is_file = path.rsplit('/').next().is_some_and(|name| name.contains('.')) && path != INDEX;
    if is_file || !accepts_pages {
        return nothing_here().await.into_response();
    }
    page(&state)
}

fn page(state: &AppState) -> Response {
    let nonce = PageNonce::new(&state.ids);
    let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CACHE_CONTROL, "no-store")];
    let mut response = match Dist::get(INDEX) {
        Some(file) => match str::from_utf8(&file.data) {
            Ok(text) => (headers, text.replace(NONCE_MARK, &nonce.0)).into_response(),
            Err(error) => return ApiError::internal(error).into_response(),
        },
        None => (StatusCode::SERVICE_UNAVAILABLE, headers, NOT_BUILT).into_response(),
    };
    response.extensions_mut().insert(nonce);
    response
}

fn asset(path: &str, file: rust_embed::EmbeddedFile, headers: &HeaderMap) -> Response {
    let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(file.metadata.sha256_hash()));
    let cache = if path.starts_with(HASHED) { FOR_EVER } else { ASK_AGAIN };
    let about = [(ETAG, etag.as_str()), (CACHE_CONTROL, cache)];
    if headers.get(IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    (about, [(CONTENT_TYPE, content_type(path))], file.data.into_owned()).into_response()
}

/// The type of a file by its name. Browsers are told not to guess, so every kind we ship is listed.
fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "webp" => "image/webp",
        "jpg" | "jpeg" => "image/jpeg",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_the_type_browsers_insist_on() {
        for (path, expected) in [
            ("assets/index-C0ffee.js", "text/javascript; charset=utf-8"),
            ("assets/index.css", "text/css; charset=utf-8"),
            ("icon.svg", "image/svg+xml"),
            ("LICENSE", "application/octet-stream"),
        ] {
            assert_eq!(content_type(path), expected);
        }
    }
}
