//! Every message over both kinds of sockets.

use std::collections::BTreeSet;

use ensemble_protocol::lib0::Reader;
use ensemble_protocol::sync::{Message, SyncMessage, write_awareness_message};
use serde_json::{Value, json};

use super::{Expected, Stage};
use crate::support::{Api, Heard, Replica, Socket, presence_payload};

/// Whoever is not let in hears nothing about the address any more.
const fn inside(owner: &'static str, editor: &'static str, viewer: &'static str) -> Expected {
    const NOTHING: &str = "nothing";
    [owner, editor, viewer, viewer, NOTHING, NOTHING, NOTHING, NOTHING]
}

const fn to_writers(ok: &'static str, viewer: &'static str) -> Expected {
    inside(ok, ok, viewer)
}

const fn to_all(ok: &'static str) -> Expected {
    inside(ok, ok, ok)
}

const fn let_in(writer: &'static str, reader: &'static str) -> Expected {
    const NONE: &str = "project_not_found";
    [writer, writer, reader, reader, NONE, NONE, "not_signed_in", "not_signed_in"]
}

const fn plain(writer: &'static str, reader: &'static str) -> Expected {
    [writer, writer, reader, reader, "closed 4403", "closed 4403", "closed 4401", "closed 4401"]
}

/// Every message there is.
pub(super) const ROWS: &[(&str, Expected)] = &[
    ("sign-in for a text", let_in("read-write", "readonly")),
    ("sign-in for the tree", let_in("readonly", "readonly")),
    ("sign-in for the turns", let_in("readonly", "readonly")),
    ("sign-in for another project's text", let_in("document_not_found", "document_not_found")),
    ("SyncStep1", to_all("answered")),
    ("SyncStep2 with news", to_writers("taken", "refused")),
    ("SyncStep2 without news", to_all("taken")),
    ("Update that inserts", to_writers("taken", "refused")),
    ("Update that only deletes", to_writers("taken", "refused")),
    ("Update to the tree", to_all("refused")),
    ("Update to the turns", to_all("refused")),
    ("presence", to_all("shown")),
    ("question for presence", to_all("answered")),
    ("close, then an Update", to_all("nothing")),
    (
        "sign-in with somebody else's token on an open address",
        [
            "no_access",
            "no_access",
            "no_access",
            "no_access",
            // Nothing is open, so this is a first sign-in, by the other one.
            "read-write",
            "read-write",
            "read-write",
            "read-write",
        ],
    ),
    ("control request to a text's address", to_all("not_found")),
    ("call turn.start", to_writers("done", "read_only")),
    ("call turn.interrupt", to_writers("done", "read_only")),
    ("call turn.accept", to_writers("done", "read_only")),
    ("call turn.reject", to_writers("done", "read_only")),
    ("call agent.accept", to_writers("done", "read_only")),
    ("call agent.reject", to_writers("done", "read_only")),
    ("call document.create", to_writers("done", "read_only")),
    ("call document.rename", to_writers("done", "read_only")),
    ("call document.delete", to_writers("done", "read_only")),
    ("y-websocket: SyncStep1", plain("answered", "answered")),
    ("y-websocket: SyncStep2 with news", plain("taken", "passed over")),
    ("y-websocket: SyncStep2 without news", plain("passed over", "passed over")),
    ("y-websocket: Update that inserts", plain("taken", "passed over")),
    ("y-websocket: Update that only deletes", plain("taken", "passed over")),
    ("y-websocket: presence", plain("shown", "shown")),
    ("y-websocket: question for presence", plain("answered", "answered")),
];

/// Every control method there is, from where they are declared.
pub(super) fn all_methods() -> BTreeSet<String> {
    let source = include_str!("../../../../protocol/src/rpc.rs");
    let (_, calls) = source.split_once("pub enum Call {").unwrap();
    let (calls, _) = calls.split_once("\n}").unwrap();
    let methods: BTreeSet<String> = calls
        .lines()
        .filter_map(|line| line.trim().strip_prefix("/// `")?.strip_suffix('`').map(str::to_owned))
        .collect();
    assert_eq!(methods.len(), calls.lines().filter(|line| line.trim().ends_with("),")).count());
    methods
}

