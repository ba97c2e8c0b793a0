//! What somebody may do no more, their open sockets may do no more.

use ensemble_protocol::sync::SyncMessage;
use reqwest::StatusCode;
use serde_json::json;

use crate::support::{Api, Socket, TestServer, closed, status};

fn browser_of(server: &TestServer, cookie: Option<String>) -> Api {
    let mut browser = server.stranger();
    browser.cookie = cookie;
    browser.origin = Some(server.url.clone());
    browser
}

async fn id_of(api: &Api) -> String {
    api.get("/api/v1/me").await.json()["id"].as_str().unwrap().into()
}

/// [A12] A lower role takes effect on sockets that are open, and the tree says so.
#[tokio::test]
async fn a_lower_role_takes_effect_on_open_sockets() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let bob = server.member(&ada, &project, "editor", "Bob").await;
    let id = ada.document(&project, "a.txt", "").await;
    let address = format!("{project}/{id}");
    let mut socket = bob.socket().await;
    let text = socket.join(&address, bob.token()).await;
    socket.sync(&address, SyncMessage::Update(&text.insert(0, "before"))).await;
    assert!(socket.wait_for(&address, status).await);

    let member = format!("/api/v1/projects/{project}/members/{}", id_of(&bob).await);
    bob.patch(&member, json!({"role": "owner"})).await.expect_problem(403, "no_access");
    let changed = ada.patch(&member, json!({"role": "viewer"})).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
    assert_eq!(changed.json()["role"], "viewer");
    socket.sync(&address, SyncMessage::Update(&text.insert(6, " after"))).await;
    assert!(!socket.wait_for(&address, status).await, "it is refused");
    assert_eq!(ada.text(&project, &id).await, "before");
    let tree = socket.join(&project, bob.token()).await;
    assert_eq!(tree.map("members")[id_of(&bob).await]["role"], "viewer");
}

/// [A12] Who is taken out of a project is out on every socket, and others stay.
#[tokio::test]
async fn who_is_removed_is_out_at_once() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let bob = server.member(&ada, &project, "editor", "Bob").await;
    let id = ada.document(&project, "a.txt", "").await;
    let address = format!("{project}/{id}");
    let mut bobs = bob.socket().await;
    bobs.join(&address, bob.token()).await;
    let path = format!("/sync/{project}/{id}?token={}", bob.token());
    let mut plain = Socket::open(&server.url, &path, &[]).await.unwrap();
    // The server greets with what it has, so the seat is taken when this came.
    plain.send(vec![0, 0, 1, 0]).await;
    plain.next().await.unwrap();
    let mut adas = ada.socket().await;
    let text = adas.join(&address, ada.token()).await;

    let member = format!("/api/v1/projects/{project}/members/{}", id_of(&bob).await);
    assert_eq!(ada.delete(&member).await.status, StatusCode::NO_CONTENT);
    assert_eq!(bobs.wait_for(&address, closed).await, "no_access");
    plain.expect_close(4403).await;
    bob.get(&format!("/api/v1/projects/{project}")).await.expect_problem(404, "project_not_found");
    assert_eq!(bobs.attach(&address, bob.token()).await, Err("project_not_found".into()));
    ada.delete(&member).await.expect_problem(404, "not_found");

    adas.sync(&address, SyncMessage::Update(&text.insert(0, "on"))).await;
    assert!(adas.wait_for(&address, status).await);
    let tree = adas.join(&project, ada.token()).await;
    assert_eq!(tree.map("members").as_object().unwrap().len(), 1);
}

/// [A13] A project keeps an owner.
#[tokio::test]
async fn the_last_owner_stays() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let me = format!("/api/v1/projects/{project}/members/{}", id_of(&ada).await);
    ada.delete(&me).await.expect_problem(403, "no_access");
    ada.patch(&me, json!({"role": "editor"})).await.expect_problem(403, "no_access");
    let bob = server.member(&ada, &project, "editor", "Bob").await;
    let bobs = format!("/api/v1/projects/{project}/members/{}", id_of(&bob).await);
    assert_eq!(ada.patch(&bobs, json!({"role": "owner"})).await.status, StatusCode::OK);
    assert_eq!(ada.delete(&me).await.status, StatusCode::NO_CONTENT);
}

/// [A14] A person sees their browsers and signs them out; their sockets close, and nobody else's.
#[tokio::test]
async fn a_session_that_ends_takes_its_sockets_with_it() {
    let server = TestServer::start().await;
    let made = server.stranger().post("/api/v1/projects", json!({"name": "Test", "your_name": "Ada"})).await;
    let project = made.json()["project"]["id"].as_str().unwrap().to_owned();
    let token = made.json()["token"].as_str().unwrap().to_owned();
    let browser = browser_of(&server, made.cookie());
    let mut program = server.stranger();
    program.token = Some(token);
    let ticket = |api: Api| async move {
        let made = api.post("/api/v1/socket-tickets", json!({})).await;
        made.json()["ticket"].as_str().unwrap().to_owned()
    };
    let mut socket = browser.socket().await;
    socket.join(&project, &ticket(browser.clone()).await).await;
    let mut programs = program.socket().await;
    programs.join(&project, program.token()).await;
    let late = ticket(browser.clone()).await;

    let sessions = browser.get("/api/v1/sessions").await.json();
    assert_eq!(sessions.as_array().unwrap().len(), 1);
    assert_eq!(sessions[0]["current"], true);
    let session = format!("/api/v1/sessions/{}", sessions[0]["id"].as_str().unwrap());
    program.delete(&session).await.expect_problem(403, "no_access");
    let eve = server.stranger().post("/api/v1/projects", json!({"name": "Eve's"})).await;
    let eve = browser_of(&server, eve.cookie());
    eve.delete(&session).await.expect_problem(404, "not_found");

    assert_eq!(browser.delete(&session).await.status, StatusCode::NO_CONTENT);
    socket.expect_close(4401).await;
    browser.get("/api/v1/me").await.expect_problem(401, "not_signed_in");
    let mut again = browser.socket().await;
    assert_eq!(again.attach(&project, &late).await, Err("not_signed_in".into()));
    let made = programs.call(&project, 1, "document.create", json!({"path": "still.txt"})).await;
    assert!(made["result"]["id"].is_string(), "{made}");
}
