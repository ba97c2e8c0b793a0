//! The log never holds a secret or a text.

use ensemble_protocol::sync::SyncMessage;
use serde_json::json;

use crate::support::{Socket, TestServer, logged, status};

/// [A8] No token, cookie, ticket, link, prompt or document text is in any line of the log, at any level of ours.
#[tokio::test]
async fn secrets_and_texts_are_never_logged() {
    const CANARY: &str = "canary-in-the-coal-mine";
    let server = TestServer::start().await;
    let mut browser = server.stranger();
    let made = browser.post("/api/v1/projects", json!({"name": "Log", "your_name": "Ada"})).await;
    let cookie = made.cookie().unwrap();
    let body = made.json();
    let token = body["token"].as_str().unwrap().to_owned();
    let project = body["project"]["id"].as_str().unwrap().to_owned();
    let link_secret = body["link"].as_str().unwrap().split('#').nth(1).unwrap().to_owned();
    browser.cookie = Some(cookie.clone());
    browser.origin = Some(server.url.clone());
    let ticket =
        browser.post("/api/v1/socket-tickets", json!({})).await.json()["ticket"].as_str().unwrap().to_owned();
    server.stranger().post("/api/v1/join", json!({"secret": link_secret})).await;
    server.stranger().post("/api/v1/join", json!({"secret": CANARY})).await;

    let id = browser.document(&project, "a.txt", CANARY).await;
    let address = format!("{project}/{id}");
    let mut socket = browser.socket().await;
    let text = socket.join(&address, &ticket).await;
    socket.sync(&address, SyncMessage::Update(&text.insert(0, CANARY))).await;
    assert!(socket.wait_for(&address, status).await);
    socket.presence(&address, 1, 1, &json!({"x": CANARY})).await;
    socket.stateless(&address, CANARY).await;
    socket.join(&project, &ticket).await;
    socket
        .call(
            &project,
            1,
            "turn.start",
            json!({"prompt": format!("replace {CANARY} with x"), "document": id}),
        )
        .await;
    socket.call(&project, 2, "document.create", json!({"path": "b", "text": CANARY, "extra": 1})).await;
    browser.post(&format!("/api/v1/projects/{project}/documents"), json!({"path": "b", "x": CANARY})).await;
    browser.get(&format!("/api/v1/me?token={CANARY}")).await;

    let path = format!("/sync/{project}/{id}?token={token}");
    let mut plain = Socket::open(&server.url, &path, &[]).await.unwrap();
    let mut step = Vec::new();
    SyncMessage::Step1(&[0]).write(&mut step);
    plain.send(step).await;
    plain.next().await.unwrap();
    let mut refused =
        Socket::open(&server.url, &format!("/sync/{project}/{id}?token={CANARY}"), &[]).await.unwrap();
    refused.expect_close(4401).await;
    let (_, _data) = server.stop().await;

    let log = logged();
    assert!(log.contains(&project), "the log is captured");
    let session = cookie.split('=').nth(1).unwrap();
    for (what, secret) in [
        ("token", token.as_str()),
        ("session", session),
        ("ticket", &ticket),
        ("link", &link_secret),
        ("text", CANARY),
    ] {
        let found = log.lines().find(|line| line.contains(secret));
        assert!(found.is_none(), "the {what} is in the log: {}", found.unwrap_or_default());
    }
}
