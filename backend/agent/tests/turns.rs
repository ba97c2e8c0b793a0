//! Turns: transcript in, document and ledger out.

mod support;

use std::sync::Arc;

use ensemble_agent::Documents as _;
use ensemble_model::ModelError;
use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::id::{NodeId, TurnId};
use ensemble_protocol::limits;
use ensemble_protocol::rest::{HunkState, Review, Selection, TurnStatus};
use ensemble_store::{LedgerKind, TurnRecord};
use serde_json::{Value, json};

use self::support::model::{Demo, Script};
use self::support::{World, eventually, states};

const SHOP: &str = "\
def total(items):
    result = 0
    for item in items:
        result += item.price
    return result


def report(items):
    print(total(items))
";

/// A patch that writes a greeting at the end of `shop.py`.
const GREET: &str = "\
*** Begin Patch
*** Update File: shop.py
@@
 def report(items):
     print(total(items))
+
+
+def greet():
+    print(\"hello\")
*** End Patch
";

const RENAME: &str = "\
*** Begin Patch
*** Update File: shop.py
@@
 def total(items):
-    result = 0
+    price = 0
     for item in items:
-        result += item.price
-    return result
+        price += item.price
+    return price
 
*** End Patch
";

/// [T1] A turn over the real socket: the prompt goes in, the renamed text, its ledger and its answer come out.
#[tokio::test]
async fn the_demo_model_renames_a_name() {
    let demo = Demo::quick().await;
    let world = World::with(demo.provider()).await;
    let shop = world.document("shop.py", SHOP).await;
    let mut ada = world.join(shop).await;
    let mut list = world.watch_turns().await;

    let turn = world.start("rename total to subtotal", shop).await;
    let ended = world.ended(turn).await;

    assert_eq!(ended.status, TurnStatus::Done, "{ended:?}");
    let expected = SHOP.replace("total", "subtotal");
    assert_eq!(world.text(shop).await, expected);
    ada.wait_for("print(subtotal(items))").await;
    assert_eq!(ada.sees(), expected);
    assert_eq!(ended.documents, [shop]);
    assert!(ended.hunks.iter().all(|hunk| hunk.state == HunkState::Applied && hunk.document == Some(shop)));
    assert_eq!(ended.hunks.iter().map(|hunk| hunk.inserted).sum::<u32>(), 6);
    assert_eq!(ended.hunks[0].line, Some(1));
    assert!(ended.usage.is_some_and(|usage| usage.output_tokens > 0));
    assert!(ended.answer.contains("rule-based"), "{}", ended.answer);

    let ledger = world.store.ledger_of_turn(turn).await.unwrap();
    let inserted: u32 = ledger
        .iter()
        .filter(|stored| stored.entry.kind == LedgerKind::Inserted)
        .map(|stored| stored.entry.length)
        .sum();
    assert_eq!(inserted, 6);

    let shown = eventually("the turn in the replica", async || {
        let shown = list_of(&mut list, turn);
        (shown["status"] == "done").then_some(shown)
    })
    .await;
    assert_eq!(shown["answer"], ended.answer);
    assert_eq!(shown["prompt"], "rename total to subtotal");
    assert_eq!(shown["by"], world.owner.to_string());
    assert_eq!(shown["documents"], json!([shop.to_string()]));
    assert_eq!(shown["review"], "open");
    assert_eq!(shown["usage"]["output_tokens"], json!(ended.usage.unwrap().output_tokens));
    let hunk = &shown["hunks"]["1"];
    assert_eq!(hunk["state"], "applied");
    assert_eq!(hunk["document"], shop.to_string());
    assert!(hunk["anchor"]["assoc"].is_number() && hunk["head"]["item"]["client"].is_number(), "{hunk}");
}

fn list_of(list: &mut support::person::Replica, turn: TurnId) -> Value {
    list.turns()[turn.to_string()].clone()
}

/// [T2] What is settled is in the document while the model is still writing, and the agent is seen there.
#[tokio::test]
async fn settled_text_appears_while_the_model_still_writes() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let shop = world.document("shop.py", SHOP).await;
    let mut ada = world.join(shop).await;

    let turn = world.start("add a greeting", shop).await;
    let mut call = script.call().await;
    let reading = ada.wait_for_agent("the agent to read", |agent| agent.is_some()).await.unwrap();
    assert_eq!((&reading["status"], &reading["turn"]), (&json!("reading"), &json!(turn.to_string())));

    call.say("I add a greeting.").await;
    let item = call.begin_patch().await;
    let (first, rest) = GREET.split_at(GREET.find("    print(\"hello\")").unwrap());
    call.delta(item, first).await;
    ada.wait_for("def greet():\n").await;
    let writing = ada
        .wait_for_agent("the agent to write", |agent| agent.is_some_and(|agent| agent["status"] == "writing"))
        .await
        .unwrap();
    assert!(writing["cursor"]["anchor"].is_object(), "{writing}");
    assert_eq!(world.turn(turn).await.status, TurnStatus::Running);
    assert!(!ada.sees().contains("hello"));

    call.delta(item, rest).await;
    call.done().await;
    let ended = world.ended(turn).await;
    assert_eq!(ended.status, TurnStatus::Done);
    assert_eq!(ended.answer, "I add a greeting.");
    assert_eq!(states(&ended), [HunkState::Applied]);
    assert_eq!(world.text(shop).await, format!("{SHOP}\n\ndef greet():\n    print(\"hello\")\n"));
    ada.wait_for_agent("the agent to leave", |agent| agent.is_none()).await;
}

