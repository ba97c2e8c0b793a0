//! Accepting and rejecting hunk by hunk, who wrote what, and all turns of an agent.

use ensemble_protocol::sync::SyncMessage;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Api, TestServer, soon, status};
use crate::turns::finished;

/// A program that says `total` in three places far from each other.
fn program() -> String {
    let filler = |name: &str| [1, 2, 3, 4, 5, 6, 7, 8, 9].map(|at| format!("{name}_{at} = {at}\n")).concat();
    format!("total = 1\n{}print(total)\n{}keep(total)\n", filler("a"), filler("b"))
}

struct Reviewed {
    api: Api,
    project: String,
    document: String,
    turn: String,
}

impl Reviewed {
    fn turn_at(&self, rest: &str) -> String {
        format!("/api/v1/projects/{}/turns/{}{rest}", self.project, self.turn)
    }

    async fn say(&self, verdict: &str, hunks: Value) -> Value {
        let answer = self.api.post(&self.turn_at(&format!("/{verdict}")), json!({"hunks": hunks})).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()["turn"].clone()
    }

    async fn text(&self) -> String {
        self.api.text(&self.project, &self.document).await
    }

    async fn attribution(&self) -> Value {
        let (project, document) = (&self.project, &self.document);
        let path = format!("/api/v1/projects/{project}/documents/{document}/attribution");
        let answer = self.api.get(&path).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()
    }

    /// Each span's text and what wrote it: `person` or a hunk.
    async fn writers(&self) -> Vec<(String, String)> {
        let text: Vec<u16> = self.text().await.encode_utf16().collect();
        let attribution = self.attribution().await;
        let mut next = 0;
        let mut writers: Vec<(String, String)> = Vec::new();
        for span in attribution["spans"].as_array().unwrap() {
            let number = |key: &str| span[key].as_u64().unwrap() as usize;
            assert_eq!(number("start"), next, "without gaps: {attribution}");
            next += number("length");
            let text = String::from_utf16(&text[number("start")..next]).unwrap();
            let writer = match span["by"].as_str().unwrap() {
                "turn" => {
                    assert_eq!(span["turn"], self.turn.as_str());
                    let turn = &attribution["turns"][&self.turn];
                    assert_eq!(turn["prompt"], "rename total to subtotal");
                    let asker = turn["by"].as_str().unwrap();
                    assert_eq!(attribution["members"][asker]["name"], "Ada");
                    format!("hunk {}", span["hunk"].as_str().unwrap())
                }
                by => {
                    let member = span["member"].as_str().unwrap();
                    assert_eq!(attribution["members"][member]["name"], "Ada");
                    by.to_owned()
                }
            };
            match writers.last_mut() {
                Some((before, by)) if *by == writer => before.push_str(&text),
                _ => writers.push((text, writer)),
            }
        }
        assert_eq!(next, text.len());
        writers
    }
}

async fn renamed(server: &TestServer) -> Reviewed {
    let (api, project) = server.project().await;
    let document = api.document(&project, "main.py", &program()).await;
    let turns = format!("/api/v1/projects/{project}/turns");
    let started = api.post(&turns, json!({"prompt": "rename total to subtotal", "document": document})).await;
    assert_eq!(started.status, StatusCode::CREATED, "{}", started.text);
    let turn = started.json()["turn"]["id"].as_str().unwrap().to_owned();
    let done = finished(&api, &project, &turn).await;
    assert_eq!(done["hunks"].as_array().unwrap().len(), 3, "{done}");
    Reviewed { api, project, document, turn }
}

