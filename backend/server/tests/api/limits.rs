//! What comes back at a limit, and that nobody else notices.

use ensemble_protocol::limits::{self, Rate};
use ensemble_protocol::sync::SyncMessage;
use serde_json::json;

use crate::support::{Api, Heard, Socket, TestServer, closed, status};

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

/// [S24] Many messages in one frame are no faster than as many frames.
#[tokio::test]
async fn many_messages_in_a_frame_are_slowed_down_too() {
    let slow = Rate { per_second: 10.0, burst: 5.0 };
    let server = TestServer::with(|config| config.limits.pace.frames = slow).await;
    let (ada, project) = server.project().await;
    let id = ada.document(&project, "a.txt", "").await;
    let path = format!("/sync/{project}/{id}?token={}", ada.token());
    let mut plain = Socket::open(&server.url, &path, &[]).await.unwrap();
    // A question, an answer with nothing new, presence about nobody again and again, and an update in the end.
    let mut frame = vec![0, 0, 1, 0, 0, 1, 2, 0, 0];
    frame.extend([1, 1, 0].repeat(60));
    SyncMessage::Update(&crate::support::Replica::new().insert(0, "late")).write(&mut frame);
    plain.send(frame).await;
    plain.next().await.unwrap();
    let mut socket = ada.socket().await;
    let text = socket.join(&format!("{project}/{id}"), ada.token()).await;
    assert_eq!(text.text(), "", "it is still on its way");
    crate::support::soon("the update", async { while ada.text(&project, &id).await != "late" {} }).await;
}

/// [A15] Signing in on a socket counts as a request, whatever comes of it; others go on.
#[tokio::test]
async fn sign_ins_on_sockets_are_counted() {
    let server = TestServer::with(|config| {
        config.limits.requests.proxies = 1;
        config.limits.requests.all.address = Rate { per_second: 0.001, burst: 30.0 };
    })
    .await;
    let (ada, project) = server.project().await;
    let from = |address: &str| [("x-forwarded-for", address.to_owned())];
    let mut guessing = Socket::open(&server.url, "/sync", &from("203.0.113.1")).await.unwrap();
    let mut guesses = 0;
    while guessing.attach(&project, "ens_none").await == Err("not_signed_in".into()) {
        guesses += 1;
        assert!(guesses <= 30, "it may guess for ever");
    }
    assert_eq!(guessing.attach(&project, ada.token()).await, Err("rate_limited".into()));
    let mut other = Socket::open(&server.url, "/sync", &from("203.0.113.2")).await.unwrap();
    other.join(&project, ada.token()).await;
}

/// [A15] Strangers are counted before what they send is read.
#[tokio::test]
async fn who_asks_too_often_is_not_read() {
    let slow = Rate { per_second: 0.001, burst: 1.0 };
    let server = TestServer::with(|config| {
        config.limits.requests.joins.address = slow;
        config.limits.requests.projects.address = slow;
    })
    .await;
    for path in ["/api/v1/join", "/api/v1/projects"] {
        let nonsense = || {
            let request = server.stranger().request(reqwest::Method::POST, path);
            crate::support::answer(request.header("content-type", "application/json").body("{"))
        };
        nonsense().await.expect_problem(400, "bad_request");
        nonsense().await.expect_problem(429, "rate_limited");
    }
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

/// An owner's browser and an editor's, in one project.
async fn browsers(server: &TestServer) -> (Api, Api, String) {
    let browser = |cookie| Api { cookie, origin: Some(server.url.clone()), ..server.stranger() };
    let body = json!({"name": "Test", "template": "empty", "your_name": "Ada"});
    let made = server.stranger().post("/api/v1/projects", body).await;
    let ada = browser(made.cookie());
    let project = made.json()["project"]["id"].as_str().unwrap().to_owned();
    let secret = made.json()["link"].as_str().unwrap().split("/join#").nth(1).unwrap().to_owned();
    let body = json!({"secret": secret, "name": "Bob"});
    let bob = browser(server.stranger().post("/api/v1/join", body).await.cookie());
    (ada, bob, project)
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
    let (ada, bob, project) = browsers(&server).await;
    let turns = format!("/api/v1/projects/{project}/turns");
    let mut ticket = String::new();
    for (path, body) in [
        ("/api/v1/socket-tickets", json!({})),
        ("/api/v1/projects", json!({"name": "More"})),
        (&turns, json!({"prompt": "say hello"})),
    ] {
        for _ in 0..2 {
            let made = ada.post(path, body.clone()).await;
            assert_eq!(made.status, 201, "{path}");
            if let Some(made) = made.json()["ticket"].as_str() {
                ticket = made.to_owned();
            }
        }
        let refused = ada.post(path, body.clone()).await;
        refused.expect_problem(429, "rate_limited");
        let seconds: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=1001).contains(&seconds), "{seconds}");
        assert_eq!(bob.post(path, body).await.status, 201, "{path}");
    }
    let mut socket = ada.socket().await;
    socket.join(&project, &ticket).await;
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

