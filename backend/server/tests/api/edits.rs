//! Edits over HTTP: replacements and patches, as programs with a token make them.

use ensemble_protocol::limits::Rate;
use ensemble_protocol::sync::SyncMessage;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Answer, Api, Heard, Replica, Socket, TestServer, soon, status, update};

const PROGRAM: &str = "def add_up(items):\n    total = 0\n    for item in items:\n        total += item\n    return total\n\n\ndef mean(items):\n    return add_up(items) / len(items)\n";

fn at(project: &str, document: &str) -> String {
    format!("/api/v1/projects/{project}/documents/{document}/edits")
}

fn replace(old: &str, new: &str) -> Value {
    json!({"old_text": old, "new_text": new})
}

async fn patch(api: &Api, project: &str, lines: &[&str], more: Value) -> Answer {
    let patch = format!("*** Begin Patch\n{}\n*** End Patch\n", lines.join("\n"));
    let mut body = json!({"patch": patch});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    api.post(&format!("/api/v1/projects/{project}/edits"), body).await
}

async fn version(api: &Api, project: &str, document: &str) -> String {
    let read = api.get(&format!("/api/v1/projects/{project}/documents/{document}/text")).await;
    read.header("etag").trim_matches('"').to_owned()
}

/// Somebody who types in a document.
struct Person {
    socket: Socket,
    address: String,
    text: Replica,
}

impl Person {
    async fn join(api: &Api, project: &str, document: &str) -> Self {
        let mut socket = api.socket().await;
        let address = format!("{project}/{document}");
        let text = socket.join(&address, api.token()).await;
        Self { socket, address, text }
    }

    /// Types, and waits until it is on disk.
    async fn type_at(&mut self, at: usize, what: &str) {
        let typed = self.text.insert(at as u32, what);
        self.send(&typed).await;
    }

    async fn remove(&mut self, at: usize, length: usize) {
        let removed = self.text.remove(at as u32, length as u32);
        self.send(&removed).await;
    }

    async fn send(&mut self, news: &[u8]) {
        self.socket.sync(&self.address, SyncMessage::Update(news)).await;
        let text = self.text.clone();
        let saved = self.socket.wait_for(&self.address, |heard| {
            if let Heard::Update(news) = heard {
                text.apply(news);
            }
            status(heard)
        });
        assert!(saved.await);
    }

    async fn until(&mut self, expected: &str) {
        while self.text.text() != expected {
            self.text.apply(&self.socket.wait_for(&self.address, update).await);
        }
    }
}

