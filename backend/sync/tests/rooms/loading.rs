//! Documents that open again: from snapshots, damaged, after a process died at them, restored, or not at all.

use super::*;

/// [D4] A document loads from snapshot and log to the text it had, with versions that go on.
#[tokio::test]
async fn a_long_history_is_reopened_from_a_snapshot() {
    let mut world = World::new().await;
    let mut ada = world.joined(10, 0).await;
    let updates = limits::SNAPSHOT_UPDATES as usize + 20;
    for _ in 0..updates {
        ada.type_at(0, "a").await;
    }
    ada.until(|seen| seen.statuses.len() == updates + 1).await;
    let text = world.text().await;
    let loaded = loop {
        let loaded = world.store.load_document(world.document).await.unwrap().unwrap();
        if loaded.snapshot.is_some() {
            break loaded;
        }
        tokio::task::yield_now().await;
    };
    assert!(loaded.updates.len() < updates);
    world.restart();
    let base = world.room().await.read().await.unwrap();
    assert_eq!((base.text.to_string(), base.version.seq as usize), (text, updates));
}

/// [D21] A document that fails to load twice opens for reading, from what is readable, and takes nothing new.
#[tokio::test]
async fn a_damaged_document_opens_for_reading() {
    let mut world = World::new().await;
    let mut ada = world.joined(10, 0).await;
    ada.type_at(0, "good").await;
    ada.until(|seen| seen.statuses.len() == 2).await;
    let author = ensemble_store::Author::default();
    let broken = NewUpdate {
        document: world.document,
        epoch: 1,
        bytes: Bytes::from_static(b"not an update"),
        author,
        clients: Vec::new(),
        ledger: Vec::new(),
        stamp: world.registry.stamp(),
    };
    world.store.commit(Write::update(broken)).await.unwrap();
    world.restart();
    assert!(matches!(world.registry.open(world.document).await, Err(RoomError::Store { .. })));
    let room = world.room().await;
    assert!(room.is_damaged());
    assert_eq!(&*room.read().await.unwrap().text, "good");
    let mut bob = world.joined(20, 1).await;
    bob.until_text("good").await;
    bob.type_at(0, "more").await;
    bob.until(|seen| seen.statuses.last() == Some(&false)).await;
    let write = turn_write(world.turn().await, world.members[0], Vec::new());
    assert!(matches!(room.write(write).await, Err(RoomError::Damaged(_))));
}

/// [D21] A document that two processes were killed at while they loaded it, and that is sound, opens for writing.
/// One that took a third with it is not tried again.
#[tokio::test]
async fn a_sound_document_that_failed_to_load_opens_for_writing() {
    let mut world = World::new().await;
    world.joined(10, 0).await.type_at(0, "good").await;
    assert_eq!(world.text().await, "good");
    for (deaths, opens_whole) in [(2, true), (3, false)] {
        for _ in 0..deaths {
            world.store.note_load_failure(world.document).await.unwrap();
        }
        world.restart();
        let room = world.room().await;
        assert_eq!(room.is_damaged(), !opens_whole, "after {deaths} deaths");
        let left = world.store.load_failures(world.document).await.unwrap();
        assert_eq!(left, if opens_whole { 0 } else { deaths });
    }
}

/// [D21] A document of which nothing is there is not taken for one that killed the process.
#[tokio::test]
async fn what_is_not_there_killed_nobody() {
    let mut world = World::new().await;
    for _ in 0..2 {
        world.store.note_load_failure(world.document).await.unwrap();
    }
    world.store.commit(Write::changes([Change::DeleteDocument { id: world.document }])).await.unwrap();
    world.restart();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("in-flight");
    world.registry.remember_in_flight(&file).unwrap();
    assert!(matches!(world.registry.open(world.document).await, Err(RoomError::NotFound(_))));
    assert_eq!(InFlight::read(&file).unwrap(), []);
}

/// [T1] A turn whose document is deleted under its write is told that it does not exist.
#[tokio::test]
async fn a_write_into_a_deleted_document_finds_none() {
    let world = World::new().await;
    let (room, turn) = (world.room().await, world.turn().await);
    let base = room.read().await.unwrap();
    world.store.commit(Write::changes([Change::DeleteDocument { id: world.document }])).await.unwrap();
    let write = turn_write(turn, world.members[0], vec![edit(&base, 1, 0, 0, "late")]);
    assert!(matches!(room.write(write).await, Err(RoomError::NotFound(id)) if id == world.document));
}

