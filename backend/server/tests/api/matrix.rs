//! Who may do what: every route and every message, by everybody, with what comes back.
//!
//! A route or method without a row fails the test. The same table is in `docs/security.md`, written by this test
//! with `ENSEMBLE_BLESS=1` and compared without, so that it says what was seen.

mod messages;
mod requests;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::json;

use crate::support::{Api, Socket, TestServer};

/// Everybody there is.
const PEOPLE: [&str; 8] = [
    "owner",
    "editor",
    "viewer",
    "owner, by a viewer's token",
    "taken out",
    "owner of another project",
    "nobody",
    "revoked token",
];

/// A row of the table: what is tried, and what comes back for each.
type Row = (String, [String; PEOPLE.len()]);

/// What everybody is expected to get.
type Expected = [&'static str; PEOPLE.len()];

/// A project, and everybody who may want something of it.
struct Stage {
    server: TestServer,
    owner: Api,
    project: String,
    /// A project most people have nothing to do with, and its owner's rights there.
    elsewhere: String,
    elsewhere_owner: Api,
    people: Vec<Api>,
    counter: std::cell::Cell<usize>,
}

impl Stage {
    async fn set() -> Self {
        // Turns are at work until they are stopped.
        let server = TestServer::with(|config| {
            config.model = ensemble_server::config::ModelConfig::Demo { tokens_per_second: 1 };
            let often = ensemble_protocol::limits::Rate { per_second: 1000.0, burst: 10_000.0 };
            config.limits.requests.turns_per_person = often;
            config.limits.requests.tickets.person = often;
        })
        .await;
        let origin = Some(server.url.clone());
        let stranger = server.stranger();
        let browser = |cookie: Option<String>| Api { cookie, origin: origin.clone(), ..stranger.clone() };
        let made = stranger.post("/api/v1/projects", json!({"name": "Ours", "template": "empty"})).await;
        let project = made.json()["project"]["id"].as_str().unwrap().to_owned();
        let owner = browser(made.cookie());
        let made = stranger.post("/api/v1/projects", json!({"name": "Theirs", "template": "empty"})).await;
        let elsewhere = made.json()["project"]["id"].as_str().unwrap().to_owned();
        let elsewhere_owner = browser(made.cookie());
        let mut stage = Self {
            owner: owner.clone(),
            project,
            elsewhere,
            elsewhere_owner: elsewhere_owner.clone(),
            people: Vec::new(),
            counter: std::cell::Cell::new(0),
            server,
        };
        let editor = stage.joined("editor").await.0;
        let viewer = stage.joined("viewer").await.0;
        let (limited, token) = stage.joined("viewer").await;
        let member = stage.id_of(&limited).await;
        let raised = owner.patch(&stage.at(&format!("members/{member}")), json!({"role": "owner"})).await;
        assert_eq!(raised.status, 200, "{}", raised.text);
        let limited = Api { token: Some(token), cookie: None, ..limited };
        let removed = stage.joined("editor").await.0;
        let member = stage.id_of(&removed).await;
        assert_eq!(owner.delete(&stage.at(&format!("members/{member}"))).await.status, 204);
        let (revoked, token) = stage.joined("owner").await;
        let tokens = revoked.get("/api/v1/tokens").await.json();
        let ended = revoked.delete(&format!("/api/v1/tokens/{}", tokens[0]["id"].as_str().unwrap())).await;
        assert_eq!(ended.status, 204, "{}", ended.text);
        let revoked = Api { token: Some(token), cookie: None, ..revoked };
        let nobody = Api { origin: None, ..browser(None) };
        stage.people = vec![owner, editor, viewer, limited, removed, elsewhere_owner, nobody, revoked];
        stage
    }

    fn at(&self, rest: &str) -> String {
        format!("/api/v1/projects/{}/{rest}", self.project)
    }

    /// Somebody new in the project: their browser, and a token.
    async fn joined(&self, role: &str) -> (Api, String) {
        let invite = self.owner.post(&self.at("invites"), json!({"role": role})).await;
        let body = json!({"secret": invite.json()["secret"], "name": "Somebody"});
        // One client for all: making one is slow.
        let stranger = Api { cookie: None, origin: None, token: None, ..self.owner.clone() };
        let joined = stranger.post("/api/v1/join", body).await;
        assert_eq!(joined.status, 200, "{}", joined.text);
        let browser = Api { cookie: joined.cookie(), origin: self.owner.origin.clone(), ..stranger };
        (browser, joined.json()["token"].as_str().unwrap().into())
    }

    async fn id_of(&self, api: &Api) -> String {
        api.get("/api/v1/me").await.json()["id"].as_str().unwrap().into()
    }

    /// A name nothing else has.
    fn fresh(&self, what: &str) -> String {
        self.counter.set(self.counter.get() + 1);
        format!("{what}-{}", self.counter.get())
    }

    async fn document(&self) -> String {
        self.owner.document(&self.project, &self.fresh("document"), "base").await
    }

    /// A turn of the owner, at work or waiting.
    async fn turn(&self) -> String {
        let started = self.owner.post(&self.at("turns"), json!({"prompt": "write a long story"})).await;
        assert_eq!(started.status, 201, "{}", started.text);
        started.json()["turn"]["id"].as_str().unwrap().into()
    }

    async fn stop(&self, turn: &str) {
        self.owner.post(&self.at(&format!("turns/{turn}/interrupt")), json!({})).await;
    }

    /// The project's agent.
    async fn agent(&self) -> String {
        let project = self.owner.get(&format!("/api/v1/projects/{}", self.project)).await.json();
        project["agents"][0]["id"].as_str().unwrap().to_owned()
    }

    async fn stopped_turn(&self) -> String {
        let turn = self.turn().await;
        self.stop(&turn).await;
        turn
    }

    async fn text(&self, document: &str) -> String {
        self.owner.text(&self.project, document).await
    }

    /// What somebody signs in with on a socket.
    async fn token(&self, who: &Api) -> String {
        if let Some(token) = &who.token {
            return token.clone();
        }
        let ticket = who.post("/api/v1/socket-tickets", json!({})).await;
        if ticket.status == 201 { ticket.json()["ticket"].as_str().unwrap().into() } else { String::new() }
    }

    async fn socket(&self, who: &Api) -> Socket {
        who.socket().await
    }
}

fn compare(
    what: &str,
    seen: [String; PEOPLE.len()],
    expected: Expected,
    rows: &mut Vec<Row>,
    wrong: &mut Vec<String>,
) {
    for ((who, seen), expected) in PEOPLE.iter().zip(&seen).zip(expected) {
        if seen != expected {
            wrong.push(format!("{what} by {who}: {seen}, but {expected} was expected"));
        }
    }
    rows.push((what.to_owned(), seen));
}

/// [A1] [A3] [A7] [A12] Every route and every message does for everybody what their role allows, and nothing else.
#[tokio::test]
async fn everybody_gets_what_their_role_allows() {
    let stage = Stage::set().await;
    let mut wrong = Vec::new();

    let mut http = Vec::new();
    for (what, expected) in requests::ROWS {
        let mut seen = Vec::new();
        for who in &stage.people {
            seen.push(requests::ask(&stage, what, who).await);
        }
        compare(what, seen.try_into().unwrap(), *expected, &mut http, &mut wrong);
    }
    let tried: BTreeSet<String> = requests::ROWS.iter().map(|(what, _)| requests::route(what)).collect();
    assert_eq!(tried, requests::all_routes(), "every route has a row, and every row a route");

    let mut sockets = Vec::new();
    for (what, expected) in messages::ROWS {
        let mut seen = Vec::new();
        for who in &stage.people {
            seen.push(messages::say(&stage, what, who).await);
        }
        compare(what, seen.try_into().unwrap(), *expected, &mut sockets, &mut wrong);
    }
    let called: BTreeSet<String> =
        messages::ROWS.iter().filter_map(|(what, _)| what.strip_prefix("call ").map(str::to_owned)).collect();
    assert_eq!(called, messages::all_methods(), "every method has a row");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    keep(&format!(
        "### Requests\n\n{}\n### Messages\n\n{}",
        table("request", &http),
        table("message", &sockets)
    ));
}

fn table(first: &str, rows: &[Row]) -> String {
    let mut text = format!("| {first} | {} |\n|{}\n", PEOPLE.join(" | "), "---|".repeat(PEOPLE.len() + 1));
    for (what, seen) in rows {
        let _ = writeln!(text, "| {what} | {} |", seen.join(" | "));
    }
    text
}

/// Writes the table into the documentation, or compares it with what is there.
fn keep(table: &str) {
    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/security.md");
    const BEGIN: &str = "<!-- what follows is written by the test `matrix` -->\n\n";
    const END: &str = "<!-- the end of what the test writes -->";
    let text = std::fs::read_to_string(FILE).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (kept, after) = rest.split_once(END).unwrap();
    if std::env::var_os("ENSEMBLE_BLESS").is_some() {
        std::fs::write(FILE, format!("{before}{BEGIN}{table}\n{END}{after}")).unwrap();
    } else {
        assert_eq!(
            kept,
            format!("{table}\n"),
            "docs/security.md says something else: run this test with ENSEMBLE_BLESS=1"
        );
    }
}
