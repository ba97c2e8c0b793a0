//! Stopping a turn: what is settled stays, what is not is dropped, and nothing is written afterwards.

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use ensemble_demo_model::DemoOptions;
use ensemble_model::ModelEvent;
use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::limits;
use ensemble_protocol::rest::{HunkState, Review, TurnStatus};

use self::support::model::{Demo, Script, pieces, quick};
use self::support::{World, eventually};

const LIST: &str = "one\ntwo\nthree\nfour\nfive\nsix\n";

const PATCH: &str = "\
*** Begin Patch
*** Update File: list.txt
@@
 one
+one and a half
 two
@@
-three
+THREE
 four
@@
 five
+five and a half
+five and three quarters
 six
*** End Patch
";

/// [T7] Interrupting keeps settled edits and drops the rest; nothing is written after it returned.
#[tokio::test]
async fn interrupting_keeps_settled_edits_and_writes_nothing_more() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let list = world.document("list.txt", LIST).await;
    let mut ada = world.join(list).await;
    let turn = world.start("count", list).await;
    let mut call = script.call().await;
    call.say("I count.").await;
    let item = call.begin_patch().await;
    let (first, rest) = PATCH.split_at(PATCH.find(" four\n").unwrap());
    call.delta(item, first).await;
    ada.wait_for("one and a half").await;

    let interrupted = world.supervisor.interrupt(world.project, turn).await.unwrap();
    assert_eq!(interrupted.status, TurnStatus::Interrupted);
    assert!(interrupted.finished_at.is_some());
    assert_eq!(interrupted.answer, "I count.");
    assert!(interrupted.error.is_none());
    let text = world.text(list).await;
    assert_eq!(text, LIST.replace("one\n", "one\none and a half\n"));
    let states: Vec<HunkState> = interrupted.hunks.iter().map(|hunk| hunk.state).collect();
    assert_eq!(states, [HunkState::Applied, HunkState::Missed]);
    assert!(interrupted.hunks[1].reason.is_some());

    let updates = ada.updates();
    call.delta(item, rest).await;
    call.done().await;
    assert!(call.cancelled.is_cancelled());
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(world.text(list).await, text);
    assert_eq!(ada.updates(), updates);
    ada.wait_for_agent("the agent to leave", |agent| agent.is_none()).await;

    let again = world.supervisor.interrupt(world.project, turn).await.unwrap_err();
    assert_eq!(again.code(), ErrorCode::TurnNotRunning);
    let rejected = world.reject(turn).await.unwrap();
    assert_eq!(rejected.review, Review::Rejected);
    assert_eq!(world.text(list).await, LIST);
}

/// [T7] A turn can be stopped between any two events: the text is a true prefix, and rejecting gives it all back.
#[tokio::test]
async fn a_turn_can_be_stopped_between_any_two_events() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let list = world.document("list.txt", LIST).await;
    let steps: Vec<String> = [
        LIST.to_owned(),
        LIST.replace("one\n", "one\none and a half\n"),
        LIST.replace("one\n", "one\none and a half\n").replace("three", "THREE"),
        LIST.replace("one\n", "one\none and a half\n")
            .replace("three", "THREE")
            .replace("five\n", "five\nfive and a half\n"),
        LIST.replace("one\n", "one\none and a half\n")
            .replace("three", "THREE")
            .replace("five\n", "five\nfive and a half\nfive and three quarters\n"),
    ]
    .into();
    let deltas = pieces(PATCH);
    for stop_after in 0..=deltas.len() {
        let turn = world.start("count", list).await;
        let mut call = script.call().await;
        let item = call.begin_patch().await;
        for delta in &deltas[..stop_after] {
            call.delta(item, delta).await;
        }
        let interrupted = world.supervisor.interrupt(world.project, turn).await.unwrap();
        assert_eq!(interrupted.status, TurnStatus::Interrupted);
        let text = world.text(list).await;
        assert!(steps.contains(&text), "after {stop_after} deltas:\n{text}");
        let written = interrupted.hunks.iter().filter(|hunk| hunk.state == HunkState::Applied).count();
        let step = steps.iter().position(|step| *step == text).unwrap();
        assert_eq!(written, step.min(3), "after {stop_after} deltas: {:?}", interrupted.hunks);
        world.reject(turn).await.unwrap();
        assert_eq!(world.text(list).await, LIST, "after {stop_after} deltas");
    }
}

