//! The Hocuspocus protocol, byte by byte where it matters.

use std::time::Duration;

use ensemble_protocol::limits;
use ensemble_protocol::sync::SyncMessage;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Heard, Replica, Socket, TestServer, closed, soon, status, step_2, update};

/// [S1] An update reaches the others at once, and its author is told when it is on disk.
#[tokio::test]
async fn what_one_types_the_others_see() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let id = ada.document(&project, "a.txt", "world").await;
    let address = format!("{project}/{id}");
    let bob = server.member(&ada, &project, "editor", "Bob").await;
    let (mut ada_socket, mut bob_socket) = (ada.socket().await, bob.socket().await);
    let ada_text = ada_socket.join(&address, ada.token()).await;
    let bob_text = bob_socket.join(&address, bob.token()).await;
    assert_eq!(ada_text.text(), "world");

    let typed = ada_text.insert(0, "hello ");
    ada_socket.sync(&address, SyncMessage::Update(&typed)).await;
    bob_text.apply(&bob_socket.wait_for(&address, update).await);
    assert_eq!(bob_text.text(), "hello world");
    assert!(ada_socket.wait_for(&address, status).await);
    let answer = ada.get(&format!("/api/v1/projects/{project}/documents/{id}/text")).await;
    assert_eq!((answer.text.as_str(), answer.header("etag")), ("hello world", "\"1.2\""));
}

/// [D25] An update that was committed, and whose author was gone before being told, is acknowledged when it is sent
/// again and is in the text once.
#[tokio::test]
async fn what_is_sent_again_is_acknowledged_and_there_once() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let id = ada.document(&project, "a.txt", "").await;
    let address = format!("{project}/{id}");
    let mut socket = ada.socket().await;
    let text = socket.join(&address, ada.token()).await;
    let typed = text.insert(0, "once");
    socket.sync(&address, SyncMessage::Update(&typed)).await;
    drop(socket);
    // Over HTTP only what is committed is read.
    while ada.text(&project, &id).await != "once" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let mut socket = ada.socket().await;
    socket.join(&address, ada.token()).await;
    for _ in 0..2 {
        socket.sync(&address, SyncMessage::Update(&typed)).await;
        assert!(socket.wait_for(&address, status).await);
    }
    let answer = ada.get(&format!("/api/v1/projects/{project}/documents/{id}/text")).await;
    assert_eq!((answer.text.as_str(), answer.header("etag")), ("once", "\"1.1\""), "nothing more is logged");
}

/// [S2] Frames that come before the sign-in is done wait for it, in order.
#[tokio::test]
async fn a_client_need_not_wait_for_its_sign_in() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let id = ada.document(&project, "a.txt", "").await;
    let address = format!("{project}/{id}");
    let mut socket = ada.socket().await;
    let text = Replica::new();
    let first = text.insert(0, "first ");
    let state = text.state();
    let second = text.insert(6, "second");
    // As the stock provider with an offline edit, but with the token last; the update leaves a gap until the
    // step 2 comes.
    socket.sync(&address, SyncMessage::Step1(&[0])).await;
    socket.presence(&address, 7, 1, &json!({"user": {"name": "x"}})).await;
    socket.sync(&address, SyncMessage::Update(&second)).await;
    socket.auth(&address, ada.token()).await;
    socket.sync(&address, SyncMessage::Step2(&state)).await;
    let mut acknowledged = 0;
    let mut granted = false;
    while acknowledged < 2 {
        match socket.hear().await.1 {
            Heard::Authenticated(scope) => {
                assert_eq!(scope, "read-write");
                granted = true;
            }
            Heard::Status(applied) => {
                assert!(applied);
                acknowledged += 1;
            }
            Heard::Denied(reason) => panic!("{reason}"),
            _ => assert!(granted, "nothing before the sign-in is answered"),
        }
    }
    assert_eq!(ada.text(&project, &id).await, "first second");
    drop(first);
}

