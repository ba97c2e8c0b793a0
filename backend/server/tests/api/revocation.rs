//! What somebody may do no more, their open sockets may do no more.

use ensemble_protocol::sync::SyncMessage;
use reqwest::StatusCode;
use serde_json::json;

use crate::support::{Api, Socket, TestServer, closed, soon, status};

fn browser_of(server: &TestServer, cookie: Option<String>) -> Api {
    let mut browser = server.stranger();
    browser.cookie = cookie;
    browser.origin = Some(server.url.clone());
    browser
}

/// So slowly that a turn is at work for as long as a test takes.
fn slowly(config: &mut ensemble_server::config::Config) {
    config.model = ensemble_server::config::ModelConfig::Demo { tokens_per_second: 1 };
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

/// [A12] Whoever is taken out of a project while a new name of theirs is on its way is not back in its list of people.
#[tokio::test]
async fn a_new_name_brings_nobody_back() {
    let server = TestServer::start().await;
    let ((ada, here), (eve, there)) = (server.project().await, server.project().await);
    let (_, secret_here) = link(&ada, &here, "editor").await;
    let (_, secret_there) = link(&eve, &there, "editor").await;
    let (_, bob) = by_link(&server, &secret_here, "Bob").await;
    assert_eq!(bob.post("/api/v1/join", json!({"secret": secret_there})).await.status, StatusCode::OK);
    let id = bob.get("/api/v1/me").await.json()["id"].as_str().unwrap().to_owned();
    let mut socket = eve.socket().await;
    let tree = socket.join(&there, eve.token()).await;
    assert_eq!(tree.map("members")[&id]["name"], "Bob");

    // The name is written first, then the removal; telling the name elsewhere comes after both were asked for.
    let holding = server.hold_commits().await;
    let naming = tokio::spawn(async move {
        bob.post("/api/v1/join", json!({"secret": secret_here, "name": "Robert"})).await
    });
    soon("the name to wait", async {
        while server.stranger().get("/health/ready").await.status == StatusCode::OK {}
    })
    .await;
    let member = format!("/api/v1/projects/{there}/members/{id}");
    let removing = {
        let eve = eve.clone();
        tokio::spawn(async move { eve.delete(&member).await })
    };
    // Others are served meanwhile, the removal before them.
    for _ in 0..10 {
        assert_eq!(eve.get(&format!("/api/v1/projects/{there}")).await.status, StatusCode::OK);
    }
    holding.let_go().await;
    assert_eq!(naming.await.unwrap().status, StatusCode::OK);
    assert_eq!(removing.await.unwrap().status, StatusCode::NO_CONTENT);
    let mut again = eve.socket().await;
    let tree = again.join(&there, eve.token()).await;
    assert!(tree.map("members").get(&id).is_none(), "{}", tree.map("members"));
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

/// [A12] A higher role lifts the sockets of a person, but none that was opened with a token for less.
#[tokio::test]
async fn a_limited_token_stays_limited_when_the_role_rises() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let id = ada.document(&project, "a.txt", "").await;
    let address = format!("{project}/{id}");
    let links = format!("/api/v1/projects/{project}/invites");
    let invite = ada.post(&links, json!({"role": "viewer"})).await.json();
    let body = json!({"secret": invite["secret"], "name": "Bob"});
    let joined = server.stranger().post("/api/v1/join", body).await;
    let browser = browser_of(&server, joined.cookie());
    let mut weak = server.stranger();
    weak.token = Some(joined.json()["token"].as_str().unwrap().into());
    let mut reading = weak.socket().await;
    let copy = reading.join(&address, weak.token()).await;
    let plain = format!("/sync/{project}/{id}?token={}", weak.token());
    let mut plain = Socket::open(&server.url, &plain, &[]).await.unwrap();
    plain.send(vec![0, 0, 1, 0]).await;
    plain.next().await.unwrap();

    let member = format!("/api/v1/projects/{project}/members/{}", id_of(&weak).await);
    assert_eq!(ada.patch(&member, json!({"role": "editor"})).await.status, StatusCode::OK);
    let typed = copy.insert(0, "x");
    reading.sync(&address, SyncMessage::Update(&typed)).await;
    assert!(!reading.wait_for(&address, status).await, "the token is for reading");
    let mut frame = vec![0, 1, 2, 0, 0];
    SyncMessage::Update(&typed).write(&mut frame);
    plain.send(frame).await;
    weak.post(&format!("/api/v1/projects/{project}/documents"), json!({"path": "b.txt"}))
        .await
        .expect_problem(403, "read_only");

    // The same person with a better token, on another socket and then on this one.
    let invite = ada.post(&links, json!({"role": "editor"})).await;
    let joined = browser.post("/api/v1/join", json!({"secret": invite.json()["secret"]})).await;
    assert_eq!(joined.json()["role"], "editor", "{}", joined.text);
    let strong = joined.json()["token"].as_str().unwrap().to_owned();
    let mut writing = weak.socket().await;
    let other = writing.join(&address, &strong).await;
    assert_eq!(other.text(), "", "nothing came through the weak token");
    writing.sync(&address, SyncMessage::Update(&other.insert(0, "y"))).await;
    assert!(writing.wait_for(&address, status).await);
    reading.sync(&address, SyncMessage::Update(&typed)).await;
    assert!(!reading.wait_for(&address, status).await, "the other socket lifts nothing here");

    assert_eq!(reading.attach(&address, &strong).await, Ok("read-write".into()));
    reading.sync(&address, SyncMessage::Update(&typed)).await;
    assert!(reading.wait_for(&address, status).await, "now it is signed in with the better one");
    assert_eq!(reading.attach(&address, weak.token()).await, Ok("readonly".into()));
    reading.sync(&address, SyncMessage::Update(&copy.insert(0, "z"))).await;
    assert!(!reading.wait_for(&address, status).await);
    writing.sync(&address, SyncMessage::Update(&other.insert(0, "w"))).await;
    assert!(writing.wait_for(&address, status).await, "and the other socket is as it was");
}

/// [A16] A person sees the tokens of their programs and revokes them; sockets close with them, and no others.
#[tokio::test]
async fn a_token_that_is_revoked_takes_its_sockets_with_it() {
    let server = TestServer::start().await;
    let made = server.stranger().post("/api/v1/projects", json!({"name": "Test", "your_name": "Ada"})).await;
    let project = made.json()["project"]["id"].as_str().unwrap().to_owned();
    let browser = browser_of(&server, made.cookie());
    let mut program = server.stranger();
    program.token = Some(made.json()["token"].as_str().unwrap().into());
    let id = program.document(&project, "a.txt", "").await;
    let invite =
        program.post(&format!("/api/v1/projects/{project}/invites"), json!({"role": "editor"})).await;
    let second = browser.post("/api/v1/join", json!({"secret": invite.json()["secret"]})).await;
    let mut other = server.stranger();
    other.token = Some(second.json()["token"].as_str().unwrap().into());

    let mut socket = program.socket().await;
    socket.join(&project, program.token()).await;
    let path = format!("/sync/{project}/{id}?token={}", program.token());
    let mut plain = Socket::open(&server.url, &path, &[]).await.unwrap();
    plain.send(vec![0, 0, 1, 0]).await;
    plain.next().await.unwrap();
    let mut others = other.socket().await;
    others.join(&project, other.token()).await;

    let tokens = browser.get("/api/v1/tokens").await;
    assert!(!tokens.text.contains("ens_"), "no secrets: {}", tokens.text);
    let tokens = tokens.json();
    assert_eq!(tokens.as_array().unwrap().len(), 2, "{tokens}");
    assert_eq!((&tokens[1]["project"], &tokens[1]["role"]), (&json!(project), &json!("owner")));
    let path = format!("/api/v1/tokens/{}", tokens[1]["id"].as_str().unwrap());
    program.get("/api/v1/tokens").await.expect_problem(403, "no_access");
    other.delete(&path).await.expect_problem(403, "no_access");
    let eve = server.stranger().post("/api/v1/projects", json!({"name": "Eve's"})).await;
    browser_of(&server, eve.cookie()).delete(&path).await.expect_problem(404, "not_found");

    assert_eq!(browser.delete(&path).await.status, StatusCode::NO_CONTENT);
    socket.expect_close(4401).await;
    plain.expect_close(4401).await;
    program.get("/api/v1/me").await.expect_problem(401, "not_signed_in");
    browser.delete(&path).await.expect_problem(404, "not_found");
    let made = others.call(&project, 1, "document.create", json!({"path": "still.txt"})).await;
    assert!(made["result"]["id"].is_string(), "{made}");

    // A token ends itself when its program is done.
    let path = format!("/api/v1/tokens/{}", tokens[0]["id"].as_str().unwrap());
    assert_eq!(other.delete(&path).await.status, StatusCode::NO_CONTENT);
    others.expect_close(4401).await;
}

/// [A14] [A16] What is being ended ends with its sockets, also where whoever asked hangs up meanwhile.
#[tokio::test]
async fn what_is_ended_ends_though_whoever_asked_hangs_up() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let server = TestServer::start().await;
    let made = server.stranger().post("/api/v1/projects", json!({"name": "Test"})).await;
    let project = made.json()["project"]["id"].as_str().unwrap().to_owned();
    let browser = browser_of(&server, made.cookie());
    let token = made.json()["token"].as_str().unwrap().to_owned();
    let mut by_token = server.stranger().socket().await;
    by_token.join(&project, &token).await;
    let ticket = browser.post("/api/v1/socket-tickets", json!({})).await.json();
    let mut by_session = browser.socket().await;
    by_session.join(&project, ticket["ticket"].as_str().unwrap()).await;
    let tokens = browser.get("/api/v1/tokens").await.json();
    let sessions = browser.get("/api/v1/sessions").await.json();

    for (path, id, socket) in
        [("tokens", &tokens[0]["id"], &mut by_token), ("sessions", &sessions[0]["id"], &mut by_session)]
    {
        let holding = server.hold_commits().await;
        let address = server.url.strip_prefix("http://").unwrap();
        let mut raw = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!(
            "DELETE /api/v1/{path}/{} HTTP/1.1\r\nHost: x\r\nCookie: {}\r\nX-Ensemble: 1\r\n\r\n",
            id.as_str().unwrap(),
            made.cookie().unwrap()
        );
        raw.write_all(request.as_bytes()).await.unwrap();
        // The server has tried to write by the time it says that it cannot.
        soon("the server to be degraded", async {
            while browser.get("/health/ready").await.status == StatusCode::OK {}
        })
        .await;
        raw.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = soon("the server to notice", raw.read_to_end(&mut answer)).await;
        assert!(answer.is_empty(), "it was answered: {}", String::from_utf8_lossy(&answer));
        holding.let_go().await;
        socket.expect_close(4401).await;
        soon("the server to be well again", async {
            while browser.get("/health/ready").await.status != StatusCode::OK {}
        })
        .await;
    }
}

