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

/// [T36] [E9] Where people changed the very characters a turn would change, theirs stay and the hunk says so.
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
    assert_eq!(world.text(list).await, "one\ncost = 99\nthree\n");
    assert_eq!(states(&ended), [HunkState::Applied]);
    let reason = ended.hunks[0].reason.clone().unwrap_or_default();
    assert!(reason.contains("somebody has replaced"), "{ended:?}");
    world.reject(turn).await.unwrap();
    assert_eq!(world.text(list).await, "one\nprice = 99\nthree\n");
}

/// [T36] A hunk that would only change what people changed is missed, and the next hunk is not.
#[tokio::test]
async fn a_hunk_that_is_left_nothing_is_missed() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let list = world.document("list.txt", "one\nprice = 10\nthree\nfour\n").await;
    let mut ada = world.join(list).await;
    let turn = world.start("raise the price", list).await;
    let mut call = script.call().await;
    ada.delete("10").await;
    ada.type_after("price = ", "99").await;
    ada.delete("four").await;
    eventually("ada's words", async || (!world.text(list).await.contains("four")).then_some(())).await;
    let patch = "*** Begin Patch\n*** Update File: list.txt\n@@\n one\n-price = 10\n+price = 20\n@@\n three\n\
                 -four\n+vier\n+five\n*** End Patch\n";
    call.patch(patch).await;
    call.done().await;
    let ended = world.ended(turn).await;
    assert_eq!(states(&ended)[0], HunkState::Missed, "{ended:?}");
    let hunk = &ended.hunks[0];
    assert_eq!((hunk.inserted, hunk.deleted, hunk.line), (0, 0, Some(2)));
    assert!(hunk.reason.as_deref().unwrap_or_default().contains("somebody has replaced"), "{ended:?}");
    let text = world.text(list).await;
    assert!(text.starts_with("one\nprice = 99\nthree\n"), "{text}");
    assert!(!text.contains("vier") && !text.contains("four"), "{text}");
    assert!(!script.is_called().await, "what people won is not asked for again");
    world.reject(turn).await.unwrap();
    assert_eq!(world.text(list).await, "one\nprice = 99\nthree\n\n");
}

/// [T37] [E10] A hunk that was refused in the text the model was shown is not looked for in another, nor half of it.
#[tokio::test]
async fn a_refused_hunk_stays_refused() {
    const TEXT: &str = "def total():\n    return 1\n\nclass A:\n    pass\n\nclass B:\n    pass\n";
    let refused = [
        "@@\n def total():\n-    return 1\n+    return 2\n*** End of File\n",
        "@@ class B:\n-class A:\n+class C:\n",
        "@@\n def total():\n     return 1\n+    return 2\n+    return 3\n*** End of File\n",
    ];
    for hunk in refused {
        let script = Script::new();
        let world = World::with(script.clone()).await;
        let code = world.document("a.py", TEXT).await;
        let mut ada = world.join(code).await;
        script.allow_only(1);
        let turn = world.start("change it", code).await;
        let mut call = script.call().await;
        ada.type_somewhere(0.0, "# mine\n").await;
        eventually("ada's words", async || world.text(code).await.contains("mine").then_some(())).await;
        call.patch(&format!("*** Begin Patch\n*** Update File: a.py\n{hunk}*** End Patch\n")).await;
        call.done().await;
        let ended = world.ended(turn).await;
        let is_refused = |state: &HunkState| matches!(state, HunkState::Missed | HunkState::Reverted);
        assert!(states(&ended).iter().all(is_refused), "{hunk}: {ended:?}");
        assert_eq!(world.text(code).await, format!("# mine\n{TEXT}"), "{hunk}");
    }
}

/// [T37] Where a heading says what lines alone do not, they are not looked for without it.
#[tokio::test]
async fn a_hunk_below_a_heading_is_not_looked_for_without_it() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let code = world.document("a.py", "class A:\n    pass\n\nclass B:\n    pass\n").await;
    let mut ada = world.join(code).await;
    script.allow_only(1);
    let turn = world.start("change B", code).await;
    let mut call = script.call().await;
    ada.type_after("class A:\n", "    x = 1\n").await;
    eventually("ada's words", async || world.text(code).await.contains("x = 1").then_some(())).await;
    call.patch(
        "*** Begin Patch\n*** Update File: a.py\n@@ class B:\n-    x = 1\n+    x = 2\n*** End Patch\n",
    )
    .await;
    call.done().await;
    let ended = world.ended(turn).await;
    assert_eq!(states(&ended), [HunkState::Missed], "{ended:?}");
    assert!(world.text(code).await.contains("    x = 1\n"));
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
