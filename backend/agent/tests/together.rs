//! People and a turn in the same lines.

mod support;

use ensemble_protocol::rest::HunkState;

use self::support::model::Script;
use self::support::{World, eventually, states};

/// [T35] Where a turn is about to write is shown before the first character, however many hunks come at once.
#[tokio::test]
async fn the_span_is_shown_before_the_first_character() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let lines: Vec<String> = (0..300).map(|line| format!("value_{line} = {line}\n")).collect();
    let many = world.document("many.py", &lines.concat()).await;
    let mut ada = world.join(many).await;
    let turn = world.start("raise values", many).await;
    let mut call = script.call().await;
    let item = call.begin_patch().await;
    call.delta(item, "*** Begin Patch\n*** Update File: many.py\n").await;
    let hunk = |line: usize| {
        let (next, last) = (line + 1, line + 2);
        format!(
            "@@\n value_{line} = {line}\n-value_{next} = {next}\n+value_{next} = {next}0\n+# raised\n \
             value_{last} = {last}\n"
        )
    };
    // One by one: each is waited for, so that the next is told after the one before was shown.
    for line in [10, 200, 40] {
        call.delta(item, &hunk(line)).await;
        let words = format!("value_{0} = {0}0\n", line + 1);
        ada.wait_for(&words).await;
    }
    // All at once, forwards and backwards through the document.
    for line in (60..180).step_by(6).chain((210..290).step_by(8).rev()) {
        call.delta(item, &hunk(line)).await;
    }
    call.delta(item, "*** End Patch\n").await;
    call.done().await;
    let ended = world.ended(turn).await;
    assert!(ended.hunks.iter().all(|hunk| hunk.state == HunkState::Applied), "{ended:?}");
    let text = world.text(many).await;
    eventually("ada to see all of it", async || (ada.sees() == text).then_some(())).await;
    assert_eq!(ada.unannounced(), Vec::<String>::new());
}

/// [T36] What people type at the edges of what a turn deletes stays, and inside it as well.
#[tokio::test]
async fn what_is_typed_around_and_inside_of_deleted_text_stays() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let list = world.document("list.txt", "one\ntwo\nthree\nfour\n").await;
    let mut ada = world.join(list).await;
    let turn = world.start("remove two and three", list).await;
    let mut call = script.call().await;
    ada.type_after("one\n", "[before]").await;
    ada.type_after("tw", "[inside]").await;
    ada.type_after("three\n", "[behind]").await;
    eventually("ada's words", async || world.text(list).await.contains("[behind]").then_some(())).await;
    call.patch("*** Begin Patch\n*** Update File: list.txt\n@@\n one\n-two\n-three\n four\n*** End Patch\n")
        .await;
    call.done().await;
    let ended = world.ended(turn).await;
    assert_eq!(states(&ended), [HunkState::Applied]);
    assert_eq!(world.text(list).await, "one\n[before][inside][behind]four\n");
    world.reject(turn).await.unwrap();
    let text = world.text(list).await;
    for words in ["[before]", "[inside]", "[behind]", "two", "three"] {
        assert!(
            text.replace("[inside]", if words == "two" { "" } else { "[inside]" }).contains(words),
            "{text}"
        );
    }
}

/// [T36] Where people changed the very characters a turn would change, theirs stay and the hunk says so.
#[tokio::test]
async fn people_win_the_same_characters_and_the_hunk_says_so() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let list = world.document("list.txt", "one\nprice = 10\nthree\n").await;
    let mut ada = world.join(list).await;
    let turn = world.start("raise the price", list).await;
    let mut call = script.call().await;
    ada.delete("10").await;
    ada.type_after("price = ", "99").await;
    eventually("ada's words", async || world.text(list).await.contains("99").then_some(())).await;
    call.patch("*** Begin Patch\n*** Update File: list.txt\n@@\n one\n-price = 10\n+cost = 20\n three\n*** End Patch\n")
        .await;
    call.done().await;
    let ended = world.ended(turn).await;
    let text = world.text(list).await;
    assert!(text.starts_with("one\ncost = ") && text.contains("99") && !text.contains("10"), "{text}");
    let reason = ended.hunks[0].reason.clone().unwrap_or_default();
    assert!(reason.contains("somebody had changed"), "{ended:?}");
}

/// [T37] Lines the model was not shown, because somebody typed them since, are found where they stand now.
#[tokio::test]
async fn what_was_typed_since_is_found_where_it_stands_now() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let list = world.document("list.txt", "one\ntwo\n").await;
    let mut ada = world.join(list).await;
    let turn = world.start("count", list).await;
    let mut call = script.call().await;
    ada.type_after("one\n", "one and a half\n").await;
    eventually("ada's words", async || world.text(list).await.contains("half").then_some(())).await;
    call.patch(
        "*** Begin Patch\n*** Update File: list.txt\n@@\n-one and a half\n+1.5\n@@\n one\n+one and a quarter\n*** End Patch\n",
    )
    .await;
    call.done().await;
    let ended = world.ended(turn).await;
    assert_eq!(states(&ended), [HunkState::Applied, HunkState::Applied], "{ended:?}");
    assert_eq!(ended.hunks[0].line, Some(2));
    assert_eq!(world.text(list).await, "one\none and a quarter\n1.5\ntwo\n");
    assert_eq!(ada.unannounced(), Vec::<String>::new());
    world.reject(turn).await.unwrap();
    assert_eq!(world.text(list).await, "one\none and a half\ntwo\n");
}
