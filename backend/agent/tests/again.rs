//! The second try: what was missed is asked for once more, with the documents as they are now.

mod support;

use std::fmt::Write as _;

use ensemble_model::{InputItem, ToolKind};
use ensemble_protocol::id::TurnId;
use ensemble_protocol::rest::{HunkState, TurnStatus};

use self::support::model::{Call, Demo, Script};
use self::support::{World, eventually, states};

const TWICE: &str = "a = 1\nb = 2\n\na = 1\nb = 2\n\nc = 3\n";

/// Two hunks, of which the first fits in two places.
const FIRST: &str = "\
*** Begin Patch
*** Update File: twice.py
@@
 a = 1
-b = 2
+b = 5
@@
-c = 3
+c = 4
*** End Patch
";

/// The first hunk again, with what tells the places apart.
const SECOND: &str = "\
*** Begin Patch
*** Update File: twice.py
@@
 a = 1
-b = 2
+b = 5

 c = 4
*** End Patch
";

/// What the second call is told and shown.
fn told(call: &Call) -> String {
    let texts = call.request.input.iter().rev().take(3).rev().map(|item| match item {
        InputItem::UserText(text) | InputItem::ToolOutput { output: text, .. } => text.clone(),
        other => panic!("the second call ends with what it is told, not {other:?}"),
    });
    texts.collect::<Vec<_>>().join("\n")
}

async fn first_answer(script: &Script, world: &World) -> (TurnId, support::person::Person) {
    let twice = world.document("twice.py", TWICE).await;
    let mut ada = world.join(twice).await;
    let turn = world.start("change the last b and c", twice).await;
    let mut call = script.call().await;
    ada.type_after("c = 3", "  # mine").await;
    eventually("ada's words", async || world.text(twice).await.contains("# mine").then_some(())).await;
    call.patch(FIRST).await;
    call.done().await;
    (turn, ada)
}

/// [T31] A hunk that was missed is asked for once more: with what was missed, where it might have been meant, and
/// the text as it is now; and what comes is applied like any other.
#[tokio::test]
async fn a_missed_hunk_is_asked_for_once_more() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let (turn, mut ada) = first_answer(&script, &world).await;

    let mut again = script.call().await;
    // The transcript goes on: the call of the tool, its output, and then the text.
    let input = &again.request.input;
    let [.., call, output, _, _] = input.as_slice() else { panic!("{input:?}") };
    let (InputItem::ToolCall { call_id, input, .. }, InputItem::ToolOutput { call_id: answered, kind, .. }) =
        (call, output)
    else {
        panic!("{call:?} {output:?}");
    };
    assert_eq!((call_id, *kind, input.as_str()), (answered, ToolKind::Custom, FIRST));
    let told = told(&again);
    assert!(told.contains("Hunk 1, `twice.py`") && told.contains("1 hunk was not applied"), "{told}");
    assert!(told.contains("     1 | a = 1\n") && told.contains("     5 | b = 2\n"), "{told}");
    assert!(told.contains("c = 4  # mine\n</document>"), "{told}");
    assert!(told.ends_with("<prompt>\nchange the last b and c\n</prompt>"), "{told}");

    // A line that is not there as it is shown now would not fit.
    again.patch(&SECOND.replace(" c = 4\n", " c = 4  # mine\n")).await;
    again.say("Now it fits.").await;
    again.done().await;
    let ended = world.ended(turn).await;
    assert_eq!(ended.status, TurnStatus::Done, "{ended:?}");
    assert_eq!(states(&ended), [HunkState::Missed, HunkState::Applied, HunkState::Applied]);
    assert_eq!(ended.hunks[2].line, Some(5));
    let reason = ended.hunks[0].reason.clone().unwrap();
    assert!(reason.contains("asked for this once more"), "{reason}");
    assert_eq!(ended.usage.map(|usage| (usage.input_tokens, usage.output_tokens)), Some((200, 40)));
    assert_eq!(ended.answer, "Now it fits.");
    let expected = TWICE.replace("b = 2\n\nc = 3", "b = 5\n\nc = 4  # mine");
    ada.wait_for("b = 5").await;
    assert_eq!(ada.sees(), expected);
    assert!(!script.is_called().await);

    world.reject(turn).await.unwrap();
    assert_eq!(world.text(ended.documents[0]).await, TWICE.replace("c = 3", "c = 3  # mine"));
}

/// [T31] There is no third try.
#[tokio::test]
async fn there_is_no_third_try() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let (turn, _ada) = first_answer(&script, &world).await;
    let mut again = script.call().await;
    again.patch("*** Begin Patch\n*** Update File: twice.py\n@@\n-b = 2\n+b = 5\n*** End Patch\n").await;
    again.done().await;
    let ended = world.ended(turn).await;
    assert_eq!(ended.status, TurnStatus::Done);
    assert_eq!(states(&ended), [HunkState::Missed, HunkState::Applied, HunkState::Missed]);
    assert!(!script.is_called().await);
}