/// [A15] Each kind of dear request has a rate of its own, for a person and for an address; others go on.
#[tokio::test]
async fn each_kind_of_request_has_rates_of_its_own() {
    let slow = Rate { per_second: 0.001, burst: 2.0 };
    for by_person in [true, false] {
        let server = TestServer::with(|config| {
            let requests = &mut config.limits.requests;
            requests.proxies = 1;
            for kind in [&mut requests.joins, &mut requests.projects, &mut requests.tickets] {
                *(if by_person { &mut kind.person } else { &mut kind.address }) = slow;
            }
        })
        .await;
        let (ada, bob, _) = browsers(&server).await;
        let (here, there) = ("203.0.113.1", "203.0.113.2");
        for (path, body, fine) in [
            ("/api/v1/join", json!({"secret": "none"}), 410),
            ("/api/v1/projects", json!({"name": "x", "template": "empty"}), 201),
            ("/api/v1/socket-tickets", json!({}), 201),
        ] {
            let ask = |who: &crate::support::Api, from: &str| {
                let request = who.request(reqwest::Method::POST, path).header("x-forwarded-for", from);
                let request = request.header("content-type", "application/json").body(body.to_string());
                crate::support::answer(request)
            };
            // The same person from two addresses, or two people from the same one.
            assert_eq!(ask(&ada, here).await.status, fine, "{path}");
            let second = if by_person { ask(&ada, there).await } else { ask(&bob, here).await };
            assert_eq!(second.status, fine, "{path}");
            let refused = ask(&ada, here).await;
            refused.expect_problem(429, "rate_limited");
            assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
            let other = if by_person { ask(&bob, here).await } else { ask(&ada, there).await };
            assert_eq!(other.status, fine, "{path}");
        }
    }
}

/// [A15] Whoever asks for anything too often is told when to come back; others go on, and so does what is open.
#[tokio::test]
async fn requests_of_any_kind_are_counted() {
    let slow = Rate { per_second: 0.001, burst: 30.0 };
    let server = TestServer::with(|config| config.limits.requests.all.person = slow).await;
    let (ada, project) = server.project().await;
    let bob = server.member(&ada, &project, "editor", "Bob").await;
    let id = ada.document(&project, "a.txt", "").await;
    let address = format!("{project}/{id}");
    let mut open = bob.socket().await;
    let text = open.join(&address, bob.token()).await;
    for _ in 0..30 {
        assert_eq!(bob.get("/api/v1/me").await.status, 200);
    }
    let refused = bob.get("/api/v1/me").await;
    refused.expect_problem(429, "rate_limited");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(ada.get("/api/v1/me").await.status, 200);
    open.sync(&address, SyncMessage::Update(&text.insert(0, "x"))).await;
    assert!(open.wait_for(&address, status).await, "what is open goes on");

    let server = TestServer::with(|config| {
        config.limits.requests.proxies = 1;
        config.limits.requests.all.address = slow;
    })
    .await;
    let from = |address: &str| {
        let request = server.stranger().request(reqwest::Method::GET, "/api/v1/info");
        crate::support::answer(request.header("x-forwarded-for", address.to_owned()))
    };
    for _ in 0..30 {
        assert_eq!(from("203.0.113.1").await.status, 200);
    }
    from("203.0.113.1").await.expect_problem(429, "rate_limited");
    assert_eq!(from("203.0.113.2").await.status, 200, "somebody else");
    assert_eq!(server.stranger().get("/health/live").await.status, 200, "no question of the API");
}