/// [L6] The middle hunk is rejected after somebody typed inside it, the server is started again, and the first is
/// rejected.
#[tokio::test]
async fn hunks_are_rejected_one_by_one() {
    let server = TestServer::start().await;
    let mut case = renamed(&server).await;
    let changed = program().replace("total", "subtotal");
    assert_eq!(case.text().await, changed);

    let address = format!("{}/{}", case.project, case.document);
    let mut socket = case.api.socket().await;
    let replica = socket.join(&address, case.api.token()).await;
    let inside = changed.find("print(subtotal").unwrap() + "print(s".len();
    let typed = replica.insert(inside as u32, "[mine]");
    socket.sync(&address, SyncMessage::Update(&typed)).await;
    assert!(socket.wait_for(&address, status).await);

    let turn = case.say("reject", json!(["2"])).await;
    let states = |turn: &Value| {
        let hunks = turn["hunks"].as_array().unwrap();
        hunks.iter().map(|hunk| hunk["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (states(&turn), &turn["review"]),
        (vec!["applied".into(), "rejected".into(), "applied".into()], &json!("open"))
    );
    let middle = case.text().await;
    assert!(middle.starts_with("subtotal = 1") && middle.contains("keep(subtotal)"), "{middle}");
    let expected = middle.replace("[mine]", "");
    assert_eq!(expected, changed.replace("print(subtotal)", "print(total)"), "{middle}");
    drop(socket);

    let (_, data) = server.stop().await;
    let server = TestServer::on(data, |_| {}).await;
    let mut api = server.stranger();
    api.token.clone_from(&case.api.token);
    case.api = api;
    assert_eq!(case.text().await, middle);
    let turn = case.say("reject", json!(["1"])).await;
    assert_eq!(states(&turn), ["rejected", "rejected", "applied"]);
    let first = middle.replace("subtotal = 1", "total = 1");
    assert_eq!(case.text().await, first);

    // And everything the other way round, more than once.
    let turn = case.say("accept", json!(["3"])).await;
    assert_eq!(
        (states(&turn), &turn["review"]),
        (vec!["rejected".into(), "rejected".into(), "accepted".into()], &json!("mixed"))
    );
    assert_eq!(case.text().await, first);
    for _ in 0..2 {
        let turn = case.say("accept", json!(["2", "1"])).await;
        assert_eq!(turn["review"], "accepted");
        assert_eq!(case.text().await.replace("[mine]", ""), changed);
        assert!(case.text().await.contains("[mine]"));
    }
    let all = case.api.post(&case.turn_at("/reject"), json!({})).await;
    assert_eq!(all.json()["turn"]["review"], "rejected", "{}", all.text);
    assert_eq!(case.text().await.replace("[mine]", ""), program());
    case.api.post(&case.turn_at("/reject"), json!({"hunks": ["9"]})).await.expect_problem(400, "bad_request");
}

/// [L8] Every character has an author: people, and hunks with their prompt and who asked, also after it came back.
#[tokio::test]
async fn every_character_has_an_author() {
    let server = TestServer::start().await;
    let case = renamed(&server).await;
    let writers = case.writers().await;
    let by_hunk: Vec<&str> =
        writers.iter().filter(|(_, by)| by != "person").map(|(_, by)| by.as_str()).collect();
    assert_eq!(by_hunk, ["hunk 1", "hunk 2", "hunk 3"], "{writers:?}");
    case.say("reject", json!(["1", "2", "3"])).await;
    let people: Vec<_> = case.writers().await;
    assert_eq!(people, [(program(), "person".to_owned())], "what came back is its author's");
    case.say("accept", json!(["1", "2", "3"])).await;
    assert_eq!(case.writers().await, writers);

    let viewer = server.member(&case.api, &case.project, "viewer", "Vi").await;
    let changes = viewer.get(&case.turn_at("/changes")).await.json();
    let hunks = changes["documents"][0]["hunks"].as_array().unwrap();
    assert_eq!(changes["documents"][0]["path"], "main.py");
    assert_eq!(hunks.iter().map(|hunk| hunk["id"].as_str().unwrap()).collect::<Vec<_>>(), ["1", "2", "3"]);
    for hunk in hunks {
        assert_eq!(hunk["state"], "accepted");
        let units: u64 =
            hunk["inserted"].as_array().unwrap().iter().map(|units| units["length"].as_u64().unwrap()).sum();
        // Once as it was written, and once as it came back.
        let shown = case.api.get(&case.turn_at("")).await.json();
        let inserted: u64 = shown["hunks"][0]["inserted"].as_u64().unwrap();
        assert_eq!(units, 2 * inserted, "{hunk}");
        for deleted in hunk["deleted"].as_array().unwrap() {
            let text = deleted["text"].as_str().unwrap();
            assert_eq!(text.encode_utf16().count() as u64, deleted["length"].as_u64().unwrap());
        }
    }
    viewer.post(&case.turn_at("/reject"), json!({})).await.expect_problem(403, "read_only");
}

/// [L9] All turns of an agent are rejected, and accepted, by one request.
#[tokio::test]
async fn all_turns_of_an_agent_go_together() {
    let server = TestServer::start().await;
    let case = renamed(&server).await;
    let turns = format!("/api/v1/projects/{}/turns", case.project);
    let prompt = json!({"prompt": "rename keep to hold", "document": case.document});
    let second = case.api.post(&turns, prompt).await.json()["turn"]["id"].as_str().unwrap().to_owned();
    finished(&case.api, &case.project, &second).await;
    let changed = case.text().await;
    assert!(changed.contains("hold(subtotal)"), "{changed}");

    let agents = format!("/api/v1/projects/{}/agents", case.project);
    let agent = case.api.get(&turns).await.json()[0]["agent"].as_str().unwrap().to_owned();
    let mut socket = case.api.socket().await;
    socket.join(&case.project, case.api.token()).await;
    let accepted = socket.call(&case.project, 1, "agent.accept", json!({"agent": agent})).await;
    assert_eq!(accepted["result"]["turns"], json!([second, case.turn]), "{accepted}");
    let none = case.api.post(&format!("{agents}/{agent}/accept"), json!({})).await;
    assert_eq!(none.json(), json!({"turns": []}));
    assert_eq!(case.text().await, changed);
    let rejected = case.api.post(&format!("{agents}/{agent}/reject"), json!({})).await;
    assert_eq!(rejected.json(), json!({"turns": [second, case.turn]}), "{}", rejected.text);
    assert_eq!(case.text().await, program());
    let none = soon("an answer", case.api.post(&format!("{agents}/{agent}/reject"), json!({}))).await;
    assert_eq!(none.json(), json!({"turns": []}));
}