/// [T3] People type in the document while a turn writes; both texts stand where they were meant.
#[tokio::test]
async fn people_type_while_a_turn_writes() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let shop = world.document("shop.py", SHOP).await;
    let mut ada = world.join(shop).await;
    let turn = world.start("add a greeting", shop).await;
    let mut call = script.call().await;

    // Above the place, between what is shown and what is written.
    ada.type_after("def total(items):\n", "    # the sum of all prices\n").await;
    let item = call.begin_patch().await;
    let (first, rest) = GREET.split_at(GREET.find("    print(\"hello\")").unwrap());
    call.delta(item, first).await;
    ada.wait_for("def greet():\n").await;
    // Inside the agent's fresh text, and right behind it.
    ada.type_after("def greet(", "name").await;
    ada.type_after("def greet(name):\n", "    # says hello\n").await;
    call.delta(item, rest).await;
    call.done().await;
    world.ended(turn).await;

    let expected = format!(
        "{}\n\ndef greet(name):\n    print(\"hello\")\n    # says hello\n",
        SHOP.replace("def total(items):\n", "def total(items):\n    # the sum of all prices\n")
    );
    let other = format!(
        "{}\n\ndef greet(name):\n    # says hello\n    print(\"hello\")\n",
        SHOP.replace("def total(items):\n", "def total(items):\n    # the sum of all prices\n")
    );
    let text = world.text(shop).await;
    assert!(text == expected || text == other, "{text}");
}

/// [E7] A hunk that fits in two places, or in none, is reported and changes nothing; the others are applied.
#[tokio::test]
async fn an_ambiguous_hunk_is_missed_and_says_so() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let twice = world.document("twice.py", "a = 1\nb = 2\n\na = 1\nb = 2\n\nc = 3\n").await;
    let mut list = world.watch_turns().await;
    let turn = world.start("change things", twice).await;
    let mut call = script.call().await;
    call.patch(
        "*** Begin Patch\n*** Update File: twice.py\n@@\n a = 1\n-b = 2\n+b = 3\n@@\n nowhere\n-at all\n+x\n@@\n-c = 3\n+c = 4\n*** End Patch\n",
    )
    .await;
    call.done().await;
    // Asked once more, the model has nothing to add.
    script.call().await.done().await;

    let ended = world.ended(turn).await;
    assert_eq!(ended.status, TurnStatus::Done);
    assert_eq!(states(&ended), [HunkState::Missed, HunkState::Missed, HunkState::Applied]);
    assert!(
        ended.hunks[0]
            .reason
            .as_ref()
            .is_some_and(|reason| reason.contains("lines 1 and 4") || reason.contains('4'))
    );
    assert_eq!(world.text(twice).await, "a = 1\nb = 2\n\na = 1\nb = 2\n\nc = 4\n");
    eventually("the missed hunk in the replica", async || {
        (list_of(&mut list, turn)["hunks"]["1"]["state"] == "missed").then_some(())
    })
    .await;
}

