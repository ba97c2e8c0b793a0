//! Reviews that end half way, and are made again.

#![allow(clippy::unwrap_used, reason = "a test that fails should panic")]

mod support;

use ensemble_protocol::id::TurnId;
use ensemble_protocol::rest::{HunkState, Review};
use ensemble_store::{Author, NewUpdate, Write};

use support::model::Script;
use support::{World, states};

/// A turn that does what a patch says.
async fn patched(world: &World, script: &Script, prompt: &str, at: &str, patch: &str) -> TurnId {
    let turn = world.start(prompt, world.at(at).await.unwrap()).await;
    let mut call = script.call().await;
    call.patch(patch).await;
    call.done().await;
    let ended = world.ended(turn).await;
    assert!(states(&ended).iter().all(|state| *state == HunkState::Applied), "{ended:?}");
    turn
}

/// [L11] One document that cannot be written keeps its hunks undecided, and nothing else of the turn.
#[tokio::test]
async fn a_damaged_document_does_not_keep_the_others_from_following() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let damaged = world.document("a.py", "a = 1\n").await;
    let moved = world.document("b.py", "b = 1\n").await;
    let patch = "\
*** Begin Patch
*** Update File: a.py
@@
-a = 1
+a = 2
*** Update File: b.py
*** Move to: c.py
@@
-b = 1
+b = 2
*** Add File: new.py
+n = 1
*** End Patch
";
    let turn = patched(&world, &script, "change all files and rename b.py to c.py", "a.py", patch).await;
    assert_eq!(world.text(moved).await, "b = 2\n");
    assert!(world.at("new.py").await.is_some() && world.at("c.py").await == Some(moved));

    world.rooms.close(damaged);
    let garbage = NewUpdate {
        document: damaged,
        epoch: 1,
        bytes: vec![0xff; 8].into(),
        author: Author::default(),
        clients: Vec::new(),
        ledger: Vec::new(),
        stamp: world.rooms.stamp(),
    };
    world.store.commit(Write { updates: vec![garbage], ..Write::default() }).await.unwrap();
    for _ in 0..2 {
        world.reject(turn).await.unwrap_err();
        assert_eq!(world.at("new.py").await, None, "what it made goes");
        assert_eq!((world.at("b.py").await, world.at("c.py").await), (Some(moved), None));
        assert_eq!(world.text(moved).await, "b = 1\n");
        let seen = world.turn(turn).await;
        assert_eq!(seen.review, Review::Open, "{seen:?}");
        let open = seen.hunks.iter().filter(|hunk| hunk.state == HunkState::Applied);
        assert!(open.clone().all(|hunk| hunk.document == Some(damaged)) && open.count() == 1, "{seen:?}");
    }
}

/// [L11] The process died between the rejected text and the document that was to go with it.
#[tokio::test]
async fn rejecting_again_takes_away_what_is_left_of_a_document() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let shop = world.document("shop.py", "x = 1\n").await;
    let patch = "*** Begin Patch\n*** Add File: new.py\n+n = 1\n*** End Patch\n";
    let turn = patched(&world, &script, "add a module", "shop.py", patch).await;
    let made = world.at("new.py").await.unwrap();
    world.reject(turn).await.unwrap();
    assert_eq!(world.at("new.py").await, None);
    // As it was a moment before the end.
    ensemble_agent::Documents::restore(&*world.files, world.project, world.owner, made).await.unwrap();
    assert_eq!(world.text(made).await, "");
    world.reject(turn).await.unwrap();
    assert_eq!(world.at("new.py").await, None);
    assert_eq!(world.text(shop).await, "x = 1\n");
    world.accept(turn).await.unwrap();
    assert_eq!(world.text(made).await, "n = 1\n");
}

/// [L11] A document returned, and the process died before its text had followed what was decided meanwhile.
#[tokio::test]
async fn a_document_that_returned_follows_what_was_decided_while_it_was_gone() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let shop = world.document("shop.py", "x = 1\ny = 1\n").await;
    world.document("other.py", "z = 1\n").await;
    let patch = "*** Begin Patch\n*** Update File: shop.py\n@@\n-x = 1\n+x = 2\n*** End Patch\n";
    let wrote = patched(&world, &script, "change x", "shop.py", patch).await;
    let patch = "*** Begin Patch\n*** Delete File: shop.py\n*** End Patch\n";
    let deleted = patched(&world, &script, "delete shop.py and other files", "other.py", patch).await;
    assert_eq!(world.at("shop.py").await, None);
    world.reject(wrote).await.unwrap();
    ensemble_agent::Documents::restore(&*world.files, world.project, world.owner, shop).await.unwrap();
    assert_eq!(world.text(shop).await, "x = 2\ny = 1\n", "the process died here");
    world.reject(deleted).await.unwrap();
    assert_eq!(world.text(shop).await, "x = 1\ny = 1\n");
}

/// [L3] An empty file somebody made while the turn waited is not one the turn made, whatever the turn did with it.
#[tokio::test]
async fn an_empty_document_of_somebody_else_stays() {
    let script = Script::new();
    let world = World::with(script.clone()).await;
    let shop = world.document("shop.py", "x = 1\n").await;
    let before = world.start("look", shop).await;
    let call = script.call().await;
    let turn = world.start("rename notes.md to other.md", shop).await;
    let notes = world.document("notes.md", "").await;
    call.done().await;
    world.ended(before).await;
    let mut call = script.call().await;
    call.patch("*** Begin Patch\n*** Update File: notes.md\n*** Move to: other.md\n*** End Patch\n").await;
    call.done().await;
    let ended = world.ended(turn).await;
    assert_eq!(world.at("other.md").await, Some(notes), "{ended:?}");
    world.reject(turn).await.unwrap();
    assert_eq!((world.at("notes.md").await, world.at("other.md").await), (Some(notes), None));
}