/// [A14] [A16] A session or a token that runs out closes its sockets, and nobody else's.
#[tokio::test]
async fn what_runs_out_takes_its_sockets_with_it() {
    use ensemble_protocol::id::{MemberId, ProjectId, Role, SessionId, TokenId};
    use ensemble_store::{Change, Ids as _, SqliteStore, Store as _, SystemClock, SystemIds, Write};

    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let member: MemberId = id_of(&ada).await.parse().unwrap();
    let cookie = server.stranger().post("/api/v1/projects", json!({"name": "x"})).await.cookie().unwrap();
    let cookie_name = cookie.split('=').next().unwrap().to_owned();
    let (_, data) = server.stop().await;
    let store =
        SqliteStore::open(data.path().join("ensemble.db"), std::sync::Arc::new(SystemClock)).await.unwrap();
    let (cookie, token) = ("s".repeat(43), format!("ens_{}", "t".repeat(43)));
    let ends = ensemble_store::Clock::now(&SystemClock) + std::time::Duration::from_secs(8);
    let written = store.commit(Write::changes([
        Change::CreateSession {
            id: SessionId::from_uuid(SystemIds.uuid()),
            member,
            hash: ensemble_server::auth::hash(&cookie),
            expires_at: ends,
        },
        Change::CreateToken {
            id: TokenId::from_uuid(SystemIds.uuid()),
            hash: ensemble_server::auth::hash(&token),
            member,
            project: Some(project.parse::<ProjectId>().unwrap()),
            role: Role::Editor,
            name: "short".into(),
            expires_at: Some(ends),
        },
    ]));
    written.await.unwrap();
    store.close().await;
    drop(store);

    let expiry = std::time::Duration::from_millis(100);
    let server = TestServer::on(data, |config| config.limits.sockets.expiry = expiry).await;
    let mut stays = server.stranger();
    stays.token.clone_from(&ada.token);
    let mut calm = stays.socket().await;
    calm.join(&project, stays.token()).await;
    let browser = browser_of(&server, Some(format!("{cookie_name}={cookie}")));
    let ticket = browser.post("/api/v1/socket-tickets", json!({})).await.json();
    let mut by_session = browser.socket().await;
    by_session.join(&project, ticket["ticket"].as_str().unwrap()).await;
    let mut by_token = server.stranger().socket().await;
    by_token.join(&project, &token).await;

    by_session.expect_close(4401).await;
    by_token.expect_close(4401).await;
    assert!(ensemble_store::Clock::now(&SystemClock) >= ends, "not before its time");
    let made = calm.call(&project, 1, "document.create", json!({"path": "still.txt"})).await;
    assert!(made["result"]["id"].is_string(), "{made}");
}

