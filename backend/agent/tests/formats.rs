//! The formats a model may answer in: each comes out as the same small edits.

mod support;

use ensemble_agent::StartTurn;
use ensemble_model::{Capability, EditFormat, InputItem, Tool, ToolKind};
use ensemble_protocol::id::DocumentId;
use ensemble_protocol::rest::{HunkState, OffsetSelection, Selection, Turn, TurnStatus};
use serde_json::json;

use self::support::model::{Call, Demo, Script};
use self::support::{World, eventually, states};

const SHOP: &str = "\
def total(items):
    result = 0
    for item in items:
        result += item.price
    return result


def report(items):
    print(total(items), \"😀\\n\")
";

fn with(edit_format: EditFormat) -> Capability {
    Capability { edit_format, functions: true, freeform_lark: false, ..Capability::of("demo") }
}

/// Asks for a change of `result` in a model's own format while somebody types at the end of the document.
async fn asked(
    edit_format: EditFormat,
    select: Option<(u32, u32)>,
    answer: impl AsyncFnOnce(&mut Call),
) -> (World, DocumentId, Turn) {
    let script = Script::with(with(edit_format));
    let world = World::with(script.clone()).await;
    let shop = world.document("shop.py", SHOP).await;
    let mut ada = world.join(shop).await;
    let selection =
        select.map(|(start, end)| Selection::Offsets(OffsetSelection { start, end, version: None }));
    let start = StartTurn { selection, ..world.asks("rename result to price", Some(shop)) };
    let turn = world.supervisor.start(start).await.expect("it starts").id;
    let mut call = script.call().await;
    ada.type_after("print(total(items)", ", mine").await;
    eventually("ada's words", async || world.text(shop).await.contains("mine").then_some(())).await;
    answer(&mut call).await;
    call.done().await;
    let ended = world.ended(turn).await;
    assert_eq!(ended.status, TurnStatus::Done, "{ended:?}");
    assert!(!script.is_called().await, "nothing was missed: {ended:?}");
    (world, shop, ended)
}

/// The text after the change, Ada's words in it.
fn renamed() -> String {
    SHOP.replace("result", "price").replace("print(total(items)", "print(total(items), mine")
}

/// Letters that differ between `result` and `price`, three times: nothing else was touched.
fn assert_minimal(turn: &Turn) {
    let inserted: u32 = turn.hunks.iter().map(|hunk| hunk.inserted).sum();
    assert!(inserted <= 15, "{:?}", turn.hunks);
}

/// [T34] Old and new texts as arguments of a function, with escapes cut anywhere; a new document too.
#[tokio::test]
async fn edits_as_arguments_of_a_function() {
    let (world, shop, turn) = asked(EditFormat::EditTool, None, async |call| {
        assert!(matches!(&call.request.tools[..], [Tool::Function { name, .. }] if name == "edit"));
        assert!(call.request.instructions.contains("call the tool `edit`"));
        call.say("I rename it.").await;
        let edits = json!([
            {"old_text": "    result = 0\n", "new_text": "    price = 0\n"},
            {"old_text": "        result += item.price\n    return result\n",
             "new_text": "        price += item.price\n    return price\n"},
        ]);
        call.function("edit", &json!({"path": "shop.py", "edits": edits}).to_string()).await;
        let new = json!([{"old_text": "", "new_text": "# 😀 \"new\"\n"}]);
        call.function("edit", &json!({"path": "new.py", "edits": new}).to_string()).await;
    })
    .await;
    assert_eq!(world.text(shop).await, renamed());
    assert_eq!(states(&turn), [HunkState::Applied; 3]);
    assert_eq!(turn.answer, "I rename it.");
    let new = world.at("new.py").await.unwrap();
    assert_eq!(world.text(new).await, "# 😀 \"new\"\n");
    let inserted: u32 = turn.hunks[..2].iter().map(|hunk| hunk.inserted).sum();
    assert!(inserted <= 15, "{:?}", turn.hunks);
}

/// [T34] Old and new texts between marks, in the text of the answer; the marks are no part of what people read.
#[tokio::test]
async fn edits_in_the_text() {
    let (world, shop, turn) = asked(EditFormat::SearchReplace, None, async |call| {
        assert!(call.request.tools.is_empty());
        assert!(call.request.instructions.contains("<<<<<<< SEARCH"));
        call.says(
            "I rename it.\n\nshop.py\n<<<<<<< SEARCH\n    result = 0\n=======\n    price = 0\n>>>>>>> REPLACE\n\n\
             shop.py\n<<<<<<< SEARCH\n        result += item.price\n    return result\n=======\n        \
             price += item.price\n    return price\n>>>>>>> REPLACE\n",
        )
        .await;
    })
    .await;
    assert_eq!(world.text(shop).await, renamed());
    assert_eq!(states(&turn), [HunkState::Applied; 2]);
    assert_eq!(turn.answer, "I rename it.");
    assert_minimal(&turn);
}

/// [T34] A whole document, of which only what differs is written.
#[tokio::test]
async fn a_whole_document() {
    let (world, shop, turn) = asked(EditFormat::Whole, None, async |call| {
        assert!(call.request.instructions.contains("whole new text"));
        call.says(&format!("I rename it.\n\nshop.py\n```python\n{}```\n", SHOP.replace("result", "price")))
            .await;
    })
    .await;
    assert_eq!(world.text(shop).await, renamed());
    assert_eq!(states(&turn), [HunkState::Applied]);
    assert_eq!(turn.answer, "I rename it.");
    assert_minimal(&turn);
}

/// [T34] The selected lines, written anew; what is around them cannot be changed.
#[tokio::test]
async fn the_selected_lines() {
    let start = SHOP.find("result = 0").unwrap() as u32;
    let end = SHOP.find("return result").unwrap() as u32 + 3;
    let (world, shop, turn) = asked(EditFormat::Whole, Some((start, end)), async |call| {
        assert!(call.request.instructions.contains("nothing but the lines in `<selection>`"));
        let lines =
            "    result = 0\n    for item in items:\n        result += item.price\n    return result\n";
        assert!(call.shown().contains(&format!("end_line=\"5\">\n{lines}</selection>")), "{}", call.shown());
        call.says(&lines.replace("result", "price")).await;
    })
    .await;
    assert_eq!(world.text(shop).await, renamed());
    assert_eq!(states(&turn), [HunkState::Applied]);
    assert_minimal(&turn);
}

/// [T34] A patch in the text, for those who know patches and take no tools.
#[tokio::test]
async fn a_patch_in_the_text() {
    let (world, shop, turn) = asked(EditFormat::PatchTool, None, async |call| {
        assert!(call.request.tools.is_empty());
        call.says(
            "I rename it.\n*** Begin Patch\n*** Update File: shop.py\n@@\n def total(items):\n-    result = 0\n\
             +    price = 0\n     for item in items:\n-        result += item.price\n-    return result\n\
             +        price += item.price\n+    return price\n*** End Patch\n",
        )
        .await;
    })
    .await;
    assert_eq!(world.text(shop).await, renamed());
    assert_minimal(&turn);
}

/// [T31] What was missed in another format is asked for again in the same one.
#[tokio::test]
async fn a_missed_edit_is_asked_for_again_in_its_format() {
    let script = Script::with(with(EditFormat::EditTool));
    let world = World::with(script.clone()).await;
    let shop = world.document("shop.py", SHOP).await;
    let turn = world.start("rename result to price", shop).await;
    let edit = |old: &str, new: &str| {
        json!({"path": "shop.py", "edits": [{"old_text": old, "new_text": new}]}).to_string()
    };
    let mut call = script.call().await;
    call.function("edit", &edit("items", "things")).await;
    call.done().await;
    let mut again = script.call().await;
    assert!(again.request.input.iter().any(|item| matches!(
        item,
        InputItem::ToolOutput { kind: ToolKind::Function, output, .. } if output.contains("<missed>")
    )));
    again.function("edit", &edit("def total(items)", "def total(things)")).await;
    again.done().await;
    let ended = world.ended(turn).await;
    assert_eq!(states(&ended), [HunkState::Missed, HunkState::Applied], "{ended:?}");
    assert_eq!(world.text(shop).await, SHOP.replace("def total(items)", "def total(things)"));
}

/// [T34] The demo model answers with the arguments of a function where that is what it is offered.
#[tokio::test]
async fn the_demo_model_calls_the_edit_tool() {
    let demo = Demo::quick().await;
    let world = World::with(demo.provider_with(with(EditFormat::EditTool))).await;
    let shop = world.document("shop.py", SHOP).await;
    let turn = world.start("rename total to subtotal", shop).await;
    let ended = world.ended(turn).await;
    assert_eq!(ended.status, TurnStatus::Done, "{ended:?}");
    assert_eq!(world.text(shop).await, SHOP.replace("total", "subtotal"));
    assert_eq!(ended.hunks.iter().map(|hunk| hunk.inserted).sum::<u32>(), 6);
}

/// [T39] A part of an answer that could not be read is told beside the hunks that could.
#[tokio::test]
async fn what_could_not_be_read_is_told_beside_what_could() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let list = world.document("list.txt", "one\ntwo\n").await;
    script.allow_only(2);
    let turn = world.start("count", list).await;
    let mut call = script.call().await;
    let patch = |hunks: &str| {
        let unreadable = "*** Change File: list.txt\n@@\n-two\n+2\n";
        format!("*** Begin Patch\n{unreadable}*** Update File: list.txt\n@@\n{hunks}*** End Patch\n")
    };
    call.patch(&patch("-one\n+1\n@@\n-six\n+6\n")).await;
    call.done().await;
    // The second answer is told the same way.
    let mut again = script.call().await;
    again.patch(&patch("+0\n 1\n")).await;
    again.done().await;
    let ended = world.ended(turn).await;
    let missed = HunkState::Missed;
    assert_eq!(states(&ended), [HunkState::Applied, missed, missed, HunkState::Applied, missed], "{ended:?}");
    for hunk in [2, 4] {
        let reason = ended.hunks[hunk].reason.clone().unwrap_or_default();
        assert!(reason.contains("line 2 ") && reason.contains("could not be read"), "{ended:?}");
    }
    assert_eq!(world.text(list).await, "0\n1\ntwo\n");
}

/// [T39] A call of which the arguments cannot be read is told, between those that count.
#[tokio::test]
async fn a_call_that_could_not_be_read_is_told() {
    let script = Script::with(with(EditFormat::EditTool));
    let world = World::with(script.clone()).await;
    let list = world.document("list.txt", "one\ntwo\nthree\n").await;
    let turn = world.start("count", list).await;
    let mut call = script.call().await;
    let edit = |old: &str, new: &str| {
        format!(r#"{{"path": "list.txt", "edits": [{{"old_text": "{old}", "new_text": "{new}"}}]}}"#)
    };
    call.function("edit", &edit("one", "1")).await;
    call.function("edit", &edit(r"tw\q", "2")).await;
    call.function("edit", &edit("three", "3")).await;
    call.done().await;
    let ended = world.ended(turn).await;
    assert_eq!(states(&ended), [HunkState::Applied, HunkState::Applied, HunkState::Missed], "{ended:?}");
    let reason = ended.hunks[2].reason.clone().unwrap_or_default();
    assert!(reason.contains("could not be read") && reason.contains("not JSON"), "{ended:?}");
    assert_eq!(world.text(list).await, "1\ntwo\n3\n");
}