/// [E8] A hunk that a later line contradicts is taken back, and only what it wrote.
#[tokio::test]
async fn a_contradicted_hunk_is_taken_back() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let shop = world.document("shop.py", SHOP).await;
    let mut ada = world.join(shop).await;
    let turn = world.start("add a comment", shop).await;
    let mut call = script.call().await;
    let item = call.begin_patch().await;
    call.delta(item, "*** Begin Patch\n*** Update File: shop.py\n@@\n def total(items):\n+    # sums up\n")
        .await;
    ada.wait_for("# sums up\n").await;
    ada.type_after("# sums up", ", they say").await;
    call.delta(item, "     something else\n-    and this\n*** End Patch\n").await;
    call.done().await;
    // Asked once more, the model has nothing to add.
    script.call().await.done().await;

    let ended = world.ended(turn).await;
    assert_eq!(states(&ended), [HunkState::Reverted]);
    assert!(ended.hunks[0].reason.is_some());
    // Ada's words stay; the agent's are gone.
    assert_eq!(world.text(shop).await, SHOP.replace("def total(items):\n", "def total(items):\n, they say"));
    assert_eq!(world.reject(turn).await.unwrap().review, Review::Rejected);
    assert_eq!(world.text(shop).await, SHOP.replace("def total(items):\n", "def total(items):\n, they say"));
}

/// [E8] What a contradicted hunk had deleted returns to its place, and a later hunk may change it after all.
#[tokio::test]
async fn what_a_contradicted_hunk_deleted_returns() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let shop = world.document("shop.py", SHOP).await;
    let mut ada = world.join(shop).await;
    let turn = world.start("rename", shop).await;
    let mut call = script.call().await;
    let item = call.begin_patch().await;
    let (first, rest) = RENAME.split_at(RENAME.find("-        result += ").unwrap());
    call.delta(item, first).await;
    ada.wait_for("price = 0\n").await;
    ada.type_after("def total(items):\n", "    # mine\n").await;
    call.delta(item, " something else\n").await;
    world.wait_for_text(shop, &SHOP.replace("def total(items):\n", "def total(items):\n    # mine\n")).await;
    let rename_whole = RENAME.strip_prefix("*** Begin Patch\n*** Update File: shop.py\n").unwrap();
    assert!(!rest.is_empty());
    call.delta(item, rename_whole).await;
    call.done().await;
    // Asked once more, the model has nothing to add.
    script.call().await.done().await;

    let ended = world.ended(turn).await;
    assert_eq!(states(&ended), [HunkState::Reverted, HunkState::Applied], "{ended:?}");
    let mine = "def total(items):\n    # mine\n";
    let renamed = SHOP.replace("result", "price").replace("def total(items):\n", mine);
    assert_eq!(world.text(shop).await, renamed);
    world.reject(turn).await.unwrap();
    assert_eq!(world.text(shop).await, SHOP.replace("def total(items):\n", mine));
}

