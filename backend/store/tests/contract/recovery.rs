//! What the next run learns of the last one, and what is put away.

use std::process::{Command, Stdio};

use bytes::Bytes;
use ensemble_protocol::id::{DocumentId, NodeId};
use ensemble_store::quarantine::{KeptAside, QUARANTINE_BYTES, QUARANTINE_UPDATES, kept_aside};
use ensemble_store::{Change, Hash, Ids as _, InFlight, Recovery, Store as _};

use crate::support::{Disk, on_every_store, open};

/// [D13] A run that did not close the database is known as such to the next.
#[tokio::test]
async fn an_unclean_stop_is_known_to_the_next_run() {
    let disk = Disk::new();
    let (store, world) = disk.open().await;
    assert_eq!(store.recovery(), Recovery::default(), "a new database has nothing to recover from");
    store.commit(ensemble_store::Write::changes([Change::AnnounceNode { node: world.node }])).await.unwrap();
    let (document, _) = world.one_document().await;
    world.append(document, "x").await;
    let node = world.node;
    store.close().await;
    drop((store, world));

    let (store, world) = disk.open().await;
    let expected = Recovery { unclean_stop: false, restored_at: None, previous_node: Some(node) };
    assert_eq!(store.recovery(), expected);
    // The files as kill -9 would leave them now.
    let killed = tempfile::tempdir().unwrap();
    for name in ["ensemble.db", "ensemble.db-wal"] {
        let from = disk.path().with_file_name(name);
        std::fs::copy(from, killed.path().join(name)).unwrap();
    }
    store.close().await;
    drop((store, world));
    let (store, world) = open(&killed.path().join("ensemble.db"), 50).await;
    assert_eq!(store.recovery(), Recovery { unclean_stop: true, ..expected });
    store.close().await;
    drop((store, world));
    let (store, _world) = open(&killed.path().join("ensemble.db"), 51).await;
    assert_eq!(store.recovery(), expected, "once is enough");
}

/// Updates that are not to be applied are kept, once each.
#[tokio::test]
async fn updates_are_put_away() {
    on_every_store(async |world| {
        let (document, member) = world.one_document().await;
        // Also of a document that was never committed.
        let unknown = DocumentId::from_uuid(world.ids.uuid());
        let store = &world.store;
        let (bad, worse) = (world.hash(), world.hash());
        store
            .put_quarantine(
                document,
                Some(member),
                bad,
                Bytes::from_static(b"\x01\xff"),
                "it ended the process",
            )
            .await
            .unwrap();
        store.put_quarantine(document, None, bad, Bytes::new(), "again").await.unwrap();
        world.clock.advance(std::time::Duration::from_secs(1));
        store.put_quarantine(document, None, worse, Bytes::new(), "a room stalled").await.unwrap();
        store.put_quarantine(unknown, None, bad, Bytes::new(), "it ended the process").await.unwrap();
        let found = store.quarantined(document).await.unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].document, found[0].hash, &found[0].bytes[..]),
            (document, bad, &b"\x01\xff"[..])
        );
        assert_eq!((found[0].reason.as_str(), found[1].hash), ("it ended the process", worse));
        assert!(found[0].at < found[1].at);
        assert_eq!((found[0].member, found[1].member), (Some(member), None));
        assert_eq!(store.quarantined(unknown).await.unwrap().len(), 1);

        assert_eq!(store.load_failures(document).await.unwrap(), 0);
        assert_eq!(store.note_load_failure(document).await.unwrap(), 1);
        assert_eq!(store.note_load_failure(document).await.unwrap(), 2);
        assert_eq!(store.note_load_failure(unknown).await.unwrap(), 1);
        store.clear_load_failures(document).await.unwrap();
        store.clear_load_failures(document).await.unwrap();
        assert_eq!(store.load_failures(document).await.unwrap(), 0);
        assert_eq!(store.load_failures(unknown).await.unwrap(), 1);
    })
    .await;
}

/// [D30] What is kept aside is bounded by number and by bytes: the oldest goes first.
#[tokio::test]
async fn what_is_kept_aside_is_bounded() {
    let disk = Disk::new();
    let (store, world) = disk.open().await;
    let (document, _) = world.one_document().await;
    let put = async |bytes: usize| {
        world.clock.advance(std::time::Duration::from_secs(1));
        let hash = world.hash();
        store.put_quarantine(document, None, hash, vec![0; bytes].into(), "malformed").await.unwrap();
        hash
    };
    let first = put(10).await;
    let quarter = QUARANTINE_BYTES as usize / 4;
    let mut large = Vec::new();
    for _ in 0..5 {
        large.push(put(quarter).await);
    }
    let kept: Vec<Hash> = store.quarantined(document).await.unwrap().iter().map(|aside| aside.hash).collect();
    assert!(!kept.contains(&first));
    assert_eq!(kept, large[1..]);
    let changes = (0..QUARANTINE_UPDATES + 5)
        .map(|_| Change::Quarantine {
            document,
            member: None,
            hash: world.hash(),
            bytes: Bytes::from_static(b"x"),
            reason: "malformed".into(),
        })
        .collect::<Vec<_>>();
    world.clock.advance(std::time::Duration::from_secs(1));
    store.commit(ensemble_store::Write::changes(changes)).await.unwrap();
    let newest = put(7).await;
    let kept = store.quarantined(document).await.unwrap();
    assert_eq!(
        (kept.len(), kept.last().map(|aside| aside.hash)),
        (QUARANTINE_UPDATES as usize, Some(newest))
    );
    store.close().await;
    drop((store, world));
    let expected =
        KeptAside { updates: QUARANTINE_UPDATES.into(), bytes: u64::from(QUARANTINE_UPDATES) - 1 + 7 };
    assert_eq!(kept_aside(disk.path()).await.unwrap(), expected);
}

const CHILD_IN_FLIGHT: &str = "ENSEMBLE_TEST_CHILD_IN_FLIGHT";

/// Dies in the middle of an update. Run only by the test below.
#[test]
fn child_that_dies_in_an_update() {
    let Ok(path) = std::env::var(CHILD_IN_FLIGHT) else { return };
    let document = |number: u128| DocumentId::from_uuid(uuid::Uuid::from_u128(number));
    let file = InFlight::open(path).unwrap();
    let (mut first, mut second) = (file.slot(document(1)).unwrap(), file.slot(document(2)).unwrap());
    for number in 0..1000_u32 {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&number.to_le_bytes());
        first.begin(Hash(hash));
        first.end();
        second.begin(Hash(hash));
        second.end();
    }
    second.begin(Hash([7; 32]));
    std::process::abort();
}

/// [D14] The next process knows which update was being applied when the last one died.
#[test]
fn the_update_that_ended_the_process_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = InFlight::path_beside(&folder.path().join("ensemble.db"));
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "recovery::child_that_dies_in_an_update", "--nocapture"])
        .env(CHILD_IN_FLIGHT, &path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success());
    let document = DocumentId::from_uuid(uuid::Uuid::from_u128(2));
    assert_eq!(InFlight::read(&path).unwrap(), [(document, Hash([7; 32]))]);
}

#[test]
fn a_node_is_written_as_text() {
    let node = NodeId::from_uuid(uuid::Uuid::from_u128(7));
    assert_eq!(node.to_string().parse::<NodeId>().unwrap(), node);
}