/// [A17] Who is taken out, or may only read from now on, has no turn at work any more; others' turns go on.
#[tokio::test]
async fn the_turns_of_who_is_removed_are_stopped() {
    let server = TestServer::with(slowly).await;
    let (ada, project) = server.project().await;
    let turns = format!("/api/v1/projects/{project}/turns");
    for change in [json!(null), json!({"role": "viewer"})] {
        let bob = server.member(&ada, &project, "editor", "Bob").await;
        let id = ada.document(&project, &format!("{}.py", change.to_string().len()), "x = 1\n").await;
        let mut started = Vec::new();
        for by in [&bob, &bob, &ada] {
            let turn = by.post(&turns, json!({"prompt": "write a long story", "document": id})).await;
            assert_eq!(turn.status, StatusCode::CREATED, "{}", turn.text);
            started.push(format!("{turns}/{}", turn.json()["turn"]["id"].as_str().unwrap()));
        }
        let member = format!("/api/v1/projects/{project}/members/{}", id_of(&bob).await);
        let changed =
            if change.is_null() { ada.delete(&member).await } else { ada.patch(&member, change).await };
        assert!(changed.status.is_success(), "{}", changed.text);
        for turn in &started[..2] {
            assert_eq!(ada.get(turn).await.json()["status"], "interrupted");
        }
        let on = ada.get(&started[2]).await.json();
        assert!(["queued", "running"].contains(&on["status"].as_str().unwrap()), "{on}");
        ada.post(&format!("{}/interrupt", started[2]), json!({})).await;
    }
}

