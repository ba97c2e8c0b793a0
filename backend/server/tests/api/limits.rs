//! What comes back at a limit, and that nobody else notices.

use ensemble_protocol::limits::Rate;
use ensemble_protocol::sync::SyncMessage;
use serde_json::json;

use crate::support::{Socket, TestServer, status};

/// [S24] A socket that sends too fast is slowed down; all it said is taken, and others are served meanwhile.
#[tokio::test]
async fn who_sends_too_fast_is_slowed_down_and_loses_nothing() {
    let server =
        TestServer::with(|config| config.limits.pace.frames = Rate { per_second: 40.0, burst: 20.0 }).await;
    let (ada, project) = server.project().await;
    let bob = server.member(&ada, &project, "editor", "Bob").await;
    let id = ada.document(&project, "a.txt", "").await;
    let other = ada.document(&project, "b.txt", "").await;
    let (address, other_address) = (format!("{project}/{id}"), format!("{project}/{other}"));
    let mut fast = ada.socket().await;
    let text = fast.join(&address, ada.token()).await;
    let mut calm = bob.socket().await;
    let copy = calm.join(&other_address, bob.token()).await;
    for at in 0..60 {
        let typed = text.insert(at, "x");
        fast.sync(&address, SyncMessage::Update(&typed)).await;
    }
    calm.sync(&other_address, SyncMessage::Update(&copy.insert(0, "calm"))).await;
    assert!(calm.wait_for(&other_address, status).await);
    assert!(ada.text(&project, &id).await.len() < 60, "the flood is still on its way");
    for _ in 0..60 {
        assert!(fast.wait_for(&address, status).await);
    }
    assert_eq!(ada.text(&project, &id).await, "x".repeat(60));
}

/// [S24] A socket that goes on and on is closed so that its client may come back.
#[tokio::test]
async fn who_goes_on_sending_too_fast_is_closed() {
    let server =
        TestServer::with(|config| config.limits.pace.frames = Rate { per_second: 0.01, burst: 5.0 }).await;
    let (ada, project) = server.project().await;
    let id = ada.document(&project, "a.txt", "").await;
    let mut socket = ada.socket().await;
    for _ in 0..6 {
        socket.send(vec![9]).await;
    }
    socket.expect_close(4529).await;
    let path = format!("/sync/{project}/{id}?token={}", ada.token());
    let mut plain = Socket::open(&server.url, &path, &[]).await.unwrap();
    // Presence about nobody, many times in one frame.
    plain.send([1, 1, 0].repeat(7)).await;
    plain.expect_close(4529).await;
}

/// [S25] Control requests over the rate are refused one by one; the connection and its documents live on.
#[tokio::test]
async fn control_requests_over_the_rate_are_refused() {
    let server =
        TestServer::with(|config| config.limits.pace.calls = Rate { per_second: 0.001, burst: 2.0 }).await;
    let (ada, project) = server.project().await;
    let mut socket = ada.socket().await;
    socket.join(&project, ada.token()).await;
    for id in 1..=2 {
        let made = socket.call(&project, id, "document.create", json!({"path": format!("{id}.txt")})).await;
        assert!(made["result"]["id"].is_string(), "{made}");
    }
    let refused = socket.call(&project, 3, "document.create", json!({"path": "3.txt"})).await;
    assert_eq!(refused["error"]["data"]["code"], "rate_limited", "{refused}");
    assert_eq!(refused["error"]["data"]["status"], 429);
    let mut another = ada.socket().await;
    another.join(&project, ada.token()).await;
    let made = another.call(&project, 1, "document.create", json!({"path": "3.txt"})).await;
    assert!(made["result"]["id"].is_string(), "{made}");
}

/// [A15] Somebody who asks too often is told when to come back; others at the same address go on.
#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let slow = Rate { per_second: 0.001, burst: 2.0 };
    let server = TestServer::with(|config| {
        let requests = &mut config.limits.requests;
        requests.tickets.person = slow;
        requests.projects.person = slow;
        requests.turns_per_person = slow;
    })
    .await;
    let (ada, project) = server.project().await;
    let bob = server.member(&ada, &project, "editor", "Bob").await;
    let turns = format!("/api/v1/projects/{project}/turns");
    for (path, body) in [
        ("/api/v1/socket-tickets", json!({})),
        ("/api/v1/projects", json!({"name": "More"})),
        (&turns, json!({"prompt": "say hello"})),
    ] {
        for _ in 0..2 {
            assert_eq!(ada.post(path, body.clone()).await.status, 201, "{path}");
        }
        let refused = ada.post(path, body.clone()).await;
        refused.expect_problem(429, "rate_limited");
        let seconds: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=1001).contains(&seconds), "{seconds}");
        assert_eq!(bob.post(path, body).await.status, 201, "{path}");
    }
    let mut socket = ada.socket().await;
    socket.join(&project, ada.token()).await;
    let refused = socket.call(&project, 1, "turn.start", json!({"prompt": "say hello"})).await;
    assert_eq!(refused["error"]["data"]["code"], "rate_limited", "{refused}");
}

/// [A15] Everybody at one address counts together; a header from outside changes nothing.
#[tokio::test]
async fn everybody_at_one_address_counts_together() {
    let server = TestServer::with(|config| {
        config.limits.requests.joins.address = Rate { per_second: 0.001, burst: 2.0 };
    })
    .await;
    let (ada, project) = server.project().await;
    for name in ["Bob", "Eve"] {
        server.member(&ada, &project, "editor", name).await;
    }
    let claimed = server
        .stranger()
        .request(reqwest::Method::POST, "/api/v1/join")
        .header("content-type", "application/json")
        .header("x-forwarded-for", "203.0.113.7")
        .body(json!({"secret": "x"}).to_string());
    crate::support::answer(claimed).await.expect_problem(429, "rate_limited");
    assert_eq!(ada.get(&format!("/api/v1/projects/{project}")).await.status, 200, "reading goes on");
}