/// [S8] A refusal is about one address: the socket and its other documents live on.
#[tokio::test]
async fn one_document_is_denied_without_losing_the_others() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let (_, foreign) = server.project().await;
    let id = ada.document(&project, "a.txt", "").await;
    let address = format!("{project}/{id}");
    let mut socket = ada.socket().await;
    let text = socket.join(&address, ada.token()).await;

    for (other, code) in [
        (foreign.clone(), "project_not_found"),
        (format!("{foreign}/turns"), "project_not_found"),
        (format!("{project}/{project}"), "document_not_found"),
        (format!("{project}/nonsense"), "document_not_found"),
        ("nonsense".to_owned(), "project_not_found"),
        (" ".to_owned(), "document_not_found"),
        ("a\0b\0c".to_owned(), "document_not_found"),
    ] {
        assert_eq!(socket.attach(&other, ada.token()).await, Err(code.into()), "{other}");
        // A stock provider keeps sending to the address; that is passed over.
        socket.sync(&other, SyncMessage::Step1(&[0])).await;
    }
    for token in ["", "nonsense", "tkt_AAAA", &format!("ens_{}", "A".repeat(43)), &"x".repeat(600)] {
        let denied = socket.attach(&project, token).await.unwrap_err();
        assert!(denied == "not_signed_in" || denied == "bad_ticket", "{denied}");
    }
    // A retry with a good token is fresh.
    assert_eq!(socket.attach(&project, ada.token()).await, Ok("readonly".into()));

    socket.sync(&address, SyncMessage::Update(&text.insert(0, "still here"))).await;
    assert!(socket.wait_for(&address, status).await);
}

/// [A3] A viewer is told that nothing was taken; what brings nothing new is fine.
#[tokio::test]
async fn a_viewers_updates_are_refused_and_empty_answers_are_not() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let id = ada.document(&project, "a.txt", "text").await;
    let address = format!("{project}/{id}");
    let viewer = server.member(&ada, &project, "viewer", "Vi").await;
    let mut socket = viewer.socket().await;
    assert_eq!(socket.attach(&address, viewer.token()).await, Ok("readonly".into()));

    let text = Replica::new();
    for (news, applied) in [(false, true), (true, false)] {
        socket.sync(&address, SyncMessage::Step1(&[0])).await;
        text.apply(&socket.wait_for(&address, step_2).await);
        if news {
            text.insert(0, "graffiti");
        }
        // Everything it has, also what the server knows already.
        socket.sync(&address, SyncMessage::Step2(&text.state())).await;
        assert_eq!(socket.wait_for(&address, status).await, applied);
    }
    socket.sync(&address, SyncMessage::Update(&text.insert(0, "more"))).await;
    assert!(!socket.wait_for(&address, status).await);
    assert_eq!(ada.text(&project, &id).await, "text");

    // The replicas are read-only for owners too.
    let mut socket = ada.socket().await;
    for replica in [project.clone(), format!("{project}/turns")] {
        socket.join(&replica, ada.token()).await;
        socket.sync(&replica, SyncMessage::Update(&Replica::new().insert(0, "x"))).await;
        assert!(!socket.wait_for(&replica, status).await);
    }
}

/// [P1] Presence carries the name of who is signed in, whatever the client says, and dies with the connection.
#[tokio::test]
async fn presence_is_stamped_and_leaves_with_its_connection() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let bob = server.member(&ada, &project, "viewer", "Bob").await;
    let mut ada_socket = ada.socket().await;
    ada_socket.join(&project, ada.token()).await;
    let mut bob_socket = bob.socket().await;
    bob_socket.join(&project, bob.token()).await;

    let lie =
        json!({"user": {"id": "x", "name": "Ada", "kind": "agent", "color": "#123456"}, "document": null});
    bob_socket.presence(&project, 4711, 1, &lie).await;
    let seen = ada_socket
        .wait_for(&project, |heard| match heard {
            Heard::Presence(entries) => entries.iter().find(|(client, ..)| *client == 4711).cloned(),
            _ => None,
        })
        .await;
    let me = bob.get("/api/v1/me").await.json();
    assert_eq!((&seen.2["user"]["name"], &seen.2["user"]["kind"]), (&json!("Bob"), &json!("person")));
    assert_eq!(seen.2["user"]["id"], me["id"]);

    drop(bob_socket);
    let gone = ada_socket
        .wait_for(&project, |heard| match heard {
            Heard::Presence(entries) => entries.iter().find(|(client, ..)| *client == 4711).cloned(),
            _ => None,
        })
        .await;
    assert_eq!(gone.2, Value::Null);
    assert!(gone.1 > seen.1, "the removal is newer than what it removes");
}