/// [E35] Old texts are replaced where each stands alone, only what differs is written, and everybody sees it as a
/// turn named after the token, which can be taken back.
#[tokio::test]
async fn texts_are_replaced_as_a_turn() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let document = ada.document(&project, "sums.py", PROGRAM).await;
    let mut person = Person::join(&ada, &project, &document).await;
    let mut watcher = ada.socket().await;
    let turns_address = format!("{project}/turns");
    let turns = watcher.join(&turns_address, ada.token()).await;

    let new = PROGRAM.replace("len(items)", "count(items)");
    let edits = json!({"edits": [replace(PROGRAM, &new)]});
    let edited = ada.post(&at(&project, &document), edits).await;
    assert_eq!(edited.status, StatusCode::OK, "{}", edited.text);
    let edited = edited.json();
    assert_eq!(edited["hunks"].as_array().unwrap().len(), 1, "{edited}");
    let hunk = &edited["hunks"][0];
    assert_eq!((&hunk["id"], &hunk["state"], &hunk["line"]), (&json!("1"), &json!("applied"), &json!(9)));
    assert_eq!((&hunk["inserted"], &hunk["deleted"]), (&json!(5), &json!(3)), "a word and not the file");
    person.until(&new).await;
    assert_eq!(edited["version"], version(&ada, &project, &document).await);

    let turn = edited["turn"].as_str().unwrap();
    turns.apply(&watcher.wait_for(&turns_address, update).await);
    let seen = turns.map("turns")[turn].clone();
    assert_eq!((&seen["status"], &seen["agent_name"]), (&json!("done"), &json!("Ada's token")), "{seen}");
    assert_eq!(seen["hunks"]["1"]["state"], "applied", "{seen}");
    assert_eq!(seen["hunks"]["1"]["anchor"]["assoc"], -1);
    let shown = ada.get(&format!("/api/v1/projects/{project}/turns/{turn}")).await.json();
    assert_eq!((&shown["agent"], &shown["review"]), (&json!("token:Ada's token"), &json!("open")), "{shown}");
    assert!(shown["finished_at"].is_string());

    person.type_at(new.find("count").unwrap() + 2, "~").await;
    let rejected = ada.post(&format!("/api/v1/projects/{project}/turns/{turn}/reject"), json!({})).await;
    assert_eq!(rejected.json()["turn"]["review"], "rejected", "{}", rejected.text);
    let text = ada.text(&project, &document).await;
    assert!(text.contains("len") && text.contains('~') && !text.contains("count"), "{text}");

    let same =
        ada.post(&at(&project, &document), json!({"edits": [replace("total = 0", "total = 0")]})).await;
    assert_eq!(
        (&same.json()["turn"], &same.json()["hunks"][0]["reason"]),
        (&Value::Null, &json!("it changes nothing"))
    );
}

/// [E36] Edits are looked for in the version their sender has read; what people typed since moves them along, and
/// where somebody has changed the same characters theirs stay and the hunk says so.
#[tokio::test]
async fn edits_of_an_older_version_find_their_place() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let document = ada.document(&project, "sums.py", PROGRAM).await;
    let read = version(&ada, &project, &document).await;
    let mut person = Person::join(&ada, &project, &document).await;
    person.type_at(0, "# total = 0\n").await;
    let at_item = person.text.text().find("total += item").unwrap();
    person.remove(at_item, 5).await;
    person.type_at(at_item, "amount").await;
    person.type_at(person.text.text().find("mean").unwrap(), "the_").await;

    let edits = [
        replace("total = 0", "total = 1"),
        replace("total += item", "sum += item"),
        replace("mean(", "average("),
    ];
    let edited =
        ada.post(&at(&project, &document), json!({"edits": edits, "base_version": read})).await.json();
    let text = ada.text(&project, &document).await;
    assert!(text.starts_with("# total = 0\ndef add_up(items):\n    total = 1\n"), "{text}");
    assert!(text.contains("        amount += item\n"), "the person's word stays: {text}");
    assert!(text.contains("the_average("), "{text}");
    let states: Vec<&Value> = edited["hunks"].as_array().unwrap().iter().map(|hunk| &hunk["state"]).collect();
    assert_eq!(states, ["applied", "missed", "applied"], "{edited}");
    assert!(edited["hunks"][1]["reason"].as_str().unwrap().contains("theirs stays"), "{edited}");
    assert_eq!(edited["hunks"][0]["line"], 3);
    person.until(&text).await;

    // Only the text of now has this; the version that was read is looked at first and does not.
    let newer = json!({"edits": [replace("# total = 0", "# sums")], "base_version": read});
    assert_eq!(ada.post(&at(&project, &document), newer).await.status, StatusCode::OK);
    for unknown in ["1.4711", "2.1", "yesterday", "1.18446744073709551615"] {
        let refused = json!({"edits": [replace("len", "x")], "base_version": unknown});
        let refused = ada.post(&at(&project, &document), refused).await;
        refused.expect_problem(409, "version_unknown");
        assert_eq!(refused.json()["version"], version(&ada, &project, &document).await);
    }
}

