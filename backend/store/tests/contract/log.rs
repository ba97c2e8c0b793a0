//! The log of a document, and what is committed with it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use ensemble_protocol::id::{DocumentId, HunkId, PeerId, TurnId, Version};
use ensemble_store::{
    Author, Change, ClientOwner, ClientRecord, Clock as _, Conflict, Hash, Ids as _, LedgerActor,
    LedgerEntry, LedgerKind, NewSnapshot, Store as _, StoreError, Write,
};

use crate::support::{Disk, advance, on_every_store};

/// [D1] Updates of a document are numbered from 1 without gaps, whoever writes at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_have_no_gaps_under_concurrency() {
    on_every_store(async |world| {
        let (project, _) = world.project().await;
        let documents = [world.document(project, "a").await, world.document(project, "b").await];
        let world = Arc::new(world);
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let world = Arc::clone(&world);
                let document = documents[writer % 2];
                tokio::spawn(async move {
                    let mut last = 0;
                    for number in 0..25 {
                        let version = world.append(document, &format!("{writer}.{number}")).await;
                        assert!(version.seq > last, "a writer's own updates keep their order");
                        last = version.seq;
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        for document in documents {
            let loaded = world.store.load_document(document).await.unwrap().unwrap();
            assert_eq!(loaded.document.last_seq, 100);
            let numbers: Vec<_> = loaded.updates.iter().map(|update| update.seq).collect();
            assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
            let texts: BTreeSet<_> = world.texts(document).await.into_iter().collect();
            assert_eq!(texts.len(), 100, "nothing is lost or doubled");
        }
    })
    .await;
}

/// Everything a row says is read back.
#[tokio::test]
async fn an_update_is_read_back_as_it_was_written() {
    on_every_store(async |world| {
        let (document, member) = world.one_document().await;
        let other = world.member("Bob").await;
        let mut update = world.update(document, vec![0, 255, 1, 254]);
        update.author = Author {
            member: Some(member),
            connection: Some(PeerId::from_uuid(world.ids.uuid())),
            turn: Some(TurnId::from_uuid(world.ids.uuid())),
            via: Some(other),
        };
        let committed = world.store.commit(Write::update(update.clone())).await.unwrap();
        let version = Version { epoch: 1, seq: 1 };
        assert_eq!(committed.versions, [version]);

        let stored = world.store.updates_after(document, 0, 10).await.unwrap();
        assert_eq!(stored.len(), 1);
        assert_eq!(stored[0].author, update.author);
        assert_eq!(stored[0].bytes, update.bytes);
        assert_eq!(stored[0].stamp, update.stamp);
        assert_eq!((stored[0].epoch, stored[0].seq, stored[0].at), (1, 1, committed.at));
        assert_eq!(world.store.document(document).await.unwrap().unwrap().version(), version);
    })
    .await;
}

/// The log can be read in pages.
#[tokio::test]
async fn the_log_is_read_in_pages() {
    on_every_store(async |world| {
        let (document, _) = world.one_document().await;
        for text in ["a", "b", "c", "d", "e"] {
            world.append(document, text).await;
        }
        let page = world.store.updates_after(document, 1, 3).await.unwrap();
        assert_eq!(page.iter().map(|update| update.seq).collect::<Vec<_>>(), [2, 3, 4]);
        assert!(world.store.updates_after(document, 5, 3).await.unwrap().is_empty());
    })
    .await;
}

/// [D2] A write that conflicts fails alone, whole, and in its place.
#[tokio::test]
async fn a_conflict_disturbs_no_other_write_in_its_group() {
    on_every_store(async |world| {
        let (project, _) = world.project().await;
        let document = world.document(project, "main.rs").await;
        // Handed in one after the other without waiting, they meet in few commits.
        let mut commits = Vec::new();
        for number in 0..30 {
            let mut write = Write::update(world.update(document, format!("{number}")));
            if number % 3 == 1 {
                // Half of it would work; all of it must not.
                let (_, taken) = world.creating(project, "main.rs");
                let (_, free) = world.creating(project, &format!("{number}.rs"));
                write.changes = vec![free, taken];
            }
            commits.push(world.store.submit(write).await.unwrap());
        }
        let mut seq = 0;
        for (number, commit) in commits.into_iter().enumerate() {
            if number % 3 == 1 {
                let error = commit.await.unwrap_err();
                assert_eq!(error.conflict(), Some(&Conflict::PathTaken), "{number}");
            } else {
                seq += 1;
                assert_eq!(commit.await.unwrap().versions, [Version { epoch: 1, seq }], "{number}");
            }
        }
        let expected: Vec<_> =
            (0..30).filter(|number| number % 3 != 1).map(|number| number.to_string()).collect();
        assert_eq!(world.texts(document).await, expected);
        assert_eq!(world.store.documents_of(project).await.unwrap().len(), 1);
    })
    .await;
}

/// A write whose fate is unknown may be sent again.
#[tokio::test]
async fn a_repeated_stamp_is_answered_with_the_first_outcome() {
    on_every_store(async |world| {
        let (project, member) = world.project().await;
        let (document, create) = world.creating(project, "main.rs");
        let owner = ClientOwner::Member(member);
        let mut first = world.update(document, "hello");
        first.clients = vec![advance(7, 0, 5, owner)];
        let second = world.update(document, "world");
        let write = Write { changes: vec![create], updates: vec![first, second] };

        let committed = world.store.commit(write.clone()).await.unwrap();
        assert_eq!(committed.versions.len(), 2);
        world.append(document, "between").await;
        world.clock.advance(std::time::Duration::from_mins(1));
        assert_eq!(world.store.commit(write.clone()).await.unwrap(), committed);
        assert_eq!(world.texts(document).await, ["hello", "world", "between"]);

        // Also when the document has gone in the meantime.
        world.commit([Change::DeleteDocument { id: document }]).await.unwrap();
        assert_eq!(world.store.commit(write.clone()).await.unwrap(), committed);

        // A single update takes a shorter way, to the same end.
        let elsewhere = world.document(project, "lib.rs").await;
        let mut alone = world.update(elsewhere, "once");
        alone.clients = vec![advance(7, 0, 4, owner)];
        let alone = Write::update(alone);
        let committed = world.store.commit(alone.clone()).await.unwrap();
        assert_eq!(world.store.commit(alone).await.unwrap(), committed);
        assert_eq!(world.texts(elsewhere).await, ["once"]);

        // A part of a write is not the write.
        let mut longer = write;
        longer.updates.push(world.update(document, "more"));
        let error = world.store.commit(longer).await.unwrap_err();
        assert_eq!(error.conflict(), Some(&Conflict::Stamp));
    })
    .await;
}

/// Client ids have one owner and one clock, in the database.
#[tokio::test]
async fn a_client_moves_on_only_from_where_it_is() {
    on_every_store(async |world| {
        let (document, member) = world.one_document().await;
        let owner = ClientOwner::Member(member);
        let agent = ClientOwner::Turn(TurnId::from_uuid(world.ids.uuid()));
        let write = |clients| {
            let mut update = world.update(document, "x");
            update.clients = clients;
            world.store.commit(Write::update(update))
        };
        let conflict = |result: Result<_, StoreError>| result.unwrap_err().conflict().cloned().unwrap();

        write(vec![advance(7, 0, 5, owner)]).await.unwrap();
        write(vec![advance(7, 5, 6, owner), advance(8, 0, 2, owner)]).await.unwrap();

        let clock = |client, first, next_clock| Conflict::ClientClock { document, client, first, next_clock };
        assert_eq!(conflict(write(vec![advance(7, 5, 6, owner)]).await), clock(7, 5, 6));
        assert_eq!(conflict(write(vec![advance(7, 9, 10, owner)]).await), clock(7, 9, 6));
        assert_eq!(conflict(write(vec![advance(9, 3, 4, owner)]).await), clock(9, 3, 0));
        // The first client would do, the second does not: neither moves.
        assert_eq!(
            conflict(write(vec![advance(7, 6, 7, owner), advance(8, 0, 1, owner)]).await),
            clock(8, 0, 2)
        );
        let owned = Conflict::ClientOwned { document, client: 7, owner };
        assert_eq!(conflict(write(vec![advance(7, 6, 7, agent)]).await), owned);

        // Reserving an id makes its owner known before it is used, also the largest id there can be.
        write(vec![advance(u64::MAX, 0, 0, agent), advance(3, 0, 0, ClientOwner::Server)]).await.unwrap();
        let owned = Conflict::ClientOwned { document, client: u64::MAX, owner: agent };
        assert_eq!(conflict(write(vec![advance(u64::MAX, 0, 1, owner)]).await), owned);
        write(vec![advance(u64::MAX, 0, 1, agent)]).await.unwrap();

        let mut clients = world.store.clients_of(document).await.unwrap();
        clients.sort_by_key(|client| client.client);
        let record = |client, owner, next_clock| ClientRecord { client, owner, next_clock };
        assert_eq!(
            clients,
            [
                record(3, ClientOwner::Server, 0),
                record(7, owner, 6),
                record(8, owner, 2),
                record(u64::MAX, agent, 1)
            ]
        );
        assert_eq!(world.texts(document).await.len(), 4, "only what did not conflict was appended");
    })
    .await;
}

/// The ledger is written with its update and read by turn and by document.
#[tokio::test]
async fn the_ledger_is_committed_with_its_update() {
    on_every_store(async |world| {
        let (project, member) = world.project().await;
        let document = world.document(project, "main.rs").await;
        let turn = world.turn(project, member).await.id;
        let other = world.turn(project, member).await.id;
        let entry = |turn, hunk: Option<u32>, kind, clock, text: Option<&str>| LedgerEntry {
            by: LedgerActor::Turn(turn),
            hunk: hunk.map(HunkId),
            kind,
            client: 9,
            clock,
            length: 3,
            text: text.map(str::to_owned),
            of: None,
        };
        let inserted = entry(turn, Some(1), LedgerKind::Inserted, 0, None);
        let deleted = entry(turn, Some(1), LedgerKind::Deleted, 40, Some("old"));
        let foreign = entry(other, None, LedgerKind::Inserted, 3, None);
        let withdrawn = entry(turn, None, LedgerKind::Withdrawn, 0, Some("new"));
        let restored =
            LedgerEntry { of: Some((u64::MAX, 40)), ..entry(turn, None, LedgerKind::Restored, 0, None) };
        let by = LedgerActor::Member(member);
        let also = LedgerEntry { by, ..entry(turn, None, LedgerKind::AlsoDeleted, 40, None) };

        let mut update = world.update(document, "write");
        update.ledger = vec![inserted.clone(), deleted.clone(), foreign.clone()];
        world.store.commit(Write::update(update)).await.unwrap();
        let mut update = world.update(document, "reject");
        update.ledger = vec![withdrawn.clone(), restored.clone(), also.clone()];
        world.store.commit(Write::update(update)).await.unwrap();

        let of_turn = world.store.ledger_of_turn(turn).await.unwrap();
        let entries: Vec<_> = of_turn.iter().map(|stored| (stored.version.seq, &stored.entry)).collect();
        assert_eq!(entries, [(1, &inserted), (1, &deleted), (2, &withdrawn), (2, &restored)]);
        assert!(of_turn.iter().all(|stored| stored.document == document));
        let of_document = world.store.ledger_of_document(document).await.unwrap();
        let entries: Vec<_> = of_document.iter().map(|stored| &stored.entry).collect();
        assert_eq!(entries, [&inserted, &deleted, &foreign, &withdrawn, &restored, &also]);
        let outline = world.store.ledger_outline(document).await.unwrap();
        assert!(outline.iter().all(|stored| stored.entry.text.is_none()));
        assert_eq!(outline.len(), of_document.len());
    })
    .await;
}

/// What goes on where an entry of the same hunk ended makes it longer; anything else is an entry of its own.
#[tokio::test]
async fn entries_of_one_hunk_grow() {
    on_every_store(async |world| {
        let (project, member) = world.project().await;
        let document = world.document(project, "main.rs").await;
        let turn = world.turn(project, member).await.id;
        let entry = |hunk, kind, clock, length, text: Option<&str>| LedgerEntry {
            by: LedgerActor::Turn(turn),
            hunk: Some(HunkId(hunk)),
            kind,
            client: 9,
            clock,
            length,
            text: text.map(str::to_owned),
            of: None,
        };
        let (inserted, deleted) = (LedgerKind::Inserted, LedgerKind::Deleted);
        for flush in 0..40 {
            let mut update = world.update(document, "flush");
            update.ledger = vec![
                entry(1, inserted, flush * 5, 5, None),
                entry(1, deleted, 1000 + flush, 1, Some(&(flush % 10).to_string())),
            ];
            world.store.commit(Write::update(update)).await.unwrap();
        }
        let mut update = world.update(document, "another hunk");
        update.ledger = vec![entry(2, inserted, 200, 5, None), entry(1, inserted, 206, 1, None)];
        world.store.commit(Write::update(update)).await.unwrap();
        let ledger = world.store.ledger_of_document(document).await.unwrap();
        let entries: Vec<_> = ledger.into_iter().map(|stored| stored.entry).collect();
        assert_eq!(
            entries,
            [
                entry(1, inserted, 0, 200, None),
                entry(1, deleted, 1000, 40, Some(&"0123456789".repeat(4))),
                entry(2, inserted, 200, 5, None),
                entry(1, inserted, 206, 1, None),
            ]
        );
    })
    .await;
}

/// A ledger of very many entries is kept whole and in order.
#[tokio::test]
async fn a_long_ledger_is_kept_in_order() {
    on_every_store(async |world| {
        let (project, member) = world.project().await;
        let document = world.document(project, "main.rs").await;
        let turn = world.turn(project, member).await.id;
        let by_turn = |at: u32| LedgerEntry {
            by: LedgerActor::Turn(turn),
            hunk: Some(HunkId(at % 3)),
            kind: LedgerKind::Deleted,
            client: 9,
            clock: 2 * at,
            length: 1,
            text: Some(at.to_string()),
            of: None,
        };
        let by_person = |at: u32| LedgerEntry {
            by: LedgerActor::Member(member),
            hunk: None,
            kind: LedgerKind::AlsoDeleted,
            text: None,
            ..by_turn(at)
        };
        let entry = |at: u32| if at.is_multiple_of(5) { by_person(at) } else { by_turn(at) };
        for count in [65, 1_000] {
            let ledger: Vec<LedgerEntry> = (0..count).map(entry).collect();
            let before = world.store.ledger_of_document(document).await.unwrap().len();
            let mut update = world.update(document, "here and there");
            update.ledger.clone_from(&ledger);
            world.store.commit(Write::update(update)).await.unwrap();
            let kept = world.store.ledger_of_document(document).await.unwrap();
            let kept: Vec<_> = kept.into_iter().skip(before).map(|stored| stored.entry).collect();
            assert_eq!(kept, ledger);
        }
    })
    .await;
}

/// Updates need a live document in the epoch they were made in.
#[tokio::test]
async fn an_update_fits_its_document_or_is_refused() {
    on_every_store(async |world| {
        let (document, _) = world.one_document().await;
        let nowhere = DocumentId::from_uuid(world.ids.uuid());
        let error = world.store.commit(Write::update(world.update(nowhere, "x"))).await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound { .. }), "{error}");

        let mut update = world.update(document, "x");
        update.epoch = 2;
        let error = world.store.commit(Write::update(update)).await.unwrap_err();
        assert_eq!(error.conflict(), Some(&Conflict::Epoch { document, epoch: 1 }));

        world.append(document, "kept").await;
        world.commit([Change::DeleteDocument { id: document }]).await.unwrap();
        let error = world.store.commit(Write::update(world.update(document, "x"))).await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
        assert_eq!(world.texts(document).await, ["kept"], "the log outlives the document");
    })
    .await;
}