#[tokio::test]
async fn a_malformed_update_closes_its_document_only() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let id = ada.document(&project, "a.txt", "text").await;
    let address = format!("{project}/{id}");
    let mut socket = ada.socket().await;
    socket.join(&project, ada.token()).await;
    socket.join(&address, ada.token()).await;
    socket.sync(&address, SyncMessage::Update(&[1, 2, 3, 255])).await;
    assert!(!socket.wait_for(&address, status).await);
    assert_eq!(socket.wait_for(&address, closed).await, "malformed_update");
    // What the provider still sends there is passed over, and it may come back.
    socket.sync(&address, SyncMessage::Update(&[0, 0])).await;
    let text = socket.join(&address, ada.token()).await;
    assert_eq!(text.text(), "text");

    // More than one update may be.
    let large = Replica::new().insert(0, &"x".repeat(limits::UPDATE_BYTES));
    socket.sync(&address, SyncMessage::Update(&large)).await;
    assert!(!socket.wait_for(&address, status).await);
    assert_eq!(socket.wait_for(&address, closed).await, "too_large");
    assert_eq!(socket.attach(&project, ada.token()).await, Ok("readonly".into()));
}

/// [S13] What is not of the protocol closes the socket, with a code that says so.
#[tokio::test]
async fn malformed_and_oversized_frames_close_the_socket() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let frames: [&[u8]; 5] =
        [&[], &[0xff, 0xff, 0xff], b"\x01d\x06\x02hi", b"\x01d\x08\x01", b"\x01d\x00\x00\x01\x00\x00"];
    for frame in frames {
        let mut socket = ada.socket().await;
        socket.send(frame.to_vec()).await;
        socket.expect_close(4400).await;
    }
    let mut socket = ada.socket().await;
    socket.send_text("hello").await;
    socket.expect_close(4400).await;

    let mut socket = ada.socket().await;
    socket.attach(&project, ada.token()).await.unwrap();
    assert_eq!(socket.send_too_much(limits::MESSAGE_BYTES + 1).await, 4413);
}

#[tokio::test]
async fn too_many_frames_before_the_sign_in_close_the_socket() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let mut socket = ada.socket().await;
    for _ in 0..=limits::PENDING_FRAMES {
        socket.sync(&project, SyncMessage::Step1(&[0])).await;
    }
    socket.expect_close(4529).await;
}

/// [S28] A socket on which nobody signs in is refused so often and then closed; a client that comes back is told the
/// same as before, and a socket somebody has signed in on lives on.
#[tokio::test]
async fn who_is_refused_again_and_again_is_closed() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let refused = Err("not_signed_in".to_owned());
    let mut socket = server.stranger().socket().await;
    for _ in 0..limits::SIGN_IN_REFUSALS {
        assert_eq!(socket.attach(&project, "ens_none").await, refused);
    }
    socket.auth(&project, "ens_none").await;
    socket.expect_close(4529).await;

    let mut again = ada.socket().await;
    assert_eq!(again.attach(&project, "ens_none").await, refused);
    again.join(&project, ada.token()).await;
    let other = format!("{project}\0other");
    for _ in 0..=limits::SIGN_IN_REFUSALS {
        assert_eq!(again.attach(&other, "ens_none").await, refused);
    }
    assert!(again.attach(&other, ada.token()).await.is_ok());
}