/// [E37] What has no place, or several, is refused as a whole, with the lines concerned.
#[tokio::test]
async fn what_has_no_place_is_told_with_its_lines() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let document = ada.document(&project, "sums.py", PROGRAM).await;
    let edits = [replace("total = 0", "total = 1"), replace("items", "things")];
    let refused = ada.post(&at(&project, &document), json!({"edits": edits})).await;
    refused.expect_problem(409, "edit_ambiguous");
    let edit = &refused.json()["edits"][0];
    assert_eq!(
        (&edit["hunk"], &edit["path"], &edit["document"]),
        (&json!("2"), &json!("sums.py"), &json!(document))
    );
    assert_eq!(edit["lines"], json!([1, 3, 8, 9]), "{edit}");
    let old = "    sum = 0\n    for item in items:\n        total += item\n";
    let refused = ada.post(&at(&project, &document), json!({"edits": [replace(old, "x")]})).await;
    refused.expect_problem(409, "edit_not_found");
    let edit = &refused.json()["edits"][0];
    assert_eq!((&edit["lines"], &edit["nearest"]["line"]), (&json!([2]), &json!(2)), "{edit}");
    assert_eq!(edit["nearest"]["found"], "    total = 0");
    let overlapping = [replace("total = 0", "a"), replace("total = 0\n    for", "b")];
    let refused = ada.post(&at(&project, &document), json!({"edits": overlapping})).await;
    refused.expect_problem(409, "edit_ambiguous");
    assert_eq!(ada.text(&project, &document).await, PROGRAM);
    let turns = ada.get(&format!("/api/v1/projects/{project}/turns")).await.json();
    assert_eq!(turns, json!([]), "what was refused is no turn");
}