/// [L1] Rejecting a turn gives back what was there and keeps what people typed, also inside its text.
#[tokio::test]
async fn rejecting_keeps_what_people_typed_inside() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let shop = world.document("shop.py", SHOP).await;
    let mut ada = world.join(shop).await;
    let mut list = world.watch_turns().await;
    let turn = world.start("rename and greet", shop).await;
    let mut call = script.call().await;
    call.patch(RENAME).await;
    call.patch(GREET).await;
    call.done().await;
    let ended = world.ended(turn).await;
    assert_eq!(states(&ended), [HunkState::Applied, HunkState::Applied]);
    ada.wait_for("price += item.price").await;
    ada.wait_for("def greet").await;
    ada.type_after("print(\"hel", "[mine]").await;
    eventually("the room to have it", async || world.text(shop).await.contains("[mine]").then_some(())).await;

    let rejected = world.reject(turn).await.unwrap();
    assert_eq!(rejected.review, Review::Rejected);
    assert_eq!(states(&rejected), [HunkState::Rejected, HunkState::Rejected]);
    assert_eq!(world.text(shop).await, format!("{SHOP}[mine]"));
    eventually("the rejection in the replica", async || {
        let shown = list_of(&mut list, turn);
        (shown["review"] == "rejected" && shown["hunks"]["2"]["state"] == "rejected").then_some(())
    })
    .await;

    assert_eq!(world.reject(turn).await.unwrap(), rejected, "twice is once");
    assert_eq!(world.text(shop).await, format!("{SHOP}[mine]"));
}

/// [L2] What was accepted can still be rejected and the other way round, and doing it twice changes nothing; nothing
/// is decided about a turn at work, but that all of it goes.
#[tokio::test]
async fn a_turn_is_reviewed_once_it_is_over() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let shop = world.document("shop.py", SHOP).await;
    let turn = world.start("rename", shop).await;
    let mut call = script.call().await;
    assert_eq!(world.reject_hunks(turn, &[1]).await.unwrap_err().code(), ErrorCode::TurnRunning);
    assert_eq!(world.accept(turn).await.unwrap_err().code(), ErrorCode::TurnRunning);
    call.patch(RENAME).await;
    call.done().await;
    world.ended(turn).await;

    let accepted = world.accept(turn).await.unwrap();
    assert_eq!(accepted.review, Review::Accepted);
    assert_eq!(states(&accepted), [HunkState::Accepted]);
    let changed = world.text(shop).await;
    for _ in 0..2 {
        assert_eq!(world.accept(turn).await.unwrap(), accepted);
        assert_eq!(world.text(shop).await, changed);
        for _ in 0..2 {
            assert_eq!(world.reject(turn).await.unwrap().review, Review::Rejected);
            assert_eq!(world.text(shop).await, SHOP);
        }
    }
    assert_eq!(world.reject_hunks(turn, &[9]).await.unwrap_err().code(), ErrorCode::BadRequest);

    let turn = world.start("rename", shop).await;
    let mut call = script.call().await;
    call.patch(RENAME).await;
    world.wait_for_text(shop, &changed).await;
    let rejected = world.reject(turn).await.unwrap();
    assert_eq!((rejected.status, rejected.review), (TurnStatus::Interrupted, Review::Rejected));
    assert_eq!(world.text(shop).await, SHOP);
    let unknown = TurnId::from_uuid(world.ids.uuid());
    assert_eq!(world.reject(unknown).await.unwrap_err().code(), ErrorCode::TurnNotFound);
}

/// [T4] A prompt that speaks of all files may change all of them, and is rejected in all of them.
#[tokio::test]
async fn a_turn_writes_in_two_documents() {
    let demo = Demo::quick().await;
    let world = World::with(demo.provider()).await;
    let shop = world.document("shop.py", SHOP).await;
    let till = world.document("till.py", "from shop import total\n\nprint(total([]))\n").await;
    let turn = world.start("rename total to subtotal everywhere", shop).await;
    let ended = world.ended(turn).await;
    assert_eq!(ended.status, TurnStatus::Done, "{ended:?}");
    assert_eq!(world.text(shop).await, SHOP.replace("total", "subtotal"));
    assert_eq!(world.text(till).await, "from shop import subtotal\n\nprint(subtotal([]))\n");
    assert!(ended.documents.contains(&shop) && ended.documents.contains(&till));

    world.reject(turn).await.unwrap();
    assert_eq!(world.text(shop).await, SHOP);
    assert_eq!(world.text(till).await, "from shop import total\n\nprint(total([]))\n");
}