/// [S12] What waits behind a sign-in that is refused is heard in order, up to the next one.
#[tokio::test]
async fn what_waits_behind_a_refusal_is_heard_in_order() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let mut socket = ada.socket().await;
    for _ in 0..20 {
        socket.auth(&project, "ens_none").await;
        socket.sync(&project, SyncMessage::Step1(&[0])).await;
    }
    for _ in 0..2 {
        socket.auth(&project, ada.token()).await;
        socket.sync(&project, SyncMessage::Step1(&[0])).await;
        socket.detach(&project).await;
        socket.auth(&project, "ens_none").await;
    }
    // What the room tells comes by itself, so only how often is certain.
    let (mut answered, mut told) = (Vec::new(), 0);
    while answered.len() < 24 || told < 2 {
        match socket.hear().await.1 {
            Heard::Denied(_) => answered.push("denied"),
            Heard::Authenticated(_) => answered.push("let in"),
            Heard::Step2(_) => told += 1,
            _ => {}
        }
    }
    let expected = [&["denied"; 20][..], &["let in", "denied"].repeat(2)].concat();
    assert_eq!((answered, told), (expected, 2));
}

/// [D21] Whoever signs in at a damaged document, for the first time or again, is told that it can only be read.
#[tokio::test]
async fn a_damaged_document_can_only_be_read() {
    use ensemble_protocol::id::NodeId;
    use ensemble_store::{
        Author, Ids as _, NewUpdate, SqliteStore, Stamp, Store as _, SystemClock, SystemIds, Write,
    };

    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let id = ada.document(&project, "a.txt", "good").await;
    let (_, data) = server.stop().await;
    let file = data.path().join("ensemble.db");
    let store = SqliteStore::open(file, std::sync::Arc::new(SystemClock)).await.unwrap();
    let broken = NewUpdate {
        document: id.parse().unwrap(),
        epoch: 1,
        bytes: bytes::Bytes::from_static(b"not an update"),
        author: Author::default(),
        clients: Vec::new(),
        ledger: Vec::new(),
        stamp: Stamp { node: NodeId::from_uuid(SystemIds.uuid()), counter: 1 },
    };
    store.commit(Write::update(broken)).await.unwrap();
    store.close().await;
    drop(store);

    let server = TestServer::on(data, |_| {}).await;
    let ada = crate::support::Api { token: ada.token, ..server.stranger() };
    let address = format!("{project}/{id}");
    let mut socket = ada.socket().await;
    let scope = soon("it to open", async {
        loop {
            if let Ok(scope) = socket.attach(&address, ada.token()).await {
                break scope;
            }
        }
    });
    assert_eq!(scope.await, "readonly");
    assert_eq!(socket.attach(&address, ada.token()).await, Ok("readonly".into()), "signed in again");
}

#[tokio::test]
async fn more_documents_than_fit_on_a_socket_are_denied() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let mut socket = ada.socket().await;
    for number in 0..limits::DOCUMENTS_PER_SOCKET {
        assert!(socket.attach(&format!("{project}\0{number}"), ada.token()).await.is_ok());
    }
    assert_eq!(socket.attach(&format!("{project}\0more"), ada.token()).await, Err("rate_limited".into()));
    socket.detach(&format!("{project}\0{}", 0)).await;
    assert!(socket.attach(&format!("{project}\0more"), ada.token()).await.is_ok());
}

/// [S12] Attaching and detaching in quick succession does what was asked, in the order it was asked.
#[tokio::test]
async fn attaching_and_detaching_quickly_ends_as_asked() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let id = ada.document(&project, "a.txt", "text").await;
    let address = format!("{project}/{id}");
    let mut socket = ada.socket().await;
    for _ in 0..20 {
        socket.auth(&address, ada.token()).await;
        socket.sync(&address, SyncMessage::Step1(&[0])).await;
        socket.detach(&address).await;
    }
    let text = socket.join(&address, ada.token()).await;
    // The answers of the rounds before may come first; what counts is that the last one is open.
    socket.sync(&address, SyncMessage::Update(&text.insert(4, "!"))).await;
    assert!(socket.wait_for(&address, status).await);
    drop(socket);
    assert_eq!(ada.text(&project, &id).await, "text!");
}