/// [T7] A model that says nothing does not hold up a stop; neither does one that cannot be reached.
#[tokio::test]
async fn a_silent_model_is_stopped_as_well() {
    let demo = Demo::start(DemoOptions { first_token_delay: Duration::from_mins(10), ..quick() }).await;
    let world = World::with(demo.provider()).await;
    let list = world.document("list.txt", LIST).await;
    let mut ada = world.join(list).await;
    let turn = world.start("replace one with two", list).await;
    eventually("the turn to run", async || {
        (world.turn(turn).await.status == TurnStatus::Running).then_some(())
    })
    .await;
    ada.wait_for_agent("the agent to read", |agent| agent.is_some()).await;
    let stopping = world.supervisor.interrupt(world.project, turn);
    let interrupted = tokio::time::timeout(support::PATIENCE, stopping).await.unwrap().unwrap();
    assert_eq!(interrupted.status, TurnStatus::Interrupted);
    assert_eq!(world.text(list).await, LIST);
    ada.wait_for_agent("the agent to leave", |agent| agent.is_none()).await;
}

/// [T7] A stop in the middle of a command about a document waits for what becomes of it: what happened is recorded,
/// and rejecting takes it back.
#[tokio::test]
async fn a_stop_during_a_command_records_what_the_command_did() {
    let commands = [
        ("delete list.txt", "*** Delete File: list.txt\n", None, None),
        (
            "move list.txt to moved.txt",
            "*** Update File: list.txt\n*** Move to: moved.txt\n",
            Some("moved.txt"),
            None,
        ),
        ("make new.txt", "*** Add File: new.txt\n+new\n", Some("list.txt"), Some("new.txt")),
    ];
    for (prompt, section, list_is_at, made_at) in commands {
        let script = Script::new();
        let world = World::with(script.clone()).await;
        let list = world.document("list.txt", LIST).await;
        let turn = world.start(prompt, list).await;
        let mut call = script.call().await;
        let item = call.begin_patch().await;
        let held = world.files.lock.clone().lock_owned().await;
        call.delta(item, &format!("*** Begin Patch\n{section}*** End Patch\n")).await;
        eventually("the command", async || (world.files.begun.load(Ordering::SeqCst) == 1).then_some(()))
            .await;
        let release = async {
            eventually("the stop", async || call.cancelled.is_cancelled().then_some(())).await;
            drop(held);
        };
        let (interrupted, ()) = tokio::join!(world.supervisor.interrupt(world.project, turn), release);
        let interrupted = interrupted.unwrap();
        assert_eq!(interrupted.status, TurnStatus::Interrupted);
        let states: Vec<HunkState> = interrupted.hunks.iter().map(|hunk| hunk.state).collect();
        assert_eq!(states, [HunkState::Applied], "{prompt}: {interrupted:?}");
        // What it is now is what was recorded, and nothing comes after it.
        let of = async |path: Option<&str>| match path {
            Some(path) => world.at(path).await,
            None => None,
        };
        for _ in 0..2 {
            let is_at = world.at("list.txt").await.or(world.at("moved.txt").await);
            assert_eq!(is_at, of(list_is_at).await, "{prompt}");
            assert_eq!(made_at.is_some(), of(made_at).await.is_some(), "{prompt}");
            assert_eq!(made_at.is_none(), world.at("new.txt").await.is_none(), "{prompt}");
            tokio::task::yield_now().await;
        }
        world.reject(turn).await.unwrap();
        assert_eq!(world.at("list.txt").await, Some(list), "{prompt}");
        assert_eq!((world.at("moved.txt").await, world.at("new.txt").await), (None, None), "{prompt}");
        assert_eq!(world.text(list).await, LIST, "{prompt}");
    }
}