/// A link of a project: where it is, and its secret.
async fn link(owner: &Api, project: &str, role: &str) -> (String, String) {
    let links = format!("/api/v1/projects/{project}/invites");
    let made = owner.post(&links, json!({"role": role})).await.json();
    (format!("{links}/{}", made["id"].as_str().unwrap()), made["secret"].as_str().unwrap().into())
}

/// Somebody new by a link: a program of theirs, and their browser.
async fn by_link(server: &TestServer, secret: &str, name: &str) -> (Api, Api) {
    let body = json!({"secret": secret, "name": name});
    let joined = server.stranger().post("/api/v1/join", body).await;
    assert_eq!(joined.status, StatusCode::OK, "{}", joined.text);
    let token = Some(joined.json()["token"].as_str().unwrap().to_owned());
    (Api { token, ..server.stranger() }, browser_of(server, joined.cookie()))
}

/// How many people the list says would go with a link.
async fn members_by(owner: &Api, link: &str) -> u64 {
    let (links, id) = link.rsplit_once('/').unwrap();
    let listed = owner.get(links).await.json();
    let found = listed.as_array().unwrap().iter().find(|link| link["id"] == id).unwrap();
    found["members"].as_u64().unwrap()
}

/// [A18] A link that is revoked with those who came by it closes their sockets and stops their turns; who came by
/// another link, and whose role an owner has set, goes on.
#[tokio::test]
async fn revoking_a_link_can_end_what_it_gave() {
    let server = TestServer::with(slowly).await;
    let (ada, project) = server.project().await;
    let id = ada.document(&project, "a.txt", "").await;
    let address = format!("{project}/{id}");
    let (leaked, leaked_secret) = link(&ada, &project, "editor").await;
    let (other, other_secret) = link(&ada, &project, "editor").await;
    let (bob, bobs_browser) = by_link(&server, &leaked_secret, "Bob").await;
    let (mallory, _) = by_link(&server, &leaked_secret, "Mallory").await;
    let (dora, _) = by_link(&server, &leaked_secret, "Dora").await;
    let (eve, _) = by_link(&server, &other_secret, "Eve").await;
    let member = |id: String| format!("/api/v1/projects/{project}/members/{id}");
    assert_eq!(members_by(&ada, &leaked).await, 3);
    // An owner has decided about Dora, also by leaving her what the link gave her.
    let kept = ada.patch(&member(id_of(&dora).await), json!({"role": "editor"})).await;
    assert_eq!(kept.status, StatusCode::OK, "{}", kept.text);
    assert_eq!((members_by(&ada, &leaked).await, members_by(&ada, &other).await), (2, 1));

    let mut bobs = bob.socket().await;
    bobs.join(&address, bob.token()).await;
    let path = format!("/sync/{project}/{id}?token={}", mallory.token());
    let mut plain = Socket::open(&server.url, &path, &[]).await.unwrap();
    plain.send(vec![0, 0, 1, 0]).await;
    plain.next().await.unwrap();
    let mut typing = Vec::new();
    for who in [&eve, &dora] {
        let mut socket = who.socket().await;
        let text = socket.join(&address, who.token()).await;
        socket.sync(&address, SyncMessage::Update(&text.insert(0, "before "))).await;
        assert!(socket.wait_for(&address, status).await);
        typing.push((socket, text));
    }
    let turns = format!("/api/v1/projects/{project}/turns");
    let mut started = Vec::new();
    for by in [&bob, &mallory, &eve] {
        let turn = by.post(&turns, json!({"prompt": "write a long story", "document": id})).await;
        assert_eq!(turn.status, StatusCode::CREATED, "{}", turn.text);
        started.push(format!("{turns}/{}", turn.json()["turn"]["id"].as_str().unwrap()));
    }

    let with_members = format!("{leaked}?members=remove");
    eve.delete(&with_members).await.expect_problem(403, "no_access");
    for query in ["members=keep", "members", "who=remove", "members=remove&also=that"] {
        ada.delete(&format!("{leaked}?{query}")).await.expect_problem(400, "bad_request");
    }
    assert_eq!(members_by(&ada, &leaked).await, 2, "nothing has happened yet");
    assert_eq!(ada.delete(&with_members).await.status, StatusCode::NO_CONTENT);

    assert_eq!(bobs.wait_for(&address, closed).await, "no_access");
    plain.expect_close(4403).await;
    bob.get(&format!("/api/v1/projects/{project}")).await.expect_problem(404, "project_not_found");
    for turn in &started[..2] {
        assert_eq!(ada.get(turn).await.json()["status"], "interrupted");
    }
    let on = ada.get(&started[2]).await.json();
    assert!(["queued", "running"].contains(&on["status"].as_str().unwrap()), "{on}");
    for (socket, text) in &mut typing {
        socket.sync(&address, SyncMessage::Update(&text.insert(0, "after "))).await;
        assert!(socket.wait_for(&address, status).await, "they go on where they were");
    }
    let tree = ada.socket().await.join(&project, ada.token()).await;
    let mut names: Vec<_> = tree.map("members").as_object().unwrap().values().cloned().collect();
    names.sort_by_key(|member| member["name"].to_string());
    let names: Vec<_> = names.iter().map(|member| member["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Ada", "Dora", "Eve"]);

    let body = json!({"secret": leaked_secret});
    bobs_browser.post("/api/v1/join", body).await.expect_problem(410, "invite_invalid");
    assert_eq!(ada.delete(&with_members).await.status, StatusCode::NO_CONTENT, "once more is no harm");
    let again = bobs_browser.post("/api/v1/join", json!({"secret": other_secret})).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.text);
    assert_eq!(members_by(&ada, &other).await, 2);
}

