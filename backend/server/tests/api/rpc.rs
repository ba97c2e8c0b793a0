//! JSON-RPC over the socket: the same commands, the same refusals.

use ensemble_protocol::id::DocumentId;
use serde_json::json;

use crate::support::{Heard, TestServer};

#[tokio::test]
async fn documents_are_made_moved_and_deleted_by_call() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let mut socket = ada.socket().await;
    socket.join(&project, ada.token()).await;
    let made = socket.call(&project, 1, "document.create", json!({"path": "a.py", "text": "x = 1\n"})).await;
    assert_eq!((&made["jsonrpc"], &made["result"]["path"]), (&json!("2.0"), &json!("a.py")));
    let id = made["result"]["id"].as_str().unwrap();
    assert_eq!(ada.text(&project, id).await, "x = 1\n");
    let moved = socket.call(&project, 2, "document.rename", json!({"document": id, "path": "b.py"})).await;
    assert_eq!(moved["result"]["path"], "b.py");
    let deleted = socket.call(&project, 3, "document.delete", json!({"document": id})).await;
    assert_eq!(deleted["result"], json!({}));
}

/// [A9] A call is refused with the problem HTTP would have given.
#[tokio::test]
async fn a_refused_call_has_the_problem_in_its_data() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let viewer = server.member(&ada, &project, "viewer", "Vi").await;
    let mut socket = ada.socket().await;
    socket.join(&project, ada.token()).await;
    for (method, params, code, problem, status) in [
        ("document.create", json!({"path": "../x"}), -32000, "path_invalid", 400),
        ("document.create", json!({"paht": "x"}), -32602, "bad_request", 400),
        ("document.burn", json!({}), -32601, "bad_request", 400),
        ("document.delete", json!({"document": &project}), -32000, "document_not_found", 404),
        ("turn.interrupt", json!({"turn": &project}), -32000, "turn_not_found", 404),
        ("turn.reject", json!({"turn": &project, "hunks": ["1"]}), -32000, "turn_not_found", 404),
        ("agent.reject", json!({"agent": "nobody"}), -32000, "agent_not_found", 404),
    ] {
        let answer = socket.call(&project, 7, method, params).await;
        let error = &answer["error"];
        assert_eq!(error["code"], code, "{answer}");
        assert_eq!(
            (&error["data"]["code"], &error["data"]["status"]),
            (&json!(problem), &json!(status)),
            "{answer}"
        );
        assert!(error["data"]["request_id"].is_string());
    }
    let mut reading = viewer.socket().await;
    reading.join(&project, viewer.token()).await;
    let answer = reading.call(&project, 1, "document.create", json!({"path": "x"})).await;
    assert_eq!(answer["error"]["data"]["code"], "read_only");

    // Only the project's own address takes calls.
    let turns = format!("{project}/turns");
    socket.join(&turns, ada.token()).await;
    let answer = socket.call(&turns, 1, "document.create", json!({"path": "x"})).await;
    assert_eq!(answer["error"]["data"]["code"], "not_found");
}

#[tokio::test]
async fn only_the_asker_hears_the_answer() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let (mut asker, mut other) = (ada.socket().await, ada.socket().await);
    asker.join(&project, ada.token()).await;
    other.join(&project, ada.token()).await;
    // A notification does its work without an answer.
    let notification =
        json!({"jsonrpc": "2.0", "method": "document.create", "params": {"path": "silent.txt"}});
    asker.stateless(&project, &notification.to_string()).await;
    let answer = asker.call(&project, 1, "document.create", json!({"path": "loud.txt"})).await;
    assert!(answer["result"]["id"].as_str().unwrap().parse::<DocumentId>().is_ok());
    // The other one sees both documents in the tree, and no answer before that.
    let mut updates = 0;
    while updates < 2 {
        match other.hear().await.1 {
            Heard::Update(_) => updates += 1,
            Heard::Stateless(answer) => panic!("{answer}"),
            _ => {}
        }
    }
}