/// [S24] All sockets of a person count together, and so do all of an address; others go on.
#[tokio::test]
async fn sockets_count_together() {
    let slow = Rate { per_second: 1.0, burst: 3_000.0 };
    for by_person in [true, false] {
        let server = TestServer::with(|config| {
            config.limits.requests.proxies = 1;
            let pace = &mut config.limits.pace;
            if by_person {
                pace.person.bytes = slow;
            } else {
                pace.address.bytes = slow;
            }
        })
        .await;
        let (ada, project) = server.project().await;
        let bob = server.member(&ada, &project, "editor", "Bob").await;
        let id = ada.document(&project, "a.txt", "").await;
        let address = format!("{project}/{id}");
        let from = |address: &str| [("x-forwarded-for", address.to_owned())];
        let mut sockets = Vec::new();
        for at in ["203.0.113.1", "203.0.113.1", "203.0.113.2"] {
            sockets.push(Socket::open(&server.url, "/sync", &from(at)).await.unwrap());
        }
        let (other, theirs) = (sockets.pop().unwrap(), if by_person { &ada } else { &bob });
        let (mut second, mut first, mut other) = (sockets.pop().unwrap(), sockets.pop().unwrap(), other);
        let one = first.join(&address, bob.token()).await;
        let two = second.join(&address, bob.token()).await;
        let three = other.join(&address, theirs.token()).await;
        first.sync(&address, SyncMessage::Update(&one.insert(0, &"x".repeat(2_000)))).await;
        assert!(first.wait_for(&address, status).await);
        // More than a minute's worth too much: no use in waiting for it.
        second.sync(&address, SyncMessage::Update(&two.insert(0, &"y".repeat(2_000)))).await;
        second.expect_close(4529).await;
        other.sync(&address, SyncMessage::Update(&three.insert(0, "z"))).await;
        assert!(other.wait_for(&address, status).await);
    }
}

/// [S40] A project, a socket and the server hold only so many documents; what is there goes on.
#[tokio::test]
async fn there_are_only_so_many_documents() {
    let server = TestServer::with(|config| {
        config.limits.documents.per_project = 3;
        config.limits.documents.per_socket = 2;
    })
    .await;
    let (ada, project) = server.project().await;
    let mut ids = Vec::new();
    for path in ["a", "b", "c"] {
        ids.push(ada.document(&project, path, "").await);
    }
    let documents = format!("/api/v1/projects/{project}/documents");
    ada.post(&documents, json!({"path": "d"})).await.expect_problem(413, "too_large");
    let mut socket = ada.socket().await;
    socket.join(&project, ada.token()).await;
    let refused = socket.call(&project, 1, "document.create", json!({"path": "d"})).await;
    assert_eq!(refused["error"]["data"]["code"], "too_large", "{refused}");
    let (eve, other) = server.project().await;
    eve.document(&other, "d", "").await;
    let first = format!("{project}/{}", ids[0]);
    let text = socket.join(&first, ada.token()).await;
    let third = format!("{project}/{}", ids[1]);
    assert_eq!(socket.attach(&third, ada.token()).await, Err("rate_limited".into()));
    socket.sync(&first, SyncMessage::Update(&text.insert(0, "x"))).await;
    assert!(socket.wait_for(&first, status).await);
    assert_eq!(ada.delete(&format!("{documents}/{}", ids[2])).await.status, 204);
    assert_eq!(ada.post(&documents, json!({"path": "d"})).await.status, 201, "there is room again");
}