/// [L3] A turn makes a document and goes on in it; rejecting the turn takes it away, unless somebody wrote in it, and
/// accepting brings it back.
#[tokio::test]
async fn a_document_a_turn_made_goes_with_it() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let shop = world.document("shop.py", SHOP).await;
    let patch = "\
*** Begin Patch
*** Add File: lib/new.py
+one = 1
+two = 2
*** Update File: lib/new.py
@@
 one = 1
-two = 2
+two = 3
*** End Patch
";
    for somebody_writes in [false, true] {
        let turn = world.start("add a module", shop).await;
        let mut call = script.call().await;
        call.patch(patch).await;
        call.done().await;
        let ended = world.ended(turn).await;
        assert_eq!(states(&ended), [HunkState::Applied, HunkState::Applied], "{ended:?}");
        let made = world.at("lib/new.py").await.expect("the document is there");
        assert_eq!(world.text(made).await, "one = 1\ntwo = 3\n");
        assert!(ended.documents.contains(&made));
        if somebody_writes {
            let mut ada = world.join(made).await;
            ada.type_after("one = 1", "0").await;
            eventually("the room to have it", async || world.text(made).await.contains("10").then_some(()))
                .await;
        }
        for _ in 0..2 {
            world.reject(turn).await.unwrap();
            assert_eq!(world.at("lib/new.py").await.is_some(), somebody_writes);
            if somebody_writes {
                assert_eq!(world.text(made).await, "0");
            }
            world.accept(turn).await.unwrap();
            assert_eq!(world.at("lib/new.py").await, Some(made));
            let typed = if somebody_writes { "0" } else { "" };
            assert_eq!(world.text(made).await, format!("one = 1{typed}\ntwo = 3\n"));
        }
        world.reject(turn).await.unwrap();
    }
}

/// [T5] When the model fails in the middle, what was settled stays and the turn says why it failed.
#[tokio::test]
async fn a_failure_keeps_what_was_settled() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let shop = world.document("shop.py", SHOP).await;
    let turn = world.start("rename and greet", shop).await;
    let mut call = script.call().await;
    call.say("I rename, then").await;
    call.patch(RENAME).await;
    let item = call.begin_patch().await;
    call.delta(
        item,
        "*** Begin Patch\n*** Update File: shop.py\n@@\n def report(items):\n-    print(total(items))\n",
    )
    .await;
    call.fail(ModelError::Closed).await;

    let ended = world.ended(turn).await;
    assert_eq!(ended.status, TurnStatus::Failed);
    let error = ended.error.clone().unwrap();
    assert_eq!(error.code, "model_closed");
    assert!(!error.detail.is_empty());
    assert_eq!(states(&ended), [HunkState::Applied, HunkState::Missed]);
    assert_eq!(ended.answer, "I rename, then");
    let renamed = SHOP.replace("result", "price");
    assert_eq!(world.text(shop).await, renamed);
    world.reject(turn).await.unwrap();
    assert_eq!(world.text(shop).await, SHOP);
}

/// [T6] An agent does one turn at a time, in order; projects do not wait for each other; a full queue says so.
#[tokio::test]
async fn turns_wait_for_their_agent() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let shop = world.document("shop.py", SHOP).await;
    let running = world.start("first", shop).await;
    let first = script.call().await;
    let mut waiting = Vec::new();
    for number in 0..limits::TURNS_QUEUED {
        waiting.push(world.start(&format!("number {number}"), shop).await);
    }
    let full = world.supervisor.start(world.asks("one too many", Some(shop))).await.unwrap_err();
    assert_eq!(full.code(), ErrorCode::Busy);
    assert_eq!(world.turn(waiting[0]).await.status, TurnStatus::Queued);
    assert!(!script.is_called().await);

    let elsewhere = world.other_project().await;
    let other = world.document_in(elsewhere, "other.py", "x = 1\n").await;
    let mut asks = world.asks("elsewhere", Some(other));
    asks.project = elsewhere;
    world.supervisor.start(asks).await.unwrap();
    let beside = script.call().await;
    assert!(beside.shown().contains("elsewhere"));
    beside.done().await;

    first.done().await;
    assert_eq!(world.ended(running).await.status, TurnStatus::Done);
    for (number, turn) in waiting.into_iter().enumerate() {
        let call = script.call().await;
        assert!(call.shown().contains(&format!("number {number}\n")));
        call.done().await;
        assert_eq!(world.ended(turn).await.status, TurnStatus::Done);
    }
    let listed = world.supervisor.list(world.project, 5, None).await.unwrap();
    assert_eq!(listed.len(), 5);
    assert!(listed[0].prompt.ends_with("15"));
    let older = world.supervisor.list(world.project, 50, Some(listed[4].id)).await.unwrap();
    assert_eq!(older.len(), limits::TURNS_QUEUED + 1 - 5);
}