/// A path belongs to one live document of a project.
#[tokio::test]
async fn a_path_is_taken_once_and_free_again_after_deletion() {
    on_every_store(async |world| {
        let (project, _) = world.project().await;
        let (elsewhere, _) = world.project().await;
        let first = world.document(project, "main.rs").await;
        world.document(elsewhere, "main.rs").await;
        let second = world.document(project, "lib.rs").await;

        let taken = |result: Result<_, StoreError>| {
            assert_eq!(result.unwrap_err().conflict(), Some(&Conflict::PathTaken));
        };
        let (_, again) = world.creating(project, "main.rs");
        taken(world.commit([again.clone()]).await);
        taken(world.commit([Change::RenameDocument { id: second, path: "main.rs".to_owned() }]).await);

        world.commit([Change::DeleteDocument { id: first }]).await.unwrap();
        world.commit([again]).await.unwrap();
        let paths: Vec<_> =
            world.store.documents_of(project).await.unwrap().into_iter().map(|found| found.path).collect();
        assert_eq!(paths, ["lib.rs", "main.rs"]);

        // Two at once: one of them wins, without an answer in between.
        let (_, one) = world.creating(project, "new.rs");
        let (_, two) = world.creating(project, "new.rs");
        let one = world.store.submit(Write::changes([one])).await.unwrap();
        let two = world.store.submit(Write::changes([two])).await.unwrap();
        one.await.unwrap();
        taken(two.await);
        // An id is never used twice.
        let same = Change::CreateDocument {
            id: first,
            project,
            path: "other.rs".to_owned(),
            kind: ensemble_store::DocumentKind::Text,
            epoch: 1,
        };
        let error = world.commit([same]).await.unwrap_err();
        assert_eq!(error.conflict(), Some(&Conflict::Exists { table: "documents" }));
    })
    .await;
}