/// [S40] What was deleted comes back only where there is room for it.
#[tokio::test]
async fn what_comes_back_finds_room_or_stays_away() {
    let server = TestServer::with(|config| config.limits.documents.per_project = 2).await;
    let (ada, project) = server.project().await;
    ada.document(&project, "a.py", "a\n").await;
    ada.document(&project, "b.py", "b\n").await;
    let done = patch(&ada, &project, &["*** Delete File: a.py"], json!({})).await.json();
    let third = ada.document(&project, "c.py", "c\n").await;
    let reject = format!("/api/v1/projects/{project}/turns/{}/reject", done["turn"].as_str().unwrap());
    let paths = async || {
        let listed = ada.get(&format!("/api/v1/projects/{project}/documents")).await.json();
        let listed = listed.as_array().unwrap().iter();
        listed.map(|document| document["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    ada.post(&reject, json!({})).await;
    assert_eq!(paths().await, ["b.py", "c.py"]);
    assert_eq!(ada.delete(&format!("/api/v1/projects/{project}/documents/{third}")).await.status, 204);
    ada.post(&reject, json!({})).await;
    assert_eq!(paths().await, ["a.py", "b.py"]);
}

/// [E38] A patch changes, makes, moves and deletes documents in one step, and the tree shows it at once.
#[tokio::test]
async fn a_patch_goes_over_many_files() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let sums = ada.document(&project, "sums.py", PROGRAM).await;
    let old = ada.document(&project, "old.py", "gone\n").await;
    let from = ada.document(&project, "lib/a.py", "one\ntwo\n").await;
    let mut socket = ada.socket().await;
    let tree = socket.join(&project, ada.token()).await;
    let lines = [
        "*** Update File: sums.py",
        "@@ def mean(items):",
        "-    return add_up(items) / len(items)",
        "+    return add_up(items) / max(len(items), 1)",
        "*** Add File: lib/new.py",
        "+print(\"hello\")",
        "*** Delete File: old.py",
        "*** Update File: lib/a.py",
        "*** Move to: lib/b.py",
        "@@",
        " one",
        "-two",
        "+2",
    ];
    let done = patch(&ada, &project, &lines, json!({})).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    let done = done.json();
    let told: Vec<_> = done["documents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|document| (document["path"].as_str().unwrap(), document["version"].as_str()))
        .collect();
    assert_eq!(
        told,
        [("lib/b.py", Some("1.2")), ("lib/new.py", Some("1.1")), ("old.py", None), ("sums.py", Some("1.2"))]
    );
    tree.apply(&socket.wait_for(&project, update).await);
    let documents = tree.map("documents");
    let new = done["documents"][1]["id"].as_str().unwrap();
    assert_eq!(
        (&documents[&from]["path"], &documents[new]["path"]),
        (&json!("lib/b.py"), &json!("lib/new.py"))
    );
    assert!(documents.get(&old).is_none(), "{documents}");
    assert_eq!(ada.text(&project, &from).await, "one\n2\n");
    assert_eq!(ada.text(&project, new).await, "print(\"hello\")\n");
    assert!(ada.text(&project, &sums).await.contains("max(len(items), 1)"));
    ada.get(&format!("/api/v1/projects/{project}/documents/{old}/text"))
        .await
        .expect_problem(404, "document_not_found");

    // Taken back: the text, the path, and the document that was made.
    let turn = done["turn"].as_str().unwrap();
    let rejected = ada.post(&format!("/api/v1/projects/{project}/turns/{turn}/reject"), json!({})).await;
    assert_eq!(rejected.status, StatusCode::OK, "{}", rejected.text);
    assert_eq!(ada.text(&project, &sums).await, PROGRAM);
    assert_eq!(ada.text(&project, &from).await, "one\ntwo\n");
    let listed = ada.get(&format!("/api/v1/projects/{project}/documents")).await.json();
    let paths: Vec<_> =
        listed.as_array().unwrap().iter().map(|document| document["path"].as_str().unwrap()).collect();
    assert!(paths.contains(&"lib/a.py") && !paths.contains(&"lib/new.py"), "{paths:?}");
}

/// [E37] When one hunk of a patch has no place nothing is changed anywhere, now and after a restart.
#[tokio::test]
async fn a_patch_is_applied_whole_or_not_at_all() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let first = ada.document(&project, "a.py", "one\n").await;
    let second = ada.document(&project, "b.py", "x\ny\nx\ny\n").await;
    let versions = [version(&ada, &project, &first).await, version(&ada, &project, &second).await];
    let lines = |last: &'static str| {
        [
            "*** Update File: a.py",
            "@@",
            "-one",
            "+1",
            "*** Add File: c.py",
            "+c",
            "*** Delete File: a.py",
            "*** Update File: b.py",
            "@@",
            last,
            "+z",
        ]
    };
    let refused = patch(&ada, &project, &lines("-w"), json!({})).await;
    refused.expect_problem(409, "edit_not_found");
    let refused = patch(&ada, &project, &lines("-y"), json!({})).await;
    refused.expect_problem(409, "edit_ambiguous");
    assert_eq!(refused.json()["edits"][0]["lines"], json!([2, 4]));
    let taken = patch(&ada, &project, &["*** Add File: A.py", "+x"], json!({})).await;
    taken.expect_problem(409, "path_taken");
    patch(&ada, &project, &["*** Add File: ../x", "+x"], json!({})).await.expect_problem(400, "path_invalid");
    patch(&ada, &project, &["hello"], json!({})).await.expect_problem(400, "bad_request");
    let stale = json!({"base_versions": {"a.py": "1.99"}});
    patch(&ada, &project, &["*** Update File: a.py", "@@", "-one", "+1"], stale)
        .await
        .expect_problem(409, "version_unknown");

    let (_, data) = server.stop().await;
    let server = TestServer::on(data, |_| {}).await;
    let mut back = server.stranger();
    back.token = ada.token;
    let ada = back;
    assert_eq!(ada.text(&project, &first).await, "one\n");
    assert_eq!(ada.text(&project, &second).await, "x\ny\nx\ny\n");
    assert_eq!([version(&ada, &project, &first).await, version(&ada, &project, &second).await], versions);
    let listed = ada.get(&format!("/api/v1/projects/{project}/documents")).await.json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(ada.get(&format!("/api/v1/projects/{project}/turns")).await.json(), json!([]));
}

/// [E15] A patch of too many hunks is refused before the place of any is looked for.
#[tokio::test]
async fn a_patch_of_too_many_hunks_is_refused_unread() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    ada.document(&project, "a.py", "one\n").await;
    let mut lines = vec!["*** Update File: a.py"];
    lines.extend(["@@", "-nowhere"].repeat(ensemble_protocol::limits::PATCH_HUNKS));
    patch(&ada, &project, &lines, json!({})).await.expect_problem(409, "edit_not_found");
    lines.extend(["@@", "-nowhere"]);
    patch(&ada, &project, &lines, json!({})).await.expect_problem(413, "too_large");
}

