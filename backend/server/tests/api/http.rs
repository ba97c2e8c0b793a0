//! What is true of every request: problems, headers, and pages of other sites kept out.

use reqwest::Method;
use serde_json::json;

use crate::support::{TestServer, answer};

/// [A9] Every refusal is a problem with a stable code and the id of the request.
#[tokio::test]
async fn every_refusal_is_a_problem_with_a_code() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let stranger = server.stranger();
    let documents = format!("/api/v1/projects/{project}/documents");

    stranger.get("/api/v1/me").await.expect_problem(401, "not_signed_in");
    stranger.get(&format!("/api/v1/projects/{project}")).await.expect_problem(401, "not_signed_in");
    stranger.get("/api/v1/nothing").await.expect_problem(404, "not_found");
    stranger.post("/api/nothing", json!({})).await.expect_problem(404, "not_found");
    stranger.get("/sync/too/many/parts").await.expect_problem(404, "not_found");
    stranger.get("/metrics").await.expect_problem(404, "not_found");
    stranger.delete("/api/v1/info").await.expect_problem(405, "method_not_allowed");
    stranger.post("/p/page", json!({})).await.expect_problem(405, "method_not_allowed");

    ada.get("/api/v1/projects/nonsense").await.expect_problem(404, "project_not_found");
    ada.get(&format!("{documents}/nonsense/text")).await.expect_problem(404, "document_not_found");
    ada.get(&format!("{documents}/{project}/text")).await.expect_problem(404, "document_not_found");
    ada.get(&format!("/api/v1/projects/{project}/turns/nonsense"))
        .await
        .expect_problem(404, "turn_not_found");
    ada.delete(&format!("/api/v1/projects/{project}/invites/{project}"))
        .await
        .expect_problem(404, "invite_not_found");

    ada.post(&documents, json!({"path": "a", "txt": "x"})).await.expect_problem(400, "bad_request");
    ada.post(&documents, json!({})).await.expect_problem(400, "bad_request");
    answer(ada.request(Method::POST, &documents).body("{\"path\": \"a\"}"))
        .await
        .expect_problem(415, "unsupported_media_type");
    let json = ada.request(Method::POST, &documents).header("content-type", "application/json");
    answer(json.body("{")).await.expect_problem(400, "bad_request");

    for token in ["nonsense", "ens_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", ""] {
        let mut other = server.stranger();
        other.token = Some(token.into());
        other.get("/api/v1/me").await.expect_problem(401, "not_signed_in");
    }
    answer(stranger.request(Method::GET, "/api/v1/me").header("authorization", "Basic YTpi"))
        .await
        .expect_problem(401, "not_signed_in");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let text = "x".repeat(ensemble_protocol::limits::BODY_BYTES);
    let body = json!({"path": "a", "text": text});
    ada.post(&format!("/api/v1/projects/{project}/documents"), body).await.expect_problem(413, "too_large");
    let text = "x".repeat(ensemble_protocol::limits::DOCUMENT_UNITS as usize + 1);
    let body = json!({"path": "a", "text": text});
    ada.post(&format!("/api/v1/projects/{project}/documents"), body).await.expect_problem(413, "too_large");
}

/// [A15] What is not about text has a small body, and a prompt is taken however it is written.
#[tokio::test]
async fn a_body_is_no_larger_than_what_is_asked_needs() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let large = "x".repeat(100_000);
    for (path, body) in [
        ("/api/v1/join".to_owned(), json!({"secret": large})),
        ("/api/v1/projects".to_owned(), json!({"name": large})),
        (format!("/api/v1/projects/{project}/invites"), json!({"role": large})),
    ] {
        ada.post(&path, body).await.expect_problem(413, "too_large");
    }
    server.stranger().post("/api/v1/join", json!({"secret": large})).await.expect_problem(413, "too_large");
    let turns = format!("/api/v1/projects/{project}/turns");
    let longest = "\\ud83d\\ude00".repeat(ensemble_protocol::limits::PROMPT_CHARS);
    let request = ada.request(Method::POST, &turns).header("content-type", "application/json");
    let started = answer(request.body(format!("{{\"prompt\": \"{longest}\"}}"))).await;
    assert_eq!(started.status.as_u16(), 201, "{}", started.text);
    let prompt = "x".repeat(ensemble_protocol::limits::TURN_BODY_BYTES);
    ada.post(&turns, json!({"prompt": prompt})).await.expect_problem(413, "too_large");
}