fn snapshot(document: DocumentId, seq: u64, bytes: &'static str) -> NewSnapshot {
    NewSnapshot {
        document,
        epoch: 1,
        seq,
        bytes: Bytes::from_static(bytes.as_bytes()),
        text_hash: Hash([7; 32]),
    }
}

/// A snapshot shortens loading.
#[tokio::test]
async fn loading_starts_at_the_newest_snapshot() {
    on_every_store(async |world| {
        let (document, _) = world.one_document().await;
        for text in ["a", "b", "c"] {
            world.append(document, text).await;
        }
        world.store.put_snapshot(snapshot(document, 1, "a")).await.unwrap();
        world.store.put_snapshot(snapshot(document, 2, "ab")).await.unwrap();
        let loaded = world.store.load_document(document).await.unwrap().unwrap();
        let found = loaded.snapshot.unwrap();
        assert_eq!((found.seq, &found.bytes[..], found.text_hash), (2, &b"ab"[..], Hash([7; 32])));
        assert_eq!(loaded.updates.len(), 1);
        assert_eq!(loaded.updates[0].seq, 3);

        // One of the future, or of another epoch, would hide updates.
        let error = world.store.put_snapshot(snapshot(document, 4, "abcd")).await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
        let mut other = snapshot(document, 1, "z");
        other.epoch = 2;
        let error = world.store.put_snapshot(other).await.unwrap_err();
        assert_eq!(error.conflict(), Some(&Conflict::Epoch { document, epoch: 1 }));
    })
    .await;
}