/// [T8] Turns a dead server left behind are interrupted, also where people see them.
#[tokio::test]
async fn turns_of_a_dead_server_are_interrupted() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let mut left = Vec::new();
    for status in [TurnStatus::Queued, TurnStatus::Running] {
        let id = TurnId::from_uuid(world.ids.uuid());
        left.push(id);
        let record = TurnRecord {
            id,
            project: world.project,
            agent: "agent".into(),
            by: world.owner,
            prompt: "left behind".into(),
            status,
            documents: Vec::new(),
            answer: String::new(),
            usage: None,
            error: None,
            review: Review::Open,
            node: NodeId::from_uuid(world.ids.uuid()),
            created_at: time::OffsetDateTime::UNIX_EPOCH,
            finished_at: None,
        };
        world.leave_behind(record).await;
    }
    let mut list = world.watch_turns().await;
    assert_eq!(world.supervisor.recover().await.unwrap(), 2);
    assert_eq!(world.supervisor.recover().await.unwrap(), 0);
    for turn in left {
        let shown = world.turn(turn).await;
        assert_eq!(shown.status, TurnStatus::Interrupted);
        assert!(shown.finished_at.is_some());
        eventually("the replica to say so", async || {
            (list_of(&mut list, turn)["status"] == "interrupted").then_some(())
        })
        .await;
    }
}

/// What makes no sense is refused before anything is recorded.
#[tokio::test]
async fn senseless_requests_are_refused() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let shop = world.document("shop.py", SHOP).await;
    let other = world.other_project().await;
    let foreign = world.document_in(other, "foreign.py", "x\n").await;
    let version = world.rooms.open(shop).await.unwrap().read().await.unwrap().version;
    let select = |value: Value| Some(serde_json::from_value::<Selection>(value).unwrap());

    let mut cases = vec![
        (world.asks("  \n", Some(shop)), ErrorCode::BadRequest),
        (world.asks(&"x".repeat(limits::PROMPT_CHARS + 1), Some(shop)), ErrorCode::TooLarge),
        (world.asks("x", Some(foreign)), ErrorCode::DocumentNotFound),
        (world.asks("x", Some(world.turns)), ErrorCode::DocumentNotFound),
    ];
    let mut nobody = world.asks("x", Some(shop));
    nobody.agent = Some("nobody".into());
    cases.push((nobody, ErrorCode::AgentNotFound));
    let mut nowhere = world.asks("x", None);
    nowhere.selection = select(json!({ "start": 0, "end": 1 }));
    cases.push((nowhere, ErrorCode::BadRequest));
    let mut outside = world.asks("x", Some(shop));
    outside.selection = select(json!({ "start": 0, "end": 100_000 }));
    cases.push((outside, ErrorCode::BadRequest));
    let mut old = world.asks("x", Some(shop));
    let unknown = format!("{}.{}", version.epoch, version.seq + 7);
    old.selection = select(json!({ "start": 0, "end": 1, "version": unknown }));
    cases.push((old, ErrorCode::VersionUnknown));
    for (asks, code) in cases {
        assert_eq!(world.supervisor.start(asks).await.unwrap_err().code(), code);
    }
    assert!(world.supervisor.list(world.project, 10, None).await.unwrap().is_empty());
}