/// [T38] An answer that never ends is ended: what was applied stays and can be rejected.
#[tokio::test]
async fn an_answer_that_never_ends_is_ended() {
    // Of a hunk that has no place, of prose, and of thoughts nobody is shown.
    let events: [fn(u32, String) -> ModelEvent; 3] = [
        |item, delta| ModelEvent::ToolInputDelta { item, delta },
        |_, text| ModelEvent::TextDelta(text),
        |_, text| ModelEvent::ReasoningDelta(text),
    ];
    let piece = format!("-{}\n", "again and ".repeat(6)).repeat(1000);
    for event in events {
        let script = Script::new();
        let world = World::with(script.clone()).await;
        let list = world.document("list.txt", LIST).await;
        let turn = world.start("count", list).await;
        let mut call = script.call().await;
        let item = call.begin_patch().await;
        let (first, _) = PATCH.split_at(PATCH.find("@@\n-three").unwrap());
        call.delta(item, &format!("{first}@@\n")).await;
        let mut said = 0;
        while said < 2 * limits::ANSWER_BYTES && !call.cancelled.is_cancelled() {
            call.event(event(item, piece.clone())).await;
            said += piece.len();
        }
        let ended = world.ended(turn).await;
        assert_eq!(ended.status, TurnStatus::Failed);
        assert_eq!(
            ended.error.as_ref().map(|error| error.code.as_str()),
            Some("answer_too_long"),
            "{:?}",
            ended.error
        );
        assert!(said >= limits::ANSWER_BYTES, "it was ended after {said} bytes");
        assert_eq!(world.text(list).await, LIST.replace("one\n", "one\none and a half\n"));
        world.reject(turn).await.unwrap();
        assert_eq!(world.text(list).await, LIST);
    }
}

/// [T6] A turn that waits is taken out of the queue, and those behind it move up.
#[tokio::test]
async fn a_waiting_turn_is_taken_out_of_the_queue() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let list = world.document("list.txt", LIST).await;
    let first = world.start("first", list).await;
    let call = script.call().await;
    let second = world.start("second", list).await;
    let third = world.start("third", list).await;
    let interrupted = world.supervisor.interrupt(world.project, second).await.unwrap();
    assert_eq!(interrupted.status, TurnStatus::Interrupted);
    assert_eq!(world.turn(first).await.status, TurnStatus::Running);
    call.done().await;
    let next = script.call().await;
    assert!(next.shown().contains("<prompt>\nthird\n"));
    next.done().await;
    assert_eq!(world.ended(third).await.status, TurnStatus::Done);
}

/// [T8] When the server stops, turns are interrupted, say so, and no new one is taken.
#[tokio::test]
async fn a_stopping_server_interrupts_its_turns() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let list = world.document("list.txt", LIST).await;
    let running = world.start("count", list).await;
    let waiting = world.start("wait", list).await;
    let mut call = script.call().await;
    let item = call.begin_patch().await;
    call.delta(item, PATCH.split_at(PATCH.find(" two\n").unwrap()).0).await;
    world.wait_for_text(list, &LIST.replace("one\n", "one\none and a half\n")).await;

    world.stop.cancel();
    world.tasks.close();
    tokio::time::timeout(support::PATIENCE, world.tasks.wait()).await.unwrap();
    for turn in [running, waiting] {
        assert_eq!(world.turn(turn).await.status, TurnStatus::Interrupted);
    }
    let refused = world.supervisor.start(world.asks("one more", Some(list))).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Busy);
    assert_eq!(world.supervisor.recover().await.unwrap(), 0);
}

/// [T7] A turn at a thousand tokens a second stops in the middle of a long answer.
#[tokio::test]
async fn a_fast_model_is_stopped_in_the_middle() {
    let demo = Demo::start(DemoOptions { tokens_per_second: 1000, ..quick() }).await;
    let world = World::with(demo.provider()).await;
    let lines: Vec<String> = (0..200)
        .map(|line| format!("price_{line} = total + {line}\n{}", "unchanged = True\n".repeat(8)))
        .collect();
    let text = lines.concat();
    let long = world.document("long.py", &text).await;
    let turn = world.start("rename total to subtotal", long).await;
    eventually("the first edit", async || (world.text(long).await != text).then_some(())).await;
    let interrupted = world.supervisor.interrupt(world.project, turn).await.unwrap();
    assert_eq!(interrupted.status, TurnStatus::Interrupted);
    let stopped = world.text(long).await;
    assert_ne!(stopped, text.replace("total +", "subtotal +"), "it was stopped before its end");
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(world.text(long).await, stopped);
    world.reject(turn).await.unwrap();
    assert_eq!(world.text(long).await, text);
}