/// The marks a message leaves in a text that begins as `base`.
enum Mark {
    /// It says something new.
    Inserts,
    /// It takes something away.
    Deletes,
    /// It says nothing.
    Nothing,
}

impl Mark {
    fn of(what: &str) -> Self {
        if what.ends_with("only deletes") {
            Self::Deletes
        } else if what.ends_with("without news") {
            Self::Nothing
        } else {
            Self::Inserts
        }
    }

    /// The message itself, about a text somebody has a copy of.
    fn made(&self, copy: &Replica) -> Vec<u8> {
        match self {
            Self::Inserts => copy.insert(0, "new "),
            Self::Deletes => copy.remove(0, 4),
            Self::Nothing => vec![0, 0],
        }
    }

    const fn text(&self) -> &'static str {
        match self {
            Self::Inserts => "new base",
            Self::Deletes => "",
            Self::Nothing => "base",
        }
    }
}

/// What everybody may know who may read: a copy of the text, made by the owner.
async fn copy_of(stage: &Stage, address: &str) -> Replica {
    let mut socket = stage.socket(&stage.owner).await;
    socket.join(address, &stage.token(&stage.owner).await).await
}

/// Says it, and what came back.
pub(super) async fn say(stage: &Stage, what: &str, who: &Api) -> String {
    if let Some(rest) = what.strip_prefix("y-websocket: ") {
        return say_plainly(stage, rest, who).await;
    }
    let document = stage.document().await;
    let text = format!("{}/{document}", stage.project);
    let (tree, turns) = (stage.project.clone(), format!("{}/turns", stage.project));
    // Shown and told to everybody before the one who asks comes.
    let _shown = if what == "question for presence" { Some(show(stage, &text).await) } else { None };
    let mut socket = stage.socket(who).await;
    let token = stage.token(who).await;
    let signed_in = async |socket: &mut Socket, address: &str| match socket.attach(address, &token).await {
        Ok(scope) => scope,
        Err(code) => code,
    };
    match what {
        "sign-in for a text" => return signed_in(&mut socket, &text).await,
        "sign-in for the tree" => return signed_in(&mut socket, &tree).await,
        "sign-in for the turns" => return signed_in(&mut socket, &turns).await,
        "sign-in for another project's text" => {
            let theirs = stage.elsewhere_owner.document(&stage.elsewhere, &stage.fresh("theirs"), "").await;
            return signed_in(&mut socket, &format!("{}/{theirs}", stage.project)).await;
        }
        _ => {}
    }
    let address = match what {
        "Update to the tree" => tree,
        "Update to the turns" => turns,
        call if call.starts_with("call ") => tree,
        _ => text,
    };
    let is_in = socket.attach(&address, &token).await.is_ok();
    let is_replica = address != format!("{}/{document}", stage.project);
    match what {
        "SyncStep1" => {
            socket.sync(&address, SyncMessage::Step1(&[0])).await;
            heard(&mut socket, &address, is_in, |heard| {
                matches!(heard, Heard::Step2(_)).then(|| "answered".to_owned())
            })
            .await
        }
        what if what.starts_with("SyncStep2") || what.starts_with("Update") => {
            if is_in {
                socket.sync(&address, SyncMessage::Step1(&[0])).await;
                socket.wait_for(&address, crate::support::step_2).await;
            }
            let mark = Mark::of(what);
            let copy = if is_replica { Replica::new() } else { copy_of(stage, &address).await };
            let update = mark.made(&copy);
            if what.starts_with("SyncStep2") {
                socket.sync(&address, SyncMessage::Step2(&update)).await;
            } else {
                if is_in {
                    socket.sync(&address, SyncMessage::Step2(&[0, 0])).await;
                    assert!(socket.wait_for(&address, crate::support::status).await);
                }
                socket.sync(&address, SyncMessage::Update(&update)).await;
            }
            let answer = heard(&mut socket, &address, is_in, |heard| match heard {
                Heard::Status(true) => Some("taken".to_owned()),
                Heard::Status(false) => Some("refused".to_owned()),
                _ => None,
            })
            .await;
            let expected = if answer == "taken" { mark.text() } else { "base" };
            assert_eq!(stage.text(&document).await, expected, "{what}: {answer}");
            answer
        }
        "presence" => {
            let state = json!({"user": {"name": stage.fresh("Mallory")}});
            socket.presence(&address, 4711, 1, &state).await;
            barrier(&mut socket).await;
            if sees(stage, &address, 4711).await { "shown".into() } else { "nothing".into() }
        }
        "question for presence" => {
            barrier(&mut socket).await;
            socket.send(question(&address)).await;
            let answer = heard(&mut socket, &address, is_in, |heard| match heard {
                Heard::Presence(entries) if entries.iter().any(|(client, ..)| *client == SHOWN) => {
                    Some("answered".to_owned())
                }
                _ => None,
            });
            answer.await
        }
        "close, then an Update" => {
            socket.detach(&address).await;
            let update = Mark::Inserts.made(&copy_of(stage, &address).await);
            socket.sync(&address, SyncMessage::Update(&update)).await;
            let answer = heard(&mut socket, &address, false, |_| Some(String::new())).await;
            assert_eq!(stage.text(&document).await, "base");
            answer
        }
        "sign-in with somebody else's token on an open address" => {
            let (other, token) = stage.joined("editor").await;
            drop(other);
            match socket.attach(&address, &token).await {
                Ok(scope) => scope,
                Err(code) => code,
            }
        }
        "control request to a text's address" => {
            let request =
                json!({"jsonrpc": "2.0", "id": 1, "method": "document.create", "params": {"path": "x"}});
            socket.stateless(&address, &request.to_string()).await;
            called(&mut socket, &address, is_in).await
        }
        what => {
            let method = what.strip_prefix("call ").unwrap_or_else(|| panic!("{what}"));
            let turn = match method {
                "turn.interrupt" => stage.turn().await,
                "turn.accept" | "turn.reject" => stage.stopped_turn().await,
                _ => String::new(),
            };
            let params = match method {
                "turn.start" => json!({"prompt": "write a long story"}),
                "document.create" => json!({"path": stage.fresh("path")}),
                "document.rename" => json!({"document": document, "path": stage.fresh("path")}),
                "document.delete" => json!({"document": document}),
                "agent.accept" | "agent.reject" => json!({"agent": stage.agent().await}),
                _ => json!({"turn": turn}),
            };
            let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
            socket.stateless(&address, &request.to_string()).await;
            let answer = called(&mut socket, &address, is_in).await;
            for turn in stage.owner.get(&stage.at("turns")).await.json().as_array().unwrap() {
                if matches!(turn["status"].as_str(), Some("queued" | "running")) {
                    stage.stop(turn["id"].as_str().unwrap()).await;
                }
            }
            answer
        }
    }
}

