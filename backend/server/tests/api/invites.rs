//! Invite links.

use std::time::Duration;

use ensemble_protocol::sync::SyncMessage;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Api, TestServer, soon, status};

async fn invite(owner: &Api, project: &str, body: Value) -> Value {
    let made = owner.post(&format!("/api/v1/projects/{project}/invites"), body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    made.json()
}

#[tokio::test]
async fn a_link_gives_its_role_and_is_listed_without_its_secret() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    for role in ["viewer", "editor", "owner"] {
        let made = invite(&ada, &project, json!({"role": role, "expires_in": 3600, "max_uses": 3})).await;
        assert!(made["link"].as_str().unwrap().ends_with(made["secret"].as_str().unwrap()));
        assert!(made["expires_at"].is_string());
        let joined = server.stranger().post("/api/v1/join", json!({"secret": made["secret"]})).await.json();
        assert_eq!(joined["role"], role);
        assert!(joined["token"].as_str().unwrap().starts_with("ens_"));
    }
    let listed = ada.get(&format!("/api/v1/projects/{project}/invites")).await;
    let links = listed.json();
    assert_eq!(links.as_array().unwrap().len(), 4, "three and the one made with the project");
    assert_eq!(links[0]["uses"], 1);
    assert!(!listed.text.contains("secret"));
}

/// [A4] A link that is unknown, expired, used up or revoked lets nobody in, and they look alike.
#[tokio::test]
async fn a_link_that_does_not_work_lets_nobody_in() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let stranger = server.stranger();
    let join = async |secret: &Value| stranger.post("/api/v1/join", json!({"secret": secret})).await;

    join(&json!("AAAAAAAAAAAAAAAAAAAAAA")).await.expect_problem(410, "invite_invalid");

    let once = invite(&ada, &project, json!({"role": "editor", "max_uses": 1})).await;
    assert_eq!(join(&once["secret"]).await.status, StatusCode::OK);
    join(&once["secret"]).await.expect_problem(410, "invite_invalid");

    let short = invite(&ada, &project, json!({"role": "editor", "expires_in": 1})).await;
    soon("the link to expire", async {
        while join(&short["secret"]).await.status == StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    join(&short["secret"]).await.expect_problem(410, "invite_invalid");

    let revoked = invite(&ada, &project, json!({"role": "editor"})).await;
    let address = format!("/api/v1/projects/{project}/invites/{}", revoked["id"].as_str().unwrap());
    assert_eq!(ada.delete(&address).await.status, StatusCode::NO_CONTENT);
    join(&revoked["secret"]).await.expect_problem(410, "invite_invalid");

    for body in [
        json!({"role": "editor", "max_uses": 0}),
        json!({"role": "editor", "expires_in": 0}),
        json!({"role": "king"}),
    ] {
        ada.post(&format!("/api/v1/projects/{project}/invites"), body)
            .await
            .expect_problem(400, "bad_request");
    }
}

#[tokio::test]
async fn only_owners_make_and_revoke_links() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let editor = server.member(&ada, &project, "editor", "Ed").await;
    let viewer = server.member(&ada, &project, "viewer", "Vi").await;
    let invites = format!("/api/v1/projects/{project}/invites");
    editor.post(&invites, json!({"role": "viewer"})).await.expect_problem(403, "no_access");
    viewer.post(&invites, json!({"role": "viewer"})).await.expect_problem(403, "read_only");
    assert_eq!(editor.get(&invites).await.status, StatusCode::OK);
    viewer.get(&invites).await.expect_problem(403, "read_only");
    let made = invite(&ada, &project, json!({"role": "viewer"})).await;
    let address = format!("{invites}/{}", made["id"].as_str().unwrap());
    editor.delete(&address).await.expect_problem(403, "no_access");

    // A link of another project is not there.
    let (eve, own) = server.project().await;
    let foreign = format!("/api/v1/projects/{own}/invites/{}", made["id"].as_str().unwrap());
    eve.delete(&foreign).await.expect_problem(404, "invite_not_found");
}

/// [A4] Coming back by the same link is not another use; a better link gives its role at once, also to open
/// sockets, and a worse one takes nothing away.
#[tokio::test]
async fn a_better_link_gives_its_role_at_once() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let document = ada.document(&project, "a.txt", "").await;
    let viewer_link = invite(&ada, &project, json!({"role": "viewer", "max_uses": 1})).await;
    let mut browser = server.stranger();
    let joined = browser.post("/api/v1/join", json!({"secret": viewer_link["secret"]})).await;
    browser.cookie = joined.cookie();
    assert_eq!(joined.json()["role"], "viewer");
    let again = browser.post("/api/v1/join", json!({"secret": viewer_link["secret"]})).await;
    assert_eq!(again.json()["role"], "viewer", "the link is used up, but not for who is in");
    let late = server.stranger().post("/api/v1/join", json!({"secret": viewer_link["secret"]})).await;
    late.expect_problem(410, "invite_invalid");

    browser.origin = Some(server.url.clone());
    let ticket = browser.post("/api/v1/socket-tickets", json!({})).await.json();
    let mut socket = browser.socket().await;
    let address = format!("{project}/{document}");
    let replica = socket.join(&address, ticket["ticket"].as_str().unwrap()).await;
    let typed = replica.insert(0, "x");
    socket.sync(&address, SyncMessage::Update(&typed)).await;
    assert!(!socket.wait_for(&address, status).await, "a viewer's update is refused");

    let editor_link = invite(&ada, &project, json!({"role": "editor"})).await;
    let joined = browser.post("/api/v1/join", json!({"secret": editor_link["secret"]})).await.json();
    assert_eq!(joined["role"], "editor");
    socket.sync(&address, SyncMessage::Update(&typed)).await;
    assert!(socket.wait_for(&address, status).await, "the same update is taken now");
    assert_eq!(ada.text(&project, &document).await, "x");

    let worse = invite(&ada, &project, json!({"role": "viewer"})).await;
    let joined = browser.post("/api/v1/join", json!({"secret": worse["secret"]})).await.json();
    assert_eq!(joined["role"], "editor");
}