/// [A18] Revoking a link closes the door without emptying the room; that may be asked for later. Whoever came by
/// several links counts for the one their role came by.
#[tokio::test]
async fn a_revoked_link_leaves_those_inside_until_asked() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let id = ada.document(&project, "a.txt", "").await;
    let address = format!("{project}/{id}");
    let (reading, reading_secret) = link(&ada, &project, "viewer").await;
    let (writing, writing_secret) = link(&ada, &project, "editor").await;
    let (_, bobs_browser) = by_link(&server, &reading_secret, "Bob").await;
    let joined = bobs_browser.post("/api/v1/join", json!({"secret": writing_secret})).await;
    let bob = Api { token: Some(joined.json()["token"].as_str().unwrap().into()), ..server.stranger() };
    let mut socket = bob.socket().await;
    let text = socket.join(&address, bob.token()).await;
    assert_eq!((members_by(&ada, &reading).await, members_by(&ada, &writing).await), (0, 1));

    assert_eq!(ada.delete(&format!("{reading}?members=remove")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(ada.delete(&writing).await.status, StatusCode::NO_CONTENT);
    socket.sync(&address, SyncMessage::Update(&text.insert(0, "still here"))).await;
    assert!(socket.wait_for(&address, status).await);
    assert_eq!(members_by(&ada, &writing).await, 1);

    assert_eq!(ada.delete(&format!("{writing}?members=remove")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(socket.wait_for(&address, closed).await, "no_access");
    assert_eq!(members_by(&ada, &writing).await, 0);
}

/// [A13] [A18] Whoever revokes a link stays, also where they came by it, and so a project keeps an owner.
#[tokio::test]
async fn nobody_takes_themselves_out_by_a_link() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let (owners, secret) = link(&ada, &project, "owner").await;
    let (cleo, _) = by_link(&server, &secret, "Cleo").await;
    let (dave, _) = by_link(&server, &secret, "Dave").await;
    assert_eq!((members_by(&ada, &owners).await, members_by(&cleo, &owners).await), (2, 1));
    let id = id_of(&ada).await;
    let ada_out = cleo.delete(&format!("/api/v1/projects/{project}/members/{id}")).await;
    assert_eq!(ada_out.status, StatusCode::NO_CONTENT);

    let with_members = format!("{owners}?members=remove");
    for _ in 0..2 {
        assert_eq!(cleo.delete(&with_members).await.status, StatusCode::NO_CONTENT);
    }
    let here = format!("/api/v1/projects/{project}");
    dave.get(&here).await.expect_problem(404, "project_not_found");
    assert_eq!(cleo.get(&here).await.json()["role"], "owner");
    dave.delete(&with_members).await.expect_problem(404, "project_not_found");
}

/// [S26] A person has only so many sockets; others open theirs.
#[tokio::test]
async fn a_person_has_only_so_many_sockets() {
    let server = TestServer::with(|config| config.limits.connections.sockets_per_person = 2).await;
    let (ada, project) = server.project().await;
    let bob = server.member(&ada, &project, "editor", "Bob").await;
    let id = ada.document(&project, "a.txt", "").await;
    let (mut first, mut second) = (bob.socket().await, bob.socket().await);
    first.join(&project, bob.token()).await;
    second.join(&project, bob.token()).await;
    first.join(&format!("{project}/{id}"), bob.token()).await;
    let mut third = bob.socket().await;
    assert_eq!(third.attach(&project, bob.token()).await, Err("rate_limited".into()));
    let path = format!("/sync/{project}/{id}?token={}", bob.token());
    let mut plain = Socket::open(&server.url, &path, &[]).await.unwrap();
    plain.expect_close(4529).await;
    ada.socket().await.join(&project, ada.token()).await;
    drop(second);
    crate::support::soon("a place", async { while third.attach(&project, bob.token()).await.is_err() {} })
        .await;
}
