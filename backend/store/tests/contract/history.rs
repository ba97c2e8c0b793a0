//! Old log rows in segments: nothing is lost, nobody notices, and damage is found.

use std::sync::Arc;
use std::time::Duration;

use ensemble_protocol::id::{DocumentId, PeerId, TurnId, Version};
use ensemble_store::{Author, ClientOwner, SqliteStore, Store as _, StoreError, StoredUpdate, Write};
use futures_util::future::join_all;

use crate::support::{Disk, World, advance, snapshot, wait_until};

/// Appends updates with all kinds of authors, many to a commit.
async fn write_log(world: &World, document: DocumentId, count: u64) {
    let mut commits = Vec::new();
    for number in 0..count {
        let mut update = world.update(document, format!("{number} "));
        update.author = Author {
            member: (number % 2 == 0).then(|| ensemble_protocol::id::MemberId::from_uuid(uuid(world))),
            connection: (number % 3 == 0).then(|| PeerId::from_uuid(uuid(world))),
            turn: (number % 5 == 0).then(|| TurnId::from_uuid(uuid(world))),
            via: (number % 7 == 0).then(|| ensemble_protocol::id::MemberId::from_uuid(uuid(world))),
        };
        commits.push(world.submit(update).await);
    }
    for commit in join_all(commits).await {
        commit.unwrap();
    }
}

fn uuid(world: &World) -> uuid::Uuid {
    ensemble_store::Ids::uuid(&world.ids)
}

async fn wait_for_log_of(disk: &Disk, rows: i64) {
    wait_until("old rows move into segments", async || {
        disk.number("select count(*) from updates").await == rows
    })
    .await;
}

async fn all(store: &SqliteStore, document: DocumentId) -> Vec<StoredUpdate> {
    store.history(document, 1, u32::MAX).await.unwrap()
}

/// [D10] Behind three good snapshots the log moves into segments, which say all that it said.
#[tokio::test(flavor = "multi_thread")]
async fn old_rows_move_into_segments_and_nothing_is_lost() {
    let disk = Disk::new();
    let (store, world) = disk.open().await;
    let (document, _) = world.one_document().await;
    write_log(&world, document, 1000).await;
    let before = all(&store, document).await;
    assert_eq!(before.len(), 1000);

    for seq in [600, 700] {
        store.put_snapshot(snapshot(document, seq, "two are not enough")).await.unwrap();
    }
    store.put_snapshot(snapshot(document, 800, "three")).await.unwrap();
    wait_for_log_of(&disk, 400).await;
    assert!(disk.number("select count(*) from segments").await >= 3, "a segment is bounded");
    assert_eq!(disk.number("select max(last_seq) from segments").await, 600);
    assert_eq!(all(&store, document).await, before, "authors, times, stamps and bytes are as they were");

    // Every page, wherever it begins and ends.
    for limit in [1, 7, 100, 256, 599] {
        let mut paged = Vec::new();
        loop {
            let page = store.updates_after(document, paged.len() as u64, limit).await.unwrap();
            if page.is_empty() {
                break;
            }
            paged.extend(page);
        }
        assert_eq!(paged, before, "pages of {limit}");
    }
    assert_eq!(store.history(document, 599, 3).await.unwrap(), before[598..601]);
    assert_eq!(store.history(document, 1001, 3).await.unwrap(), []);
    assert_eq!(store.history(document, 0, 1).await.unwrap(), before[..1]);

    // The next snapshot moves what it frees, and loading does not notice.
    store.put_snapshot(snapshot(document, 1000, "four")).await.unwrap();
    wait_for_log_of(&disk, 300).await;
    assert_eq!(all(&store, document).await, before);
    store.close().await;
    drop((store, world));
    let (store, world) = disk.open().await;
    assert_eq!(all(&store, document).await, before);
    assert_eq!(world.append(document, "more").await.seq, 1001);
}

/// A version is read as it was, from the newest snapshot before it and from segments alike.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_read_as_it_was_at_a_version() {
    let disk = Disk::new();
    let (store, world) = disk.open().await;
    let (document, _) = world.one_document().await;
    write_log(&world, document, 500).await;
    let whole = all(&store, document).await;
    for seq in [300, 400, 450] {
        store.put_snapshot(snapshot(document, seq, format!("{seq}"))).await.unwrap();
    }
    wait_for_log_of(&disk, 200).await;
    for (seq, base) in [(0, 0), (1, 0), (299, 0), (300, 300), (399, 300), (449, 400), (500, 450)] {
        let version = Version { epoch: 1, seq };
        let loaded = store.load_version(document, version, 500).await.unwrap().unwrap();
        assert_eq!(loaded.document.version(), version);
        assert_eq!(loaded.snapshot.map_or(0, |snapshot| snapshot.seq), base, "version {seq}");
        assert_eq!(loaded.updates, whole[base as usize..seq as usize], "version {seq}");
    }
    // What was never there, what is of another epoch, and what takes more reading than is asked for.
    for (epoch, seq, limit) in [(1, 501, 500), (1, u64::MAX, 500), (2, 10, 500), (1, 299, 298)] {
        let loaded = store.load_version(document, Version { epoch, seq }, limit).await.unwrap();
        assert_eq!(loaded, None, "{epoch}.{seq}");
    }
}