/// [D5] A damaged snapshot is passed over for an older one and more of the log; three are kept.
#[tokio::test]
async fn a_damaged_snapshot_costs_time_and_not_text() {
    let disk = Disk::new();
    let (store, world) = disk.open().await;
    let (document, _) = world.one_document().await;
    for text in ["a", "b", "c", "d", "e"] {
        world.append(document, text).await;
    }
    for seq in 1..=4 {
        store.put_snapshot(snapshot(document, seq, "state")).await.unwrap();
    }
    store.close().await;
    drop((store, world));

    disk.tamper("update snapshots set bytes = x'00' where seq = 4").await;
    disk.tamper("update snapshots set text_hash = zeroblob(32) where seq = 3").await;
    let (store, world) = disk.open().await;
    let loaded = store.load_document(document).await.unwrap().unwrap();
    assert_eq!(loaded.snapshot.unwrap().seq, 2);
    assert_eq!(loaded.updates.len(), 3);
    store.close().await;
    drop((store, world));

    // The oldest of the four had gone already, so now there is none, and the log is all there is.
    disk.tamper("update snapshots set checksum = checksum + 1 where seq = 2").await;
    let (store, _world) = disk.open().await;
    let loaded = store.load_document(document).await.unwrap().unwrap();
    assert_eq!(loaded.snapshot, None);
    assert_eq!(loaded.updates.len(), 5);
}

/// [D24] A clock that jumps, by a day or back, changes nothing in the order of the log and in what is loaded.
#[tokio::test]
async fn a_clock_that_jumps_changes_no_order() {
    on_every_store(async |world| {
        let (document, _) = world.one_document().await;
        let days = [0, 1, -2, 5, -5, 400];
        for (number, day) in days.into_iter().enumerate() {
            world.clock.set(world.clock.now() + time::Duration::days(day));
            let committed = world.append(document, &format!("{number}")).await;
            assert_eq!(committed.seq, number as u64 + 1);
            if number == 2 {
                world.store.put_snapshot(snapshot(document, 3, "012")).await.unwrap();
            }
        }
        let loaded = world.store.load_document(document).await.unwrap().unwrap();
        assert_eq!(loaded.snapshot.map(|snapshot| snapshot.seq), Some(3));
        let after: Vec<_> = loaded.updates.iter().map(|update| &update.bytes[..]).collect();
        assert_eq!(after, [b"3", b"4", b"5"]);
        assert_eq!(world.texts(document).await, ["0", "1", "2", "3", "4", "5"]);
    })
    .await;
}
