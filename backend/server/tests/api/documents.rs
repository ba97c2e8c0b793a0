//! Documents over HTTP, and the tree that shows them.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{TestServer, answer, closed, update};

#[tokio::test]
async fn a_document_is_made_read_moved_and_deleted() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let documents = format!("/api/v1/projects/{project}/documents");

    let made = ada.post(&documents, json!({"path": "src/a.txt", "text": "one\r\ntwo\rthree"})).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let body = made.json();
    assert_eq!((&body["path"], &body["version"]), (&json!("src/a.txt"), &json!("1.1")));
    let id = body["id"].as_str().unwrap();

    let text = ada.get(&format!("{documents}/{id}/text")).await;
    assert_eq!(text.text, "one\ntwo\nthree");
    assert_eq!(text.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(text.header("etag"), "\"1.1\"");
    let known = ada
        .request(Method::GET, &format!("{documents}/{id}/text"))
        .header("if-none-match", "\"1.0\", \"1.1\"");
    assert_eq!(answer(known).await.status, StatusCode::NOT_MODIFIED);

    let renamed = ada.patch(&format!("{documents}/{id}"), json!({"path": "src/b.txt"})).await.json();
    assert_eq!((&renamed["id"], &renamed["path"]), (&json!(id), &json!("src/b.txt")));
    let empty = ada.document(&project, "empty.txt", "").await;
    assert_eq!(ada.text(&project, &empty).await, "");

    let listed = ada.get(&documents).await.json();
    let paths: Vec<_> = listed.as_array().unwrap().iter().map(|document| &document["path"]).collect();
    assert_eq!(paths, ["empty.txt", "src/b.txt"]);
    assert_eq!(listed[1]["size"], 13);

    assert_eq!(ada.delete(&format!("{documents}/{id}")).await.status, StatusCode::NO_CONTENT);
    ada.get(&format!("{documents}/{id}/text")).await.expect_problem(404, "document_not_found");
    ada.delete(&format!("{documents}/{id}")).await.expect_problem(404, "document_not_found");
    ada.patch(&format!("{documents}/{id}"), json!({"path": "c"}))
        .await
        .expect_problem(404, "document_not_found");
    // The path is free again, for another document.
    assert_ne!(ada.document(&project, "src/b.txt", "new").await, id);
}

#[tokio::test]
async fn paths_that_are_not_allowed_or_taken_are_refused() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let documents = format!("/api/v1/projects/{project}/documents");
    let first = ada.document(&project, "src/main.py", "").await;
    let second = ada.document(&project, "b.py", "").await;
    for path in ["", "/a", "../a", "a//b", "a\\b", "nul.txt", "a\u{0}"] {
        ada.post(&documents, json!({"path": path})).await.expect_problem(400, "path_invalid");
        ada.patch(&format!("{documents}/{second}"), json!({"path": path}))
            .await
            .expect_problem(400, "path_invalid");
    }
    for path in ["src/main.py", "SRC/Main.py", "src", "src/main.py/x"] {
        ada.post(&documents, json!({"path": path})).await.expect_problem(409, "path_taken");
        ada.patch(&format!("{documents}/{second}"), json!({"path": path}))
            .await
            .expect_problem(409, "path_taken");
    }
    // A document may change the case of its own path.
    let renamed = ada.patch(&format!("{documents}/{first}"), json!({"path": "src/Main.py"})).await;
    assert_eq!(renamed.status, StatusCode::OK);
}

#[tokio::test]
async fn of_many_who_want_one_path_one_gets_it() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let tries = ["a.py", "A.py", "a.PY", "A.PY"].map(|path| {
        let (ada, documents) = (ada.clone(), format!("/api/v1/projects/{project}/documents"));
        tokio::spawn(async move { ada.post(&documents, json!({"path": path})).await.status })
    });
    let mut made = 0;
    for attempt in tries {
        match attempt.await.unwrap() {
            StatusCode::CREATED => made += 1,
            status => assert_eq!(status, StatusCode::CONFLICT),
        }
    }
    assert_eq!(made, 1);
}

#[tokio::test]
async fn a_viewer_reads_and_changes_nothing() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let document = ada.document(&project, "a.txt", "text").await;
    let viewer = server.member(&ada, &project, "viewer", "Vi").await;
    let documents = format!("/api/v1/projects/{project}/documents");
    assert_eq!(viewer.text(&project, &document).await, "text");
    assert_eq!(viewer.get(&documents).await.status, StatusCode::OK);
    viewer.post(&documents, json!({"path": "b"})).await.expect_problem(403, "read_only");
    viewer
        .patch(&format!("{documents}/{document}"), json!({"path": "b"}))
        .await
        .expect_problem(403, "read_only");
    viewer.delete(&format!("{documents}/{document}")).await.expect_problem(403, "read_only");
    viewer
        .post(&format!("/api/v1/projects/{project}/turns"), json!({"prompt": "x"}))
        .await
        .expect_problem(403, "read_only");
}

/// [S14] The tree shows what a command did as soon as the command is answered, and a document of another project
/// cannot be reached through one's own.
#[tokio::test]
async fn the_tree_shows_every_change_and_closes_what_is_deleted() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let mut socket = ada.socket().await;
    let tree = socket.join(&project, ada.token()).await;
    assert_eq!(tree.map("settings")["name"], "Test");

    let id = ada.document(&project, "a.txt", "x").await;
    tree.apply(&socket.wait_for(&project, update).await);
    assert_eq!(tree.map("documents")[&id]["path"], "a.txt");
    assert_eq!(tree.map("documents")[&id]["kind"], "text");
    let address = format!("/api/v1/projects/{project}/documents/{id}");
    ada.patch(&address, json!({"path": "b.txt"})).await;
    tree.apply(&socket.wait_for(&project, update).await);
    assert_eq!(tree.map("documents")[&id]["path"], "b.txt");

    let text = format!("{project}/{id}");
    socket.join(&text, ada.token()).await;
    ada.delete(&address).await;
    assert_eq!(socket.wait_for(&text, closed).await, "document_not_found");
    assert_eq!(socket.attach(&text, ada.token()).await, Err("document_not_found".into()));

    let (eve, own) = server.project().await;
    let other = ada.document(&project, "secret.txt", "secret").await;
    let through = eve.get(&format!("/api/v1/projects/{own}/documents/{other}/text")).await;
    through.expect_problem(404, "document_not_found");
    let mut socket = eve.socket().await;
    assert_eq!(socket.attach(&format!("{own}/{other}"), eve.token()).await, Err("document_not_found".into()));
    assert_eq!(
        socket.attach(&format!("{project}/{other}"), eve.token()).await,
        Err("project_not_found".into())
    );
}