/// What an interrupted run left is moved at the next start.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_left_is_moved_after_opening() {
    let disk = Disk::new();
    let (store, world) = disk.open().await;
    let (document, _) = world.one_document().await;
    write_log(&world, document, 200).await;
    let before = all(&store, document).await;
    for seq in [150, 151] {
        store.put_snapshot(snapshot(document, seq, "x")).await.unwrap();
    }
    store.close().await;
    drop((store, world));
    disk.tamper(
        "insert into snapshots select document, epoch, 152, bytes, checksum, text_hash, created_at
         from snapshots where seq = 150",
    )
    .await;
    // A snapshot that is damaged does not count.
    let (store, world) = disk.open().await;
    store.put_snapshot(snapshot(document, 149, "not among the newest three")).await.unwrap();
    store.close().await;
    drop((store, world));
    assert_eq!(disk.number("select count(*) from updates").await, 200);

    disk.tamper("delete from snapshots where seq = 152").await;
    let (store, world) = disk.open().await;
    store.put_snapshot(snapshot(document, 160, "good")).await.unwrap();
    wait_for_log_of(&disk, 50).await;
    assert_eq!(all(&store, document).await, before);
    drop(world);
}

/// A few rows are not worth a segment, and a damaged one stays for somebody to look at.
#[tokio::test(flavor = "multi_thread")]
async fn few_rows_and_damaged_rows_stay() {
    let disk = Disk::new();
    let (store, world) = disk.open().await;
    let (project, _) = world.project().await;
    let small = world.document(project, "small.rs").await;
    let damaged = world.document(project, "damaged.rs").await;
    let good = world.document(project, "good.rs").await;
    write_log(&world, small, 20).await;
    for document in [damaged, good] {
        write_log(&world, document, 100).await;
    }
    disk.tamper(&format!(
        "update updates set time = time + 1 where seq = 50 and document = {}",
        hex(damaged)
    ))
    .await;
    for document in [small, damaged, good] {
        for seq in [18, 19, 20] {
            store.put_snapshot(snapshot(document, seq, "x")).await.unwrap();
        }
    }
    for document in [damaged, good] {
        for seq in [90, 91, 92] {
            store.put_snapshot(snapshot(document, seq, "x")).await.unwrap();
        }
    }
    // Documents are looked at one after the other, so what comes before has been looked at as well.
    wait_for_log_of(&disk, 20 + 100 + 10).await;
    assert_eq!(store.history(small, 1, 100).await.unwrap().len(), 20);
    assert_eq!(store.history(damaged, 1, 49).await.unwrap().len(), 49);
    let error = store.history(damaged, 1, 50).await.unwrap_err();
    assert_eq!(error.to_string(), format!("row {damaged} 50 of `updates` is damaged"));
}

fn hex(document: DocumentId) -> String {
    use std::fmt::Write as _;
    let mut hex = String::from("x'");
    for byte in document.as_bytes() {
        write!(hex, "{byte:02x}").unwrap();
    }
    hex + "'"
}

/// A write that is sent again is known even when its update has become history.
#[tokio::test(flavor = "multi_thread")]
async fn a_stamp_is_known_in_history_as_well() {
    let disk = Disk::new();
    let (store, world) = disk.open().await;
    let (document, member) = world.one_document().await;
    let mut alone = world.update(document, "alone");
    alone.clients = vec![advance(7, 0, 1, ClientOwner::Member(member))];
    let alone = Write::update(alone);
    let plain = Write::update(world.update(document, "plain"));
    let two = Write {
        changes: Vec::new(),
        updates: vec![world.update(document, "first"), world.update(document, "second")],
    };
    let mut outcomes = Vec::new();
    for write in [&alone, &plain, &two] {
        outcomes.push(store.commit(write.clone()).await.unwrap());
    }
    write_log(&world, document, 96).await;
    for seq in [80, 90, 100] {
        store.put_snapshot(snapshot(document, seq, "x")).await.unwrap();
    }
    wait_for_log_of(&disk, 20).await;
    assert_eq!(disk.number("select count(*) from stamps").await, 80);
    for (write, outcome) in [&alone, &plain, &two].into_iter().zip(&outcomes) {
        assert_eq!(&store.commit(write.clone()).await.unwrap(), outcome);
    }
    assert_eq!(all(&store, document).await.len(), 100, "nothing is doubled");

    // Long after, nobody asks any more, and they are forgotten.
    world.clock.advance(Duration::from_hours(2));
    write_log(&world, document, 100).await;
    for seq in [150, 180, 190] {
        store.put_snapshot(snapshot(document, seq, "x")).await.unwrap();
    }
    wait_for_log_of(&disk, 50).await;
    assert_eq!(disk.number("select count(*) from stamps").await, 50);
}