#[tokio::test]
async fn one_document_may_be_open_twice_on_a_socket() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let id = ada.document(&project, "a.txt", "").await;
    let (left, right) = (format!("{project}/{id}\0left"), format!("{project}/{id}\0right"));
    let mut socket = ada.socket().await;
    let text = socket.join(&left, ada.token()).await;
    let other = socket.join(&right, ada.token()).await;
    socket.sync(&left, SyncMessage::Update(&text.insert(0, "twice"))).await;
    other.apply(&socket.wait_for(&right, update).await);
    assert_eq!(other.text(), "twice");
}

#[tokio::test]
async fn a_client_is_asked_for_signs_of_life_and_answered() {
    let server =
        TestServer::with(|config| config.limits.sockets.keep_alive = Duration::from_millis(50)).await;
    let (ada, project) = server.project().await;
    let mut socket = ada.socket().await;
    socket.send(vec![9]).await;
    assert_eq!(socket.hear().await.1, Heard::Pong, "and no ping before its version is known");
    socket.attach(&project, ada.token()).await.unwrap();
    socket.wait_for("", |heard| (*heard == Heard::Ping).then_some(())).await;
    socket.send(vec![10]).await;
    socket.wait_for("", |heard| (*heard == Heard::Ping).then_some(())).await;
}

#[tokio::test]
async fn a_silent_socket_is_closed() {
    let server = TestServer::with(|config| config.limits.sockets.silence = Duration::from_millis(200)).await;
    let (ada, project) = server.project().await;
    let mut socket = ada.socket().await;
    socket.attach(&project, ada.token()).await.unwrap();
    socket.expect_close(4508).await;
    let server = TestServer::with(|config| config.limits.sockets.sign_in = Duration::from_millis(200)).await;
    let mut socket = server.stranger().socket().await;
    socket.expect_close(4401).await;
}

#[tokio::test]
async fn presence_can_be_asked_for() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let mut socket = ada.socket().await;
    socket.join(&project, ada.token()).await;
    socket.presence(&project, 5, 1, &json!({"document": null})).await;
    let mut question = Vec::new();
    ensemble_protocol::lib0::write_string(&mut question, &project);
    question.push(3);
    socket.send(question).await;
    let entries = socket
        .wait_for(&project, |heard| match heard {
            Heard::Presence(entries) if entries.iter().any(|(client, ..)| *client == 5) => {
                Some(entries.clone())
            }
            _ => None,
        })
        .await;
    assert_eq!(entries[0].2["user"]["name"], "Ada");
}

/// [A6] A token of somebody else does not take over an open address.
#[tokio::test]
async fn an_address_stays_with_who_opened_it() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let bob = server.member(&ada, &project, "editor", "Bob").await;
    let mut socket = ada.socket().await;
    socket.join(&project, ada.token()).await;
    assert_eq!(socket.attach(&project, ada.token()).await, Ok("readonly".into()));
    assert_eq!(socket.attach(&project, bob.token()).await, Err("no_access".into()));
    assert_eq!(socket.attach(&project, bob.token()).await, Ok("readonly".into()));
}

#[tokio::test]
async fn the_upgrade_has_to_be_one() {
    let server = TestServer::start().await;
    server.stranger().get("/sync").await.expect_problem(400, "bad_request");
    server.stranger().get("/sync/a/b").await.expect_problem(400, "bad_request");
    assert_eq!(Socket::open(&server.url, "/sync?project=x", &[]).await.err(), None);
}