/// The model is shown the selection, the open document, the tree and the prompt, in the agreed form.
#[tokio::test]
async fn the_model_is_shown_what_the_person_sees() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let shop = world.document("shop.py", SHOP).await;
    world.document("notes.md", "# Notes\nno line end").await;
    let mut asks = world.asks("explain this", Some(shop));
    let version = world.rooms.open(shop).await.unwrap().read().await.unwrap().version;
    let selection = json!({ "start": 22, "end": 36, "version": version.to_string() });
    asks.selection = Some(serde_json::from_value(selection).unwrap());
    let turn = world.supervisor.start(asks).await.unwrap().id;
    let call = script.call().await;
    let expected = format!(
        "<document path=\"shop.py\" version=\"{version}\" lines=\"9\" open=\"true\">\n{SHOP}</document>\n\
         <document path=\"notes.md\" version=\"1.1\" lines=\"2\">\n# Notes\nno line end\n</document>\n\
         <selection path=\"shop.py\" start_line=\"2\" end_line=\"2\">\nresult = 0\n   \n</selection>\n\
         <tree>\nnotes.md\nshop.py\n</tree>\n<prompt>\nexplain this\n</prompt>"
    );
    let shown = call.shown();
    let (ours, theirs) = (shown.lines().collect::<Vec<_>>(), expected.lines().collect::<Vec<_>>());
    assert_eq!(ours.len(), theirs.len(), "{shown}");
    assert_eq!(ours[..11], theirs[..11]);
    assert!(
        shown.ends_with("<tree>\nnotes.md\nshop.py\n</tree>\n<prompt>\nexplain this\n</prompt>"),
        "{shown}"
    );
    assert_eq!(call.request.tools.len(), 1);
    call.say("It sets the result to 0.").await;
    call.done().await;
    let ended = world.ended(turn).await;
    assert_eq!(ended.answer, "It sets the result to 0.");
    assert!(ended.hunks.is_empty());
}

/// The replica shows the newest turns only.
#[tokio::test]
async fn the_replica_shows_the_newest_turns() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let shop = world.document("shop.py", SHOP).await;
    let mut list = world.watch_turns().await;
    let mut turns = Vec::new();
    for number in 0..limits::TURNS_SHOWN + 2 {
        let turn = world.start(&format!("number {number}"), shop).await;
        script.call().await.done().await;
        world.ended(turn).await;
        turns.push(turn.to_string());
    }
    let shown = eventually("the last turn", async || {
        let shown = list.turns();
        (shown[turns.last().unwrap()]["status"] == "done").then_some(shown)
    })
    .await;
    let shown = shown.as_object().unwrap();
    assert_eq!(shown.len(), limits::TURNS_SHOWN);
    assert!(
        !shown.contains_key(&turns[0]) && !shown.contains_key(&turns[1]) && shown.contains_key(&turns[2])
    );
}

/// A document that goes while a turn writes in it takes only its own hunks along.
#[tokio::test]
async fn a_document_that_goes_takes_only_its_hunks_along() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let shop = world.document("shop.py", SHOP).await;
    let till = world.document("till.py", "x = 1\n").await;
    let turn = world.start("change shop.py and till.py", shop).await;
    let mut call = script.call().await;
    world.files.delete(world.project, world.owner, till).await.unwrap();
    call.patch("*** Begin Patch\n*** Update File: till.py\n@@\n-x = 1\n+x = 2\n*** End Patch\n").await;
    call.patch(RENAME).await;
    call.done().await;
    let ended = world.ended(turn).await;
    assert_eq!(ended.status, TurnStatus::Done, "{ended:?}");
    assert_eq!(states(&ended), [HunkState::Missed, HunkState::Applied]);
    assert_eq!(world.text(shop).await, SHOP.replace("result", "price"));
    let rejected = world.reject(turn).await.unwrap();
    assert_eq!(rejected.review, Review::Rejected);
}

