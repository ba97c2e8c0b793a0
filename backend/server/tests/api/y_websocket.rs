//! The y-websocket protocol.

use std::time::Duration;

use ensemble_protocol::lib0::Reader;
use ensemble_protocol::sync::{Message, SyncMessage, write_awareness_message};
use serde_json::json;

use crate::support::{Replica, Socket, TestServer, entries, presence_payload};

/// The next message; there is exactly one in a frame.
async fn next(socket: &mut Socket) -> Vec<u8> {
    let frame = socket.next().await.unwrap_or_else(|code| panic!("closed with {code}"));
    let mut reader = Reader::new(&frame);
    Message::read(&mut reader).unwrap();
    assert!(reader.is_empty(), "one message per frame");
    frame
}

fn message(frame: &[u8]) -> Message<'_> {
    Message::read(&mut Reader::new(frame)).unwrap()
}

fn written(message: SyncMessage<'_>) -> Vec<u8> {
    let mut frame = Vec::new();
    message.write(&mut frame);
    frame
}

async fn open(server: &TestServer, project: &str, document: &str, token: &str) -> Socket {
    Socket::open(&server.url, &format!("/sync/{project}/{document}?token={token}"), &[]).await.unwrap()
}

/// [S1] A stock y-websocket client syncs, types and sees others.
#[tokio::test]
async fn two_clients_share_a_document() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let id = ada.document(&project, "a.txt", "hello").await;
    let mut first = open(&server, &project, &id, ada.token()).await;
    let mut second = open(&server, &project, &id, ada.token()).await;

    let (left, right) = (Replica::new(), Replica::new());
    for (socket, replica) in [(&mut first, &left), (&mut second, &right)] {
        // Several messages in one frame, as only clients may send them.
        let mut frame = written(SyncMessage::Step1(&[0]));
        write_awareness_message(&mut frame, &presence_payload(9, 1, &json!({"user": {"name": "Mallory"}})));
        frame.push(3);
        socket.send(frame).await;
        loop {
            if let Message::Sync(SyncMessage::Step2(state)) = message(&next(socket).await) {
                replica.apply(state);
                break;
            }
        }
        socket.send(written(SyncMessage::Step2(&[0, 0]))).await;
    }
    assert_eq!(right.text(), "hello");

    first.send(written(SyncMessage::Update(&left.insert(5, " there")))).await;
    let mut name = None;
    while right.text() != "hello there" {
        match message(&next(&mut second).await) {
            Message::Sync(SyncMessage::Update(update)) => right.apply(update),
            Message::Awareness(payload) => {
                for (_, _, state) in entries(payload) {
                    name = state["user"]["name"].as_str().map(ToOwned::to_owned).or(name);
                }
            }
            _ => {}
        }
    }
    assert!(name.is_none_or(|name| name == "Ada"), "nobody has another name than their own");
    // Its own update comes back once it is stored.
    loop {
        if let Message::Sync(SyncMessage::Update(_)) = message(&next(&mut first).await) {
            break;
        }
    }
    assert_eq!(ada.text(&project, &id).await, "hello there");
}

/// [S13] Whatever is for good has a 44xx code, and nothing else has.
#[tokio::test]
async fn close_codes_say_whether_to_come_back() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let (eve, _) = server.project().await;
    let id = ada.document(&project, "a.txt", "").await;
    let token = ada.token();
    for (path, code) in [
        (format!("{project}/{id}"), 4401),
        (format!("{project}/{id}?token=nonsense"), 4401),
        (format!("{project}/{id}?token={}", eve.token()), 4403),
        (format!("{project}/{project}?token={token}"), 4404),
        (format!("{project}/nonsense?token={token}"), 4404),
    ] {
        let mut socket = Socket::open(&server.url, &format!("/sync/{path}"), &[]).await.unwrap();
        socket.expect_close(code).await;
    }
    for frame in [vec![], vec![77], vec![0, 9, 0], vec![0xff; 20]] {
        let mut socket = open(&server, &project, &id, token).await;
        socket.send(frame).await;
        socket.expect_close(4400).await;
    }
    let mut socket = open(&server, &project, &id, token).await;
    socket.send(written(SyncMessage::Step1(&[0]))).await;
    socket.send(written(SyncMessage::Step2(&[0, 0]))).await;
    socket.send(written(SyncMessage::Update(&[1, 2, 3, 255]))).await;
    socket.expect_close(4400).await;
    let socket = open(&server, &project, &id, token).await;
    assert_eq!(socket.send_too_much(ensemble_protocol::limits::MESSAGE_BYTES + 1).await, 4413);

    // A document that is deleted is gone for good; a server that restarts is not.
    let mut socket = open(&server, &project, &id, token).await;
    socket.send(written(SyncMessage::Step1(&[0]))).await;
    next(&mut socket).await;
    let mut other = open(&server, &project, &ada.document(&project, "b.txt", "").await, token).await;
    other.send(written(SyncMessage::Step1(&[0]))).await;
    next(&mut other).await;
    ada.delete(&format!("/api/v1/projects/{project}/documents/{id}")).await;
    socket.expect_close(4404).await;
    let stopping = tokio::spawn(server.stop());
    other.expect_close(1001).await;
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_viewer_reads_along() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let id = ada.document(&project, "a.txt", "text").await;
    let viewer = server.member(&ada, &project, "viewer", "Vi").await;
    let mut socket = open(&server, &project, &id, viewer.token()).await;
    socket.send(written(SyncMessage::Step1(&[0]))).await;
    let text = Replica::new();
    loop {
        if let Message::Sync(SyncMessage::Step2(state)) = message(&next(&mut socket).await) {
            text.apply(state);
            break;
        }
    }
    socket.send(written(SyncMessage::Step2(&[0, 0]))).await;
    socket.send(written(SyncMessage::Update(&text.insert(0, "x")))).await;
    // What it says is passed over; what it asks is answered.
    socket.send(written(SyncMessage::Step1(&[0]))).await;
    let fresh = Replica::new();
    loop {
        if let Message::Sync(SyncMessage::Step2(state)) = message(&next(&mut socket).await) {
            fresh.apply(state);
            break;
        }
    }
    assert_eq!(fresh.text(), "text");
    assert_eq!(ada.text(&project, &id).await, "text");
}

#[tokio::test]
async fn a_quiet_socket_carries_something() {
    let server = TestServer::with(|config| {
        config.limits.sockets.keep_alive = Duration::from_millis(50);
        config.limits.sockets.silence = Duration::from_millis(400);
    })
    .await;
    let (ada, project) = server.project().await;
    let id = ada.document(&project, "a.txt", "").await;
    let mut socket = open(&server, &project, &id, ada.token()).await;
    assert_eq!(next(&mut socket).await, [1, 1, 0]);
    assert_eq!(next(&mut socket).await, [1, 1, 0]);
    socket.expect_close(4508).await;
}