/// [S36] Whoever asks for a whole large document again and again is turned out of it, and nobody else is.
#[tokio::test]
async fn who_asks_for_everything_again_and_again_is_turned_out() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let id = ada.document(&project, "a.txt", &"x".repeat(limits::LARGE_REPLY_BYTES)).await;
    let address = format!("{project}/{id}");
    let bob = server.member(&ada, &project, "editor", "Bob").await;
    let mut bobs = bob.socket().await;
    let text = bobs.join(&address, bob.token()).await;
    let mut adas = ada.socket().await;
    adas.join(&address, ada.token()).await;
    let mut answered = 1;
    let reason = loop {
        adas.sync(&address, SyncMessage::Step1(&[0])).await;
        let end = |heard: &Heard| step_2(heard).map(|_| None).or_else(|| closed(heard).map(Some));
        match adas.wait_for(&address, end).await {
            None => answered += 1,
            Some(reason) => break reason,
        }
        assert!(answered < 1000, "nothing ends it");
    };
    assert_eq!(reason, "rate_limited");
    assert!(answered >= limits::PEER_LARGE_REPLIES.burst as u32, "{answered} opened it, and people may");
    bobs.sync(&address, SyncMessage::Update(&text.insert(0, "on "))).await;
    assert!(bobs.wait_for(&address, status).await);
}

/// A client that offers compression is not taken at its word: nothing is ever inflated.
#[tokio::test]
async fn compression_is_never_agreed_to() {
    let server = TestServer::start().await;
    let host = server.url.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let request = format!(
        "GET /sync?project=x HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(soon("the answer to the upgrade", stream.read_u8()).await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap().to_lowercase();
    assert!(answer.starts_with("http/1.1 101"), "{answer}");
    assert!(!answer.contains("sec-websocket-extensions"), "{answer}");

    // A frame that says it is compressed is none of this protocol. Eight zero bytes, masked with zeros.
    stream.write_all(&[&[0b1100_0010, 0x88, 0, 0, 0, 0][..], &[0; 8]].concat()).await.unwrap();
    let mut rest = Vec::new();
    soon("the end of the connection", stream.read_to_end(&mut rest)).await.unwrap();
}

/// [S7] A peer that does not read holds nobody up; it gets one diff when it reads again, and is closed when it
/// never does.
#[tokio::test]
async fn a_peer_that_does_not_read_holds_nobody_up() {
    for unread in [Duration::from_mins(1), Duration::from_millis(300)] {
        let server = TestServer::with(|config| config.limits.sockets.unread = unread).await;
        let (ada, project) = server.project().await;
        let id = ada.document(&project, "a.txt", "").await;
        let address = format!("{project}/{id}");
        let (mut writer, mut sleeper) = (ada.socket().await, ada.socket().await);
        let text = writer.join(&address, ada.token()).await;
        let late = sleeper.join(&address, ada.token()).await;
        // More than the buffers of both ends of a local connection hold, typed over and over again.
        let chunk = "x".repeat(200_000);
        for _ in 0..80 {
            writer.sync(&address, SyncMessage::Update(&text.insert(0, &chunk))).await;
            assert!(writer.wait_for(&address, status).await);
            writer.sync(&address, SyncMessage::Update(&text.remove(0, 200_000))).await;
            assert!(writer.wait_for(&address, status).await);
        }
        writer.sync(&address, SyncMessage::Update(&text.insert(0, "the end"))).await;
        assert!(writer.wait_for(&address, status).await);

        if unread < Duration::from_secs(1) {
            tokio::time::sleep(unread * 3).await;
            loop {
                match sleeper.next().await {
                    Ok(_) => {}
                    Err(code) => {
                        assert!(code == 1013 || code == 1006, "{code}");
                        break;
                    }
                }
            }
        } else {
            let mut frames = 0;
            while late.text() != "the end" {
                late.apply(&sleeper.wait_for(&address, update).await);
                frames += 1;
            }
            assert!(frames < 160, "most of it was replaced by one diff: {frames}");
        }
    }
}
