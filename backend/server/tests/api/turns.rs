//! Turns, from the prompt to the text and back.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Api, TestServer, soon, update};

const PROGRAM: &str =
    "def add_up(items):\n    total = 0\n    for item in items:\n        total += item\n    return total\n";

pub(crate) async fn finished(api: &Api, project: &str, turn: &str) -> Value {
    soon("the turn to end", async {
        loop {
            let shown = api.get(&format!("/api/v1/projects/{project}/turns/{turn}")).await.json();
            if !matches!(shown["status"].as_str().unwrap(), "queued" | "running") {
                return shown;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

/// [T1] A turn changes the document, says what it did, and can be taken back.
#[tokio::test]
async fn a_turn_is_carried_out_and_taken_back() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let document = ada.document(&project, "main.py", PROGRAM).await;
    let turns = format!("/api/v1/projects/{project}/turns");
    let started = ada.post(&turns, json!({"prompt": "rename total to subtotal", "document": document})).await;
    assert_eq!(started.status, StatusCode::CREATED, "{}", started.text);
    let turn = started.json()["turn"]["id"].as_str().unwrap().to_owned();
    let done = finished(&ada, &project, &turn).await;
    assert_eq!((&done["status"], &done["review"]), (&json!("done"), &json!("open")), "{done}");
    assert!(!done["hunks"].as_array().unwrap().is_empty());
    assert_eq!(ada.text(&project, &document).await, PROGRAM.replace("total", "subtotal"));

    ada.post(&format!("{turns}/{turn}/interrupt"), json!({})).await.expect_problem(409, "turn_not_running");
    let rejected = ada.send(reqwest::Method::POST, &format!("{turns}/{turn}/reject"), None).await;
    assert_eq!(rejected.json()["turn"]["review"], "rejected", "{}", rejected.text);
    assert_eq!(ada.text(&project, &document).await, PROGRAM);
    let again = ada.post(&format!("{turns}/{turn}/reject"), json!({})).await;
    assert_eq!((again.status, again.json()), (StatusCode::OK, rejected.json()), "twice is once");

    let listed = ada.get(&turns).await.json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    let older = ada.get(&format!("{turns}?before={turn}")).await.json();
    assert_eq!(older, json!([]));
    ada.get(&format!("{turns}?since=1")).await.expect_problem(400, "bad_request");
}

#[tokio::test]
async fn a_turn_started_by_call_is_seen_by_everybody() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let document = ada.document(&project, "main.py", PROGRAM).await;
    let mut socket = ada.socket().await;
    socket.join(&project, ada.token()).await;
    let mut watcher = server.member(&ada, &project, "viewer", "Vi").await.socket().await;
    let viewer = server.member(&ada, &project, "viewer", "Vi").await;
    let replica = watcher.join(&format!("{project}/turns"), viewer.token()).await;

    let params =
        json!({"prompt": "rename total to sum", "document": document, "selection": {"start": 0, "end": 5}});
    let answer = socket.call(&project, 1, "turn.start", params).await;
    let turn = answer["result"]["turn"]["id"].as_str().unwrap_or_else(|| panic!("{answer}"));
    loop {
        replica.apply(&watcher.wait_for(&format!("{project}/turns"), update).await);
        if replica.map("turns")[turn]["status"] == "done" {
            break;
        }
    }
    let accepted = socket.call(&project, 2, "turn.accept", json!({"turn": turn})).await;
    assert_eq!(accepted["result"]["turn"]["review"], "accepted", "{accepted}");
}

#[tokio::test]
async fn what_makes_no_sense_as_a_turn_is_refused() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let turns = format!("/api/v1/projects/{project}/turns");
    ada.post(&turns, json!({"prompt": ""})).await.expect_problem(400, "bad_request");
    ada.post(&turns, json!({"prompt": "x".repeat(40_000)})).await.expect_problem(413, "too_large");
    ada.post(&turns, json!({"prompt": "x", "agent": "nobody"})).await.expect_problem(404, "agent_not_found");
    ada.post(&turns, json!({"prompt": "x", "document": project}))
        .await
        .expect_problem(404, "document_not_found");
    ada.post(&turns, json!({"prompt": "x", "model": "y"})).await.expect_problem(400, "bad_request");
    let unknown = format!("{turns}/{project}");
    ada.get(&unknown).await.expect_problem(404, "turn_not_found");
    ada.post(&format!("{unknown}/interrupt"), json!({})).await.expect_problem(404, "turn_not_found");
    ada.post(&format!("{unknown}/accept"), json!({"hunks": ["1"]}))
        .await
        .expect_problem(404, "turn_not_found");
    ada.get(&format!("{unknown}/changes")).await.expect_problem(404, "turn_not_found");
    let agents = format!("/api/v1/projects/{project}/agents");
    ada.post(&format!("{agents}/nobody/reject"), json!({})).await.expect_problem(404, "agent_not_found");
}