/// [E39] In Codex's way the first place wins, and a file that fails leaves those before it done.
#[tokio::test]
async fn codex_rules_go_file_by_file() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let first = ada.document(&project, "a.py", "x\ny\nx\n").await;
    let second = ada.document(&project, "b.py", "one\n").await;
    let codex = || json!({"compat": "codex"});
    let lines = ["*** Update File: a.py", "@@", "-x", "+first", "*** Update File: b.py", "@@", "-two", "+2"];
    let done = patch(&ada, &project, &lines, codex()).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    let documents = &done.json()["documents"];
    assert_eq!(
        (&documents[0]["path"], &documents[0]["hunks"][0]["state"]),
        (&json!("a.py"), &json!("applied"))
    );
    assert_eq!(
        (&documents[1]["path"], &documents[1]["hunks"][0]["state"]),
        (&json!("b.py"), &json!("missed"))
    );
    assert!(documents[1]["hunks"][0]["reason"].as_str().unwrap().contains("two"), "{documents}");
    assert_eq!(ada.text(&project, &first).await, "first\ny\nx\n");
    assert_eq!(ada.text(&project, &second).await, "one\n");
    let nothing = ["*** Update File: b.py", "@@", "-two", "+2"];
    patch(&ada, &project, &nothing, codex()).await.expect_problem(409, "edit_not_found");
    // It moves a document and does not make another one.
    let moves = ["*** Update File: b.py", "*** Move to: c.py", "@@", "-one", "+1"];
    let done = patch(&ada, &project, &moves, codex()).await.json();
    assert_eq!(
        (&done["documents"][0]["id"], &done["documents"][0]["path"]),
        (&json!(second), &json!("c.py")),
        "{done}"
    );
    assert_eq!(ada.text(&project, &second).await, "1\n");
}

/// [E32] Patches over the same files in opposite orders, while people type in them, all end and leave one text.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patches_and_people_at_the_same_time_converge() {
    const EACH: usize = 8;
    let server = TestServer::with(|config| {
        let plenty = Rate { per_second: 1000.0, burst: 1000.0 };
        config.limits.requests.edits_per_person = plenty;
        config.limits.requests.edits_per_token = plenty;
    })
    .await;
    let (ada, project) = server.project().await;
    let numbers = |name: &str| {
        let lines: Vec<String> = (0..EACH * 2).map(|line| format!("{name}{line}")).collect();
        lines.join("\n") + "\n"
    };
    let documents = [
        ada.document(&project, "a.txt", &numbers("a")).await,
        ada.document(&project, "b.txt", &numbers("b")).await,
    ];
    let mut people = [
        Person::join(&ada, &project, &documents[0]).await,
        Person::join(&ada, &project, &documents[1]).await,
    ];
    let writers = [["a", "b"], ["b", "a"]].map(|order| {
        let (ada, project) = (ada.clone(), project.clone());
        tokio::spawn(async move {
            for round in 0..EACH {
                let line = round * 2 + usize::from(order[0] == "b");
                let lines: Vec<String> = order
                    .iter()
                    .flat_map(|file| {
                        [
                            format!("*** Update File: {file}.txt"),
                            "@@".into(),
                            format!("-{file}{line}"),
                            format!("+done {line}"),
                        ]
                    })
                    .collect();
                let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                let done = patch(&ada, &project, &lines, json!({})).await;
                assert_eq!(done.status, StatusCode::OK, "{}", done.text);
            }
        })
    });
    for _ in 0..EACH {
        for person in &mut people {
            person.type_at(0, "p\n").await;
        }
    }
    for writer in writers {
        soon("the patches", writer).await.unwrap();
    }
    for (person, document) in people.iter_mut().zip(&documents) {
        let text = ada.text(&project, document).await;
        assert_eq!((text.matches("done").count(), text.matches('p').count()), (EACH * 2, EACH), "{text}");
        person.until(&text).await;
    }
}

