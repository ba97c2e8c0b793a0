//! Starting and stopping.

use std::sync::Arc;

use ensemble_protocol::id::{DocumentId, MemberId, ProjectId, Role, TokenId};
use ensemble_protocol::sync::SyncMessage;
use ensemble_server::auth;
use ensemble_server::lifecycle::Outcome;
use ensemble_store::{Change, Ids as _, SqliteStore, Store as _, SystemClock, SystemIds, Write};

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

/// [D2] A crash between a project's rows and its tree is made good when the tree is opened.
#[tokio::test]
async fn a_project_whose_tree_was_never_written_is_made_good() {
    let data = tempfile::tempdir().unwrap();
    let token = format!("ens_{}", "t".repeat(43));
    let (project, member) = (ProjectId::from_uuid(SystemIds.uuid()), MemberId::from_uuid(SystemIds.uuid()));
    let store = SqliteStore::open(data.path().join("ensemble.db"), Arc::new(SystemClock)).await.unwrap();
    let document = || DocumentId::from_uuid(SystemIds.uuid());
    store
        .commit(Write::changes([
            Change::CreateMember { id: member, name: "Ada".into(), color: "#123456".into() },
            Change::CreateProject { id: project, name: "Half".into(), tree: document(), turns: document() },
            Change::PutMembership { project, member, role: Role::Owner, invite: None },
            Change::CreateToken {
                id: TokenId::from_uuid(SystemIds.uuid()),
                hash: auth::hash(&token),
                member,
                project: Some(project),
                role: Role::Owner,
                name: "test".into(),
                expires_at: None,
            },
        ]))
        .await
        .unwrap();
    store.close().await;
    drop(store);

    let server = TestServer::on(data, |_| {}).await;
    let mut ada = server.stranger();
    ada.token = Some(token);
    let project = project.to_string();
    let mut socket = ada.socket().await;
    let tree = socket.join(&project, ada.token()).await;
    assert_eq!(tree.map("settings")["name"], "Half");
    assert_eq!(tree.map("members")[member.to_string()]["role"], "owner");
    assert_eq!(tree.map("agents")["agent"]["demo"], true);
    let id = ada.document(&project, "a.txt", "text").await;
    assert_eq!(ada.text(&project, &id).await, "text");
}