/// Waits for the answer of somebody who is in; whoever is not hears nothing about the address.
async fn heard(
    socket: &mut Socket,
    address: &str,
    is_in: bool,
    mut pick: impl FnMut(&Heard) -> Option<String>,
) -> String {
    if is_in {
        return socket.wait_for(address, pick).await;
    }
    for (about, heard) in barrier(socket).await {
        if about == address && pick(&heard).is_some() {
            return format!("{heard:?}");
        }
    }
    "nothing".into()
}

/// The answer to a control request.
async fn called(socket: &mut Socket, address: &str, is_in: bool) -> String {
    let pick = |answer: &Value| match answer["error"]["data"]["code"].as_str() {
        Some(code) => code.to_owned(),
        None if answer["result"].is_object() => "done".to_owned(),
        None => panic!("{answer}"),
    };
    heard(socket, address, is_in, |heard| match heard {
        Heard::Stateless(answer) if answer["id"] == 1 => Some(pick(answer)),
        _ => None,
    })
    .await
}

/// Everything that is heard until all that was said so far has been looked at.
async fn barrier(socket: &mut Socket) -> Vec<(String, Heard)> {
    socket.send(vec![9]).await;
    let mut before = Vec::new();
    loop {
        match socket.hear().await {
            (_, Heard::Pong) => return before,
            other => before.push(other),
        }
    }
}