/// Many edits and a long answer go through bounded queues whole.
#[tokio::test]
async fn a_flood_of_edits_arrives_whole() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let lines: Vec<String> = (0..400).map(|line| format!("value_{line} = {line}\n")).collect();
    let many = world.document("many.py", &lines.concat()).await;
    let turn = world.start("raise every value", many).await;
    let mut call = script.call().await;
    let hunks: Vec<String> =
        (0..400).map(|line| format!("@@\n-value_{line} = {line}\n+value_{line} = {line}0\n")).collect();
    let patch = format!("*** Begin Patch\n*** Update File: many.py\n{}*** End Patch\n", hunks.concat());
    call.patch(&patch).await;
    call.say(&"word ".repeat(1000)).await;
    call.done().await;
    let ended = world.ended(turn).await;
    assert_eq!(ended.status, TurnStatus::Done);
    assert_eq!(ended.hunks.len(), 400);
    assert!(ended.hunks.iter().all(|hunk| hunk.state == HunkState::Applied && hunk.inserted == 1));
    assert_eq!(ended.hunks[399].line, Some(400));
    let expected: Vec<String> = (0..400).map(|line| format!("value_{line} = {line}0\n")).collect();
    assert_eq!(world.text(many).await, expected.concat());
    assert_eq!(ended.answer.len(), 4999);
}

/// [E7] A patch that cannot be read at all is reported as well.
#[tokio::test]
async fn an_unreadable_patch_is_reported() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let shop = world.document("shop.py", SHOP).await;
    let turn = world.start("rename", shop).await;
    let mut call = script.call().await;
    call.patch("*** Begin Patch\nrename result to price\n*** End Patch\n").await;
    call.done().await;
    let ended = world.ended(turn).await;
    assert_eq!(states(&ended), [HunkState::Missed]);
    assert!(ended.hunks[0].reason.as_ref().is_some_and(|reason| reason.contains("line 2")), "{ended:?}");
    assert_eq!(world.text(shop).await, SHOP);
}

/// A patch in the text of the answer counts as one handed in by the tool, and is no part of the answer.
#[tokio::test]
async fn a_patch_in_the_answer_is_applied_and_not_shown() {
    let script: Arc<Script> = Script::new();
    let world = World::with(script.clone()).await;
    let shop = world.document("shop.py", SHOP).await;
    let turn = world.start("rename", shop).await;
    let call = script.call().await;
    for piece in support::model::pieces(&format!("I rename it.\n\n{RENAME}\nDone.")) {
        call.say(&piece).await;
    }
    call.done().await;
    let ended = world.ended(turn).await;
    assert_eq!(world.text(shop).await, SHOP.replace("result", "price"));
    assert!(ended.answer.starts_with("I rename it.") && ended.answer.ends_with("Done."), "{}", ended.answer);
    assert!(!ended.answer.contains("***"));
}

/// [T11] A room that is made anew in the middle of a turn does not stop the turn, and nothing is written twice.
#[tokio::test]
async fn a_room_made_anew_does_not_stop_a_turn() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let lines: Vec<String> = (0..40).map(|line| format!("value_{line} = {line}\n")).collect();
    let many = world.document("many.py", &lines.concat()).await;
    let turn = world.start("raise every value", many).await;
    let mut call = script.call().await;
    let item = call.begin_patch().await;
    call.delta(item, "*** Begin Patch\n*** Update File: many.py\n").await;
    for line in 0..40 {
        call.delta(item, &format!("@@\n-value_{line} = {line}\n+value_{line} = {line}0\n")).await;
        if line % 10 == 5 {
            world.rooms.close(many);
        }
        tokio::task::yield_now().await;
    }
    call.delta(item, "*** End Patch\n").await;
    call.done().await;
    let ended = world.ended(turn).await;
    assert_eq!(ended.status, TurnStatus::Done, "{ended:?}");
    let expected: Vec<String> = (0..40).map(|line| format!("value_{line} = {line}0\n")).collect();
    assert_eq!(world.text(many).await, expected.concat());
    world.reject(turn).await.unwrap();
    assert_eq!(world.text(many).await, lines.concat());
}
