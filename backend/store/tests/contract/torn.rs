//! A write-ahead log that was cut or damaged anywhere.

use std::fs;

use ensemble_store::{SqliteStore, Store as _};

use crate::support::{Disk, open};

/// [D20] With the log cut or a bit flipped anywhere, what opens is the text as it was at some moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_torn_log_opens_as_the_text_of_some_moment() {
    /// The unit disks write in.
    const SECTOR: usize = 512;

    let disk = Disk::new();
    let (store, world) = disk.open().await;
    let (document, _) = world.one_document().await;
    world.append(document, "0").await;
    store.close().await;
    drop((store, world));
    let (store, world) = disk.open().await;
    let texts: Vec<String> = (0..5).map(|number| number.to_string()).collect();
    for text in &texts[1..] {
        world.append(document, text).await;
    }
    let database = fs::read(disk.path()).unwrap();
    let log = fs::read(disk.path().with_file_name("ensemble.db-wal")).unwrap();
    assert!(log.len() > 20 * SECTOR);
    store.close().await;
    drop((store, world));

    let mut seen = [0; 6];
    let mut last = 0;
    for at in (0..log.len()).step_by(SECTOR).chain([log.len()]) {
        let mut flipped = log.clone();
        if let Some(byte) = flipped.get_mut(at) {
            *byte ^= 0x40;
        }
        for (cut, bytes) in [(true, &log[..at]), (false, &flipped[..])] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("ensemble.db");
            fs::write(&path, &database).unwrap();
            fs::write(folder.path().join("ensemble.db-wal"), bytes).unwrap();
            let (store, world) = open(&path, 9).await;
            let found = world.texts(document).await;
            assert!(texts.starts_with(&found), "at {at}: {found:?}");
            let loaded = store.load_document(document).await.unwrap().unwrap();
            assert_eq!(loaded.updates.len(), found.len());
            assert!(!found.is_empty(), "what was in the database file is not touched");
            assert_eq!(world.append(document, "on").await.seq, found.len() as u64 + 1);
            seen[found.len()] += 1;
            if cut {
                assert!(found.len() >= last, "more of the log is more of the text");
                last = found.len();
            }
            SqliteStore::close(&store).await;
        }
    }
    assert!(seen[1..].iter().all(|count| *count > 0), "every moment was seen: {seen:?}");
    assert_eq!(last, 5);
}