/// Whether somebody's presence is told to others.
async fn sees(stage: &Stage, address: &str, client: u64) -> bool {
    let mut socket = stage.socket(&stage.owner).await;
    socket.attach(address, &stage.token(&stage.owner).await).await.unwrap();
    socket.send(question(address)).await;
    // The answer to this comes after the answer to the question.
    socket.sync(address, SyncMessage::Step1(&[0])).await;
    let mut seen = false;
    socket
        .wait_for(address, |heard| {
            if let Heard::Presence(entries) = heard {
                seen |= entries.iter().any(|(shown, ..)| *shown == client);
            }
            matches!(heard, Heard::Step2(_)).then_some(())
        })
        .await;
    seen
}

/// Asks for everybody's presence.
fn question(address: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    ensemble_protocol::lib0::write_string(&mut frame, address);
    frame.push(3);
    frame
}

/// The client id of the presence that is asked for.
const SHOWN: u64 = 815;

/// Somebody shows themselves, and it was told to everybody who is there.
async fn show(stage: &Stage, address: &str) -> [Socket; 2] {
    let mut watching = stage.socket(&stage.owner).await;
    watching.attach(address, &stage.token(&stage.owner).await).await.unwrap();
    let mut showing = stage.socket(&stage.owner).await;
    showing.attach(address, &stage.token(&stage.owner).await).await.unwrap();
    showing.presence(address, SHOWN, 1, &json!({"user": {}})).await;
    let shows = |heard: &Heard| {
        matches!(heard, Heard::Presence(entries) if entries.iter().any(|(client, ..)| *client == SHOWN))
            .then_some(())
    };
    watching.wait_for(address, shows).await;
    [watching, showing]
}

async fn say_plainly(stage: &Stage, what: &str, who: &Api) -> String {
    let document = stage.document().await;
    let address = format!("{}/{document}", stage.project);
    let headers: Vec<_> = who.origin.iter().map(|origin| ("origin", origin.clone())).collect();
    let path = format!("/sync/{address}?token={}", stage.token(who).await);
    let _shown = if what == "question for presence" { Some(show(stage, &address).await) } else { None };
    let mut socket = Socket::open(&stage.server.url, &path, &headers).await.unwrap();
    let greeted = [0, 0, 1, 0];
    // Whoever is let in is answered, and then the message itself is said.
    socket.send(greeted.to_vec()).await;
    if let Err(code) = first_step_2(&mut socket).await {
        return format!("closed {code}");
    }
    let mark = Mark::of(what);
    let update = mark.made(&copy_of(stage, &address).await);
    let mut frame = Vec::new();
    match what {
        "SyncStep1" => frame.extend(greeted),
        "presence" => write_awareness_message(&mut frame, &presence_payload(4711, 1, &json!({"user": {}}))),
        "question for presence" => frame.push(3),
        what if what.starts_with("SyncStep2") => SyncMessage::Step2(&update).write(&mut frame),
        _ => {
            SyncMessage::Step2(&[0, 0]).write(&mut frame);
            SyncMessage::Update(&update).write(&mut frame);
        }
    }
    // The answer to this comes after all that was said before.
    frame.extend(greeted);
    socket.send(frame).await;
    let mut answered = false;
    loop {
        let frame = socket.next().await.unwrap();
        match Message::read(&mut Reader::new(&frame)).unwrap() {
            Message::Awareness(entries) => {
                answered |= crate::support::entries(entries).iter().any(|(client, ..)| *client == SHOWN);
            }
            Message::Sync(SyncMessage::Step2(_)) => break,
            _ => {}
        }
    }
    match what {
        "SyncStep1" => "answered".into(),
        "question for presence" => if answered { "answered" } else { "nothing" }.into(),
        "presence" => if sees(stage, &address, 4711).await { "shown" } else { "nothing" }.into(),
        _ => {
            let text = stage.text(&document).await;
            match text.as_str() {
                "base" => "passed over".into(),
                text if text == mark.text() => "taken".into(),
                other => format!("the text is {other:?}"),
            }
        }
    }
}

async fn first_step_2(socket: &mut Socket) -> Result<(), u16> {
    loop {
        let frame = socket.next().await?;
        if let Message::Sync(SyncMessage::Step2(_)) = Message::read(&mut Reader::new(&frame)).unwrap() {
            return Ok(());
        }
    }
}
