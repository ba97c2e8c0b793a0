//! Starting and stopping.

use ensemble_protocol::sync::SyncMessage;
use ensemble_server::lifecycle::Outcome;

use crate::support::{TestServer, status};

/// [D4] What was acknowledged is there after a restart, and the server greets without a first link.
#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let id = ada.document(&project, "a.txt", "one").await;
    let address = format!("{project}/{id}");
    let mut socket = ada.socket().await;
    let text = socket.join(&address, ada.token()).await;
    socket.sync(&address, SyncMessage::Update(&text.insert(3, " two"))).await;
    assert!(socket.wait_for(&address, status).await);

    let stopping = tokio::spawn(server.stop());
    socket.expect_close(1001).await;
    let (outcome, data) = stopping.await.unwrap();
    assert_eq!(outcome, Outcome::Clean);

    let server = TestServer::on(data, |_| {}).await;
    assert_eq!(server.greeting.len(), 1, "somebody owns something: {:?}", server.greeting);
    let mut again = server.stranger();
    again.token.clone_from(&ada.token);
    assert_eq!(again.text(&project, &id).await, "one two");
    let mut socket = again.socket().await;
    let tree = socket.join(&project, again.token()).await;
    assert_eq!(tree.map("documents")[&id]["path"], "a.txt");
    assert_eq!(tree.map("members").as_object().unwrap().len(), 1);
    let (outcome, _data) = server.stop().await;
    assert_eq!(outcome, Outcome::Clean);
}