/// While rows move, readers and writers notice nothing.
#[tokio::test(flavor = "multi_thread")]
async fn readers_see_one_log_while_it_moves() {
    let disk = Disk::new();
    let (store, world) = disk.open().await;
    let (document, _) = world.one_document().await;
    write_log(&world, document, 600).await;
    let reader = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut longest = 0;
            while longest < 1600 {
                let found = store.history(document, 1, u32::MAX).await.unwrap();
                assert!(found.iter().map(|update| update.seq).eq(1..=found.len() as u64));
                assert!(found.len() >= longest);
                longest = found.len();
                let loaded = store.load_document(document).await.unwrap().unwrap();
                let base = loaded.snapshot.map_or(0, |snapshot| snapshot.seq);
                assert_eq!(base + loaded.updates.len() as u64, loaded.document.last_seq);
            }
        })
    };
    for seq in 1..=100_u64 {
        store.put_snapshot(snapshot(document, seq * 6, "x")).await.unwrap();
        write_log(&world, document, 10).await;
    }
    reader.await.unwrap();
    wait_until("old rows move", async || disk.number("select count(*) from updates").await < 1600 - 550)
        .await;
    assert_eq!(all(&store, document).await.len(), 1600);
}

/// [D5] [D6] With any snapshots, rows and segments damaged, loading gives the whole text or says what is
/// damaged, and what can be read of it is a beginning of it.
#[tokio::test(flavor = "multi_thread")]
async fn every_combination_of_damage_is_survived_or_named() {
    const ROWS: u64 = 80;
    const SNAPSHOTS: [u64; 3] = [40, 50, 60];
    /// One row before, between and after the snapshots.
    const DAMAGED_ROWS: [u64; 3] = [45, 55, 70];

    let disk = Disk::new();
    let (store, world) = disk.open().await;
    let (document, _) = world.one_document().await;
    let text_at = |seq: u64| (0..seq).map(|number| number.to_string() + " ").collect::<String>();
    let text = text_at(ROWS);
    write_log(&world, document, ROWS).await;
    for seq in SNAPSHOTS {
        store.put_snapshot(snapshot(document, seq, text_at(seq))).await.unwrap();
    }
    wait_for_log_of(&disk, 40).await;
    assert_eq!(disk.number("select count(*) from segments").await, 1);

    for damage in 0..1_u32 << 7 {
        let is_set = |bit: u32| damage & (1 << bit) != 0;
        let mut tampers: Vec<String> = Vec::new();
        for (bit, seq) in (0..).zip(SNAPSHOTS) {
            if is_set(bit) {
                tampers.push(format!("update snapshots set checksum = checksum + 1 where seq = {seq}"));
            }
        }
        for (bit, seq) in (3..).zip(DAMAGED_ROWS) {
            if is_set(bit) {
                tampers.push(format!("update updates set checksum = checksum + 1 where seq = {seq}"));
            }
        }
        if is_set(6) {
            tampers.push("update segments set checksum = checksum + 1".to_owned());
        }
        for tamper in &tampers {
            disk.tamper(tamper).await;
        }

        let base = (0..3).rev().find(|bit| !is_set(*bit)).map_or(0, |bit| SNAPSHOTS[bit as usize]);
        let damaged_row =
            (3..).zip(DAMAGED_ROWS).find(|(bit, seq)| is_set(*bit) && *seq > base).map(|(_, seq)| seq);
        let expected = if base == 0 && is_set(6) {
            Err(("segments", format!("{document} 1.1 to 40"), 0))
        } else if let Some(seq) = damaged_row {
            Err(("updates", format!("{document} {seq}"), seq - 1))
        } else {
            Ok(())
        };
        let readable = store.load_readable(document).await.unwrap().unwrap();
        let mut read = readable.snapshot.map_or_else(Vec::new, |snapshot| snapshot.bytes.to_vec());
        readable.updates.iter().for_each(|update| read.extend_from_slice(&update.bytes));
        let read = String::from_utf8(read).unwrap();
        match (store.load_document(document).await, expected) {
            (Ok(Some(loaded)), Ok(())) => {
                assert_eq!(loaded.snapshot.as_ref().map_or(0, |snapshot| snapshot.seq), base);
                assert_eq!(read, text, "{damage:b}");
                assert_eq!(loaded.updates, readable.updates);
                assert!(readable.damage.is_none());
            }
            (Err(StoreError::Corrupt { table, id }), Err((wanted_table, wanted_id, readable_to))) => {
                assert_eq!((table, id), (wanted_table, wanted_id), "{damage:b}");
                assert_eq!(read, text_at(readable_to), "{damage:b}");
                let same = format!("row {} of `{table}` is damaged", damaged_id(readable.damage.as_ref()));
                assert_eq!(readable.damage.unwrap().to_string(), same);
            }
            (loaded, expected) => panic!("{damage:b}: {loaded:?}, not {expected:?}"),
        }
        for tamper in &tampers {
            disk.tamper(&tamper.replace('+', "-")).await;
        }
    }
}

fn damaged_id(damage: Option<&StoreError>) -> String {
    match damage {
        Some(StoreError::Corrupt { id, .. }) => id.clone(),
        other => panic!("not damage: {other:?}"),
    }
}