/// [S16] An update that took two processes with it is not taken again, also not after further restarts.
#[tokio::test]
async fn what_took_the_process_with_it_is_not_taken_again() {
    let mut world = World::new().await;
    let ada = world.joined(10, 0).await;
    let update = ada.edit(0, 0, "deadly");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("in-flight");
    for died_before in 0..2 {
        // What a process leaves behind that dies while it applies the update: the notes it began with, and a slot.
        let aside = folder.path().join("aside");
        let died = InFlight::open(&aside).unwrap();
        let head = std::fs::read(&aside).unwrap();
        let mut slot = died.slot(world.document).unwrap();
        slot.begin(ensemble_sync::document::bytes_hash(&update));
        std::mem::forget(slot);
        let mut left = std::fs::read(&file).unwrap_or_else(|_| head.clone());
        left.extend_from_slice(&std::fs::read(&aside).unwrap()[head.len()..]);
        std::fs::write(&file, left).unwrap();
        world.restart();
        world.registry.remember_in_flight(&file).unwrap();
        assert_eq!(InFlight::noted(&file).unwrap().len(), died_before + 1);
    }
    // A run without a death, and one more.
    for _ in 0..2 {
        world.restart();
        world.registry.remember_in_flight(&file).unwrap();
    }
    let mut eve = world.joined(30, 0).await;
    eve.say(PeerMessage::Update(update)).await;
    eve.until(|seen| seen.detached.is_some()).await;
    assert_eq!(eve.seen.detached, Some(ErrorCode::MalformedUpdate));
    let mut bob = world.joined(20, 1).await;
    let before = bob.seen.statuses.len();
    bob.type_at(0, "alive").await;
    bob.until(|seen| seen.statuses.len() > before).await;
    assert_eq!(world.text().await, "alive");
}

/// [S16] An update at which the process was killed from outside is taken when it comes again.
#[tokio::test]
async fn what_a_killed_process_was_at_is_taken() {
    let mut world = World::new().await;
    let ada = world.joined(10, 0).await;
    let update = ada.edit(0, 0, "honest");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("in-flight");
    {
        let killed = InFlight::open(&file).unwrap();
        let mut slot = killed.slot(world.document).unwrap();
        slot.begin(ensemble_sync::document::bytes_hash(&update));
        std::mem::forget(slot);
    }
    world.restart();
    world.registry.remember_in_flight(&file).unwrap();
    let mut again = world.joined(10, 0).await;
    let before = again.seen.statuses.len();
    again.say(PeerMessage::Update(update)).await;
    again.until(|seen| seen.statuses.len() > before).await;
    assert_eq!(again.seen.statuses.last(), Some(&true));
    assert_eq!(world.text().await, "honest");
}

/// [D22] A client that is ahead of a restored backup brings back what it lacks, agents' text too, once.
#[tokio::test]
async fn what_came_after_a_restored_backup_is_brought_back() {
    let mut world = World::new().await;
    let mut ada = world.joined(10, 0).await;
    let mut bob = world.joined(20, 1).await;
    ada.type_at(0, "one ").await;
    ada.until(|seen| seen.statuses.len() == 2).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup.db");
    world.store.backup(&file).await.unwrap();

    ada.type_at(4, "two ").await;
    bob.until_text("one two ").await;
    let room = world.room().await;
    let base = room.read().await.unwrap();
    let turn = world.turn().await;
    let edits = vec![edit(&base, 1, 8, 8, "three")];
    room.write(turn_write(turn, world.members[0], edits)).await.unwrap();
    bob.until_text("one two three").await;
    drop(room);

    world.store = Arc::new(SqliteStore::open(&file, Arc::new(SystemClock)).await.unwrap());
    world.restart();
    world.registry.recover_all(Lost::SinceBackup);
    assert_eq!(world.text().await, "one ");
    // Bob comes back first, with everybody's text; Ada after him, with the same.
    for (mut peer, client, member) in [(bob, 20, 1), (ada, 10, 0)] {
        let fresh = world.peer(client, member, Scope::ReadWrite).await;
        peer.guard = fresh.guard;
        peer.outbox = fresh.outbox;
        peer.seen = Seen::default();
        peer.sync().await;
        assert_eq!(peer.seen.detached, None);
        peer.type_at(0, "!").await;
        peer.until(|seen| seen.statuses.len() == 2).await;
        assert_eq!(peer.seen.statuses, [true, true]);
    }
    assert_eq!(world.text().await, "!!one two three");
}

/// [D1] A few large pastes are as good a reason for a snapshot as many keystrokes.
#[tokio::test]
async fn large_updates_are_snapshotted_by_their_bytes() {
    let world = World::new().await;
    let mut ada = world.joined(10, 0).await;
    let line = "x".repeat(64 * 1024);
    let pastes = limits::SNAPSHOT_BYTES / line.len() + 1;
    for _ in 0..=pastes {
        ada.type_at(0, &line).await;
    }
    ada.until(|seen| seen.statuses.len() == pastes + 2).await;
    ada.type_at(0, "!").await;
    let kept = async {
        while world.store.load_document(world.document).await.unwrap().unwrap().snapshot.is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), kept).await.expect("a snapshot is kept");
}