/// [D8] While nothing can be written, a browser that was away for days reads on; that it came back is noted later.
#[tokio::test]
async fn a_browser_reads_while_nothing_can_be_written() {
    let server = TestServer::start().await;
    let mut browser = server.stranger();
    browser.cookie = browser.post("/api/v1/projects", json!({"name": "Mine"})).await.cookie();
    let mut holding = server.beside().await;
    holding.execute("update sessions set last_seen_at = last_seen_at - 2 * 86400 * 1000000").await;
    let seen = async || browser.get("/api/v1/sessions").await.json()[0]["last_seen_at"].clone();
    holding.execute("begin immediate").await;
    let before = seen().await;
    for _ in 0..3 {
        assert_eq!(browser.get("/api/v1/me").await.status.as_u16(), 200);
    }
    assert_eq!(seen().await, before);
    holding.let_go().await;
    crate::support::soon("the note", async { while seen().await == before {} }).await;
}

/// [A5] A page of another site can use neither a visitor's cookie nor sign a visitor in.
#[tokio::test]
async fn pages_of_other_sites_are_kept_out() {
    let server = TestServer::start().await;
    let mut stranger = server.stranger();
    let made = stranger.post("/api/v1/projects", json!({"name": "Mine"})).await;
    let cookie = made.cookie().unwrap();

    stranger.origin = Some("https://evil.example".into());
    stranger.post("/api/v1/projects", json!({"name": "Theirs"})).await.expect_problem(403, "foreign_origin");
    stranger.post("/api/v1/join", json!({"secret": "x"})).await.expect_problem(403, "foreign_origin");
    stranger.cookie = Some(cookie.clone());
    stranger.post("/api/v1/socket-tickets", json!({})).await.expect_problem(403, "foreign_origin");
    stranger.origin = Some("null".into());
    stranger.post("/api/v1/socket-tickets", json!({})).await.expect_problem(403, "foreign_origin");

    let without_header =
        server.stranger().request(Method::POST, "/api/v1/socket-tickets").header("cookie", &cookie);
    answer(without_header).await.expect_problem(403, "foreign_origin");

    stranger.origin = Some(server.url.clone());
    assert_eq!(stranger.post("/api/v1/socket-tickets", json!({})).await.status.as_u16(), 201);
}

#[tokio::test]
async fn pages_are_strict_and_have_a_nonce_of_their_own() {
    let server = TestServer::start().await;
    let stranger = server.stranger();
    let page = stranger.get("/p/whatever").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy");
    for part in [
        "default-src 'none'",
        "script-src 'self';",
        "worker-src 'self'",
        "font-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap();
    assert!(nonce.len() >= 20);
    assert!(!page.text.contains("__CSP_NONCE__"));
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert_eq!(page.header("cross-origin-opener-policy"), "same-origin");
    let again = stranger.get("/").await;
    assert!(!again.header("content-security-policy").contains(nonce));

    let api = stranger.get("/api/v1/info").await;
    assert!(api.header("content-security-policy").starts_with("default-src 'none'"));
    assert_eq!(api.header("cache-control"), "no-store");

    stranger.get("/assets/missing.js").await.expect_problem(404, "not_found");
    let script = stranger.request(Method::GET, "/nothing").header("accept", "application/json");
    answer(script).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn the_server_says_how_it_is_and_what_it_can_do() {
    let server = TestServer::start().await;
    let stranger = server.stranger();
    assert_eq!(stranger.get("/health/live").await.status.as_u16(), 200);
    assert_eq!(stranger.get("/health/ready").await.status.as_u16(), 200);

    let info = stranger.get("/api/v1/info").await.json();
    assert_eq!(info["access"], "open");
    assert_eq!(info["model"], json!({"name": "demo", "provider": "demo", "demo": true}));
    assert_eq!(info["secure"], true);

    let description = stranger.get("/api/openapi.json").await.json();
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths = description["paths"].as_object().unwrap();
    for path in [
        "/api/v1/projects",
        "/api/v1/projects/{project}",
        "/api/v1/projects/{project}/invites",
        "/api/v1/projects/{project}/documents/{document}/text",
        "/api/v1/projects/{project}/turns/{turn}/reject",
        "/api/v1/projects/{project}/turns/{turn}/changes",
        "/api/v1/projects/{project}/agents/{agent}/accept",
        "/api/v1/projects/{project}/agents/{agent}/reject",
        "/api/v1/projects/{project}/documents/{document}/attribution",
        "/api/v1/socket-tickets",
        "/api/v1/join",
        "/health/ready",
    ] {
        assert!(paths.contains_key(path), "{path}");
    }
    let body = &description["components"]["schemas"]["CreateDocument"]["properties"];
    assert!(body["path"].is_object(), "{body}");
}