/// [T32] What a turn may not do is not asked for again, and a second answer does nothing that was not asked for.
#[tokio::test]
async fn a_second_answer_does_only_what_was_missed() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let shop = world.document("shop.py", "a = 1\n").await;
    let till = world.document("till.py", "x = 1\n").await;
    let safe = world.document("safe.py", "y = 1\n").await;
    let turn = world.start("change shop.py and till.py", shop).await;
    let mut call = script.call().await;
    call.patch("*** Begin Patch\n*** Update File: safe.py\n@@\n-y = 2\n+y = 3\n*** End Patch\n").await;
    call.done().await;
    let ended = world.ended(turn).await;
    assert_eq!(states(&ended), [HunkState::Missed]);
    assert!(!script.is_called().await, "what is no part of the turn is not asked for again");

    let turn = world.start("change shop.py and till.py", shop).await;
    let mut call = script.call().await;
    call.patch("*** Begin Patch\n*** Update File: shop.py\n@@\n-a = 7\n+a = 2\n*** End Patch\n").await;
    call.done().await;
    let mut again = script.call().await;
    assert!(!told(&again).contains("x = 1"), "only what was missed is shown again");
    again
        .patch(
            "*** Begin Patch\n*** Update File: till.py\n@@\n-x = 1\n+x = 2\n*** Add File: new.py\n+z\n\
             *** Update File: shop.py\n@@\n-a = 1\n+a = 2\n*** End Patch\n",
        )
        .await;
    again.done().await;
    let ended = world.ended(turn).await;
    let missed = HunkState::Missed;
    assert_eq!(states(&ended), [missed, missed, missed, HunkState::Applied], "{ended:?}");
    assert_eq!(world.text(shop).await, "a = 2\n");
    assert_eq!((world.text(till).await, world.text(safe).await), ("x = 1\n".into(), "y = 1\n".into()));
    assert_eq!(world.at("new.py").await, None);
    assert!(ended.hunks[1].reason.as_ref().unwrap().contains("missed"), "{ended:?}");
}

/// [T33] A turn can be stopped in the middle of its second try too, and a model that is not there a second time
/// does not take back that the turn is done.
#[tokio::test]
async fn a_second_try_can_be_stopped_and_may_fail() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let (turn, _ada) = first_answer(&script, &world).await;
    let mut again = script.call().await;
    let item = again.begin_patch().await;
    again.delta(item, "*** Begin Patch\n*** Update File: twice.py\n@@\n a = 1\n").await;
    let stopped = world.supervisor.interrupt(world.project, turn).await.unwrap();
    assert_eq!(stopped.status, TurnStatus::Interrupted);
    assert_eq!(states(&stopped)[..2], [HunkState::Missed, HunkState::Applied]);
    again.delta(item, "-b = 2\n+b = 5\n\n c = 4  # mine\n*** End Patch\n").await;
    let text = world.text(stopped.documents[0]).await;
    assert!(!text.contains("b = 5"), "{text}");

    let shop = world.document("shop.py", "a = 1\n").await;
    script.allow_only(1);
    let turn = world.start("change a", shop).await;
    let mut call = script.call().await;
    call.patch("*** Begin Patch\n*** Update File: shop.py\n@@\n-a = 7\n+a = 2\n*** End Patch\n").await;
    call.done().await;
    let ended = world.ended(turn).await;
    assert_eq!(ended.status, TurnStatus::Done, "{ended:?}");
    assert_eq!(states(&ended), [HunkState::Missed]);
}

/// [T31] The demo model's second try over the real socket: what repeats in a part of the document it was not shown
/// is told apart by its line.
#[tokio::test]
async fn the_demo_model_mends_its_patch() {
    let demo = Demo::quick().await;
    let world = World::with(demo.provider()).await;
    let work = "\n\ndef work(items):\n    alpha = len(items)\n    return alpha\n\n\n";
    let mut text = format!("# begins\n{work}");
    for line in 0..9000 {
        writeln!(text, "# filler {line} that makes the document too long").unwrap();
    }
    let text = text + work + "# ends\n";
    let long = world.document("long.py", &text).await;
    let turn = world.start("rename alpha to beta", long).await;
    let ended = world.ended(turn).await;
    assert_eq!(ended.status, TurnStatus::Done, "{ended:?}");
    assert_eq!(states(&ended), [HunkState::Missed, HunkState::Applied], "{ended:?}");
    assert_eq!(world.text(long).await, text.replacen("alpha", "beta", 2));
    assert!(ended.answer.contains("did not fit"), "{}", ended.answer);
}