/// [E40] While edits are made over HTTP, people see the token's name at the place, and a moment later no more.
#[tokio::test]
async fn who_edits_over_http_is_seen_for_a_moment() {
    let server = TestServer::start().await;
    let (ada, project) = server.project().await;
    let bob = server.member(&ada, &project, "editor", "Bob").await;
    let document = ada.document(&project, "sums.py", PROGRAM).await;
    let mut person = Person::join(&ada, &project, &document).await;
    let edits = json!({"edits": [replace("total = 0", "total = 1")]});
    assert_eq!(bob.post(&at(&project, &document), edits).await.status, StatusCode::OK);
    let mut client = None;
    loop {
        let seen = person.socket.wait_for(&person.address, |heard| match heard {
            Heard::Presence(entries) => Some(entries.clone()),
            _ => None,
        });
        for (id, _, state) in seen.await {
            if state["user"]["kind"] == "agent" {
                assert_eq!(state["user"]["name"], "Bob's token");
                assert!(state["cursor"]["anchor"].is_object(), "{state}");
                client = Some(id);
            } else if state.is_null() && client == Some(id) {
                return;
            }
        }
    }
}

/// [A20] Only who may edit may edit over HTTP, not too often, and not too much at once.
#[tokio::test]
async fn edits_over_http_have_rights_and_limits() {
    let slow = Rate { per_second: 0.001, burst: 2.0 };
    let server = TestServer::with(|config| config.limits.requests.edits_per_token = slow).await;
    let (ada, project) = server.project().await;
    let document = ada.document(&project, "a.txt", "one\n").await;
    let viewer = server.member(&ada, &project, "viewer", "Vi").await;
    let stranger = server.project().await.0;
    let edits = || json!({"edits": [replace("one", "one")]});
    viewer.post(&at(&project, &document), edits()).await.expect_problem(403, "read_only");
    stranger.post(&at(&project, &document), edits()).await.expect_problem(404, "project_not_found");
    patch(&viewer, &project, &["*** Delete File: a.txt"], json!({})).await.expect_problem(403, "read_only");
    ada.post(&at(&project, &project), edits()).await.expect_problem(404, "document_not_found");
    let many = json!({"edits": vec![replace("one", "two"); 501]});
    ada.post(&at(&project, &document), many).await.expect_problem(413, "too_large");
    let refused = ada.post(&at(&project, &document), edits()).await;
    refused.expect_problem(429, "rate_limited");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() > 0);
    // Another token of the same person has a rate of its own; who is nobody has none.
    let lines: Vec<String> =
        (0..101).flat_map(|at| [format!("*** Add File: {at}.txt"), "+x".into()]).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let bob = server.member(&ada, &project, "editor", "Bob").await;
    patch(&bob, &project, &lines, json!({})).await.expect_problem(413, "too_large");
    bob.post(&at(&project, &document), json!({"edits": []})).await.expect_problem(400, "bad_request");
    assert_eq!(ada.text(&project, &document).await, "one\n");
}