/// [S40] Over the number of open documents, none is opened; those that are open stay so.
#[tokio::test]
async fn only_so_many_documents_are_open() {
    let server = TestServer::with(|config| config.limits.documents.open = 2).await;
    let (ada, project) = server.project().await;
    let (one, two) = (ada.document(&project, "a", "").await, ada.document(&project, "b", "").await);
    let address = format!("{project}/{one}");
    // The tree is open, since documents were made; with this one the server is full.
    let mut socket = ada.socket().await;
    let text = socket.join(&address, ada.token()).await;
    assert_eq!(socket.attach(&format!("{project}/{two}"), ada.token()).await, Err("busy".into()));
    let path = format!("/sync/{project}/{two}?token={}", ada.token());
    Socket::open(&server.url, &path, &[]).await.unwrap().expect_close(4500).await;
    ada.get(&format!("/api/v1/projects/{project}/documents/{two}/text")).await.expect_problem(503, "busy");
    socket.sync(&address, SyncMessage::Update(&text.insert(0, "x"))).await;
    assert!(socket.wait_for(&address, status).await);
    let mut another = ada.socket().await;
    assert_eq!(another.join(&address, ada.token()).await.text(), "x", "what is open may be entered");
}

/// [S40] A room takes only so many peers, a document only so much text, an agent only so many turns.
#[tokio::test]
async fn rooms_documents_and_queues_have_an_end() {
    let server = TestServer::with(|config| {
        config.model = ensemble_server::config::ModelConfig::Demo { tokens_per_second: 1 };
    })
    .await;
    let (ada, project) = server.project().await;
    let units = usize::try_from(limits::DOCUMENT_UNITS).unwrap();
    let id = ada.document(&project, "full.txt", &"x".repeat(units - 1)).await;
    let documents = format!("/api/v1/projects/{project}/documents");
    let over = ada.post(&documents, json!({"path": "over.txt", "text": "x".repeat(units + 1)})).await;
    over.expect_problem(413, "too_large");
    let address = format!("{project}/{id}");
    let (mut first, mut second) = (ada.socket().await, ada.socket().await);
    let text = first.join(&address, ada.token()).await;
    let other = second.join(&address, ada.token()).await;
    first.sync(&address, SyncMessage::Update(&text.insert(0, "yy"))).await;
    assert_eq!(first.wait_for(&address, closed).await, "too_large");
    second.sync(&address, SyncMessage::Update(&other.insert(0, "z"))).await;
    assert!(second.wait_for(&address, status).await, "it fits");
    let state = json!({"user": {"name": "x".repeat(limits::PRESENCE_STATE_BYTES)}});
    second.presence(&address, 7, 1, &state).await;
    assert_eq!(second.wait_for(&address, closed).await, "malformed_frame");

    let id = ada.document(&project, "crowded.txt", "").await;
    let address = format!("{project}/{id}");
    let mut calm = ada.socket().await;
    let text = calm.join(&address, ada.token()).await;
    let mut crowd = Vec::new();
    let mut seats = 1;
    while seats < limits::PEERS_PER_ROOM {
        let mut socket = ada.socket().await;
        for session in 0..limits::DOCUMENTS_PER_SOCKET.min(limits::PEERS_PER_ROOM - seats) {
            socket.attach(&format!("{address}\0{session}"), ada.token()).await.unwrap();
            seats += 1;
        }
        crowd.push(socket);
    }
    let mut late = ada.socket().await;
    assert_eq!(late.attach(&address, ada.token()).await, Ok("read-write".into()), "it was let in");
    assert_eq!(late.wait_for(&address, denied).await, "busy", "and then there was no seat");
    calm.sync(&address, SyncMessage::Update(&text.insert(0, "x"))).await;
    assert!(calm.wait_for(&address, status).await);

    let turns = format!("/api/v1/projects/{project}/turns");
    let mut taken = 0;
    let refused = loop {
        let started = ada.post(&turns, json!({"prompt": "write a long story"})).await;
        if started.status != 201 {
            break started;
        }
        taken += 1;
        assert!(taken <= limits::TURNS_QUEUED + 1, "the queue has no end");
    };
    refused.expect_problem(503, "busy");
    assert!(taken >= limits::TURNS_QUEUED);
    let (eve, other) = server.project().await;
    let started = eve.post(&format!("/api/v1/projects/{other}/turns"), json!({"prompt": "say hello"})).await;
    assert_eq!(started.status, 201, "another project's agent is free");
}

fn denied(heard: &Heard) -> Option<String> {
    if let Heard::Denied(reason) = heard { Some(reason.clone()) } else { None }
}
