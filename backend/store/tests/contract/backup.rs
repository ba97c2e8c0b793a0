//! Backups of a live store, and what comes back from them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ensemble_protocol::id::DocumentId;
use ensemble_store::backup::{self, BackupError, Existing};
use ensemble_store::{Health, ManualClock, SqliteStore, Store as _, StoreError, Write};

use crate::support::{Disk, World, open, snapshot, wait_for_health, wait_until};

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A store with a document, some of it in history, and a folder for backups.
async fn story(disk: &Disk) -> (Arc<SqliteStore>, World, DocumentId, tempfile::TempDir) {
    let (store, world) = disk.open().await;
    let (document, _) = world.one_document().await;
    for number in 0..50 {
        world.append(document, &format!("{number} ")).await;
    }
    for seq in [40, 45, 48] {
        store.put_snapshot(snapshot(document, seq, "x")).await.unwrap();
    }
    wait_until("rows move", async || disk.number("select count(*) from segments").await == 1).await;
    (store, world, document, tempfile::tempdir().unwrap())
}

async fn restore(file: &Path, into: &Path, existing: Existing) -> Result<backup::Restored, BackupError> {
    backup::restore(file, into, existing, &ManualClock::default()).await
}

/// [D11] A backup of a live store holds what was committed, all of it, as of one moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_taken_while_people_type() {
    let disk = Disk::new();
    let (store, world, document, folder) = story(&disk).await;
    let world = Arc::new(world);
    let stop = Arc::new(AtomicBool::new(false));
    let typing = {
        let (world, stop) = (Arc::clone(&world), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut last = 0;
            while !stop.load(Ordering::Relaxed) {
                last = world.append(document, "typed ").await.seq;
            }
            last
        })
    };
    let file = folder.path().join("backup.db");
    let seq_of = async || store.document(document).await.unwrap().unwrap().last_seq;
    // One from within the server, the other as another process would.
    let mut taken = Vec::new();
    for from_outside in [false, true] {
        let before = seq_of().await;
        let made = if from_outside {
            backup::create(disk.path(), &file).await.unwrap()
        } else {
            store.backup(&file).await.unwrap()
        };
        assert_eq!((made.file.as_path(), made.damaged_rows, made.documents), (file.as_path(), 0, 3));
        assert!(made.updates >= before && made.updates <= seq_of().await);
        assert_eq!(made.bytes, fs::metadata(&file).unwrap().len());
        taken.push(made.updates);
        wait_until("typing goes on", async || seq_of().await > made.updates + 5).await;
    }
    stop.store(true, Ordering::Relaxed);
    let last = typing.await.unwrap();
    assert!(last > taken[1]);
    assert_eq!(names(folder.path()), ["backup.db"], "nothing else is left behind");
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&fs::metadata(&file).unwrap()) & 0o777, 0o600);

    // It opens as a database of its own, with the same ids.
    let elsewhere = folder.path().join("new folder").join("ensemble.db");
    let restored = restore(&file, &elsewhere, Existing::Keep).await.unwrap();
    assert_eq!((restored.updates, restored.replaced), (taken[1], None));
    let original = store.history(document, 1, u32::MAX).await.unwrap();
    let (copy, _world) = open(&elsewhere, 99).await;
    assert_eq!(copy.history(document, 1, u32::MAX).await.unwrap(), original[..taken[1] as usize]);
    let recovery = copy.recovery();
    assert!(recovery.restored_at.is_some() && !recovery.unclean_stop);
    assert_eq!(store.recovery().restored_at, None);
}

/// A restore replaces a database only when told to, and keeps the one it replaced.
#[tokio::test]
async fn a_restore_replaces_only_when_told() {
    let disk = Disk::new();
    let (store, world, document, folder) = story(&disk).await;
    let file = folder.path().join("backup.db");
    store.backup(&file).await.unwrap();
    world.append(document, "after the backup").await;

    let refused = restore(&file, &disk.path(), Existing::Replace).await.unwrap_err();
    assert!(matches!(refused, BackupError::Store(StoreError::InUse { .. })), "{refused}");
    store.close().await;
    drop((store, world));
    let refused = restore(&file, &disk.path(), Existing::Keep).await.unwrap_err();
    assert!(matches!(refused, BackupError::Exists { .. }), "{refused}");
    assert_eq!(names(disk.path().parent().unwrap()), ["ensemble.db", "ensemble.db.lock"]);

    let restored = restore(&file, &disk.path(), Existing::Replace).await.unwrap();
    let replaced = restored.replaced.unwrap();
    let (store, world) = disk.open().await;
    assert_eq!(world.texts(document).await.len(), 50);
    assert!(store.recovery().restored_at.is_some());
    assert_eq!(world.append(document, "on it goes").await.seq, 51);
    let (old, old_world) = open(&replaced, 50).await;
    assert_eq!(old_world.texts(document).await.len(), 51);
    // Restored is restored, also a start later.
    old.close().await;
    store.close().await;
    drop((store, world));
    assert!(disk.open().await.0.recovery().restored_at.is_some());
}

/// A database whose server was killed has a log beside it, which must not meet the restored one.
#[tokio::test]
async fn a_restore_over_a_killed_or_damaged_database_leaves_its_log_behind() {
    for damaged in [false, true] {
        let disk = Disk::new();
        let (store, world, document, folder) = story(&disk).await;
        let file = folder.path().join("backup.db");
        store.backup(&file).await.unwrap();
        world.append(document, "only in the log").await;
        // The files as kill -9 leaves them.
        let killed = folder.path().join("killed").join("ensemble.db");
        fs::create_dir(killed.parent().unwrap()).unwrap();
        for suffix in ["", "-wal"] {
            let with = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
            fs::copy(with(&disk.path()), with(&killed)).unwrap();
        }
        let garbage = "not a database any more ".repeat(1000);
        if damaged {
            fs::write(&killed, &garbage).unwrap();
            let log = PathBuf::from(format!("{}-wal", killed.display()));
            let mut bytes = fs::read(&log).unwrap();
            bytes[40] ^= 1;
            fs::write(&log, &bytes).unwrap();
        }
        let restored = restore(&file, &killed, Existing::Replace).await.unwrap();
        let (copy, copied) = open(&killed, 50).await;
        assert_eq!(copied.texts(document).await.len(), 50, "damaged: {damaged}");
        copy.close().await;
        let replaced = restored.replaced.unwrap();
        if damaged {
            assert_eq!(fs::read_to_string(&replaced).unwrap(), garbage, "it is for somebody to look at");
        } else {
            let (old, old_world) = open(&replaced, 50).await;
            assert_eq!(old_world.texts(document).await.len(), 51, "nothing of it was thrown away");
            old.close().await;
        }
    }
}

/// What is no good backup is refused before anything is changed.
#[tokio::test]
async fn damaged_and_newer_and_foreign_files_are_refused() {
    let disk = Disk::new();
    let (store, world, document, folder) = story(&disk).await;
    let good = folder.path().join("good.db");
    store.backup(&good).await.unwrap();
    let bytes = fs::read(&good).unwrap();
    let file = folder.path().join("bad.db");
    let into = folder.path().join("data").join("ensemble.db");

    let refused = async |what: &str| {
        let error = restore(&file, &into, Existing::Replace).await.expect_err(what);
        assert!(matches!(&error, BackupError::Damaged { path, .. } if *path == file), "{what}: {error}");
        assert!(!into.exists(), "{what}");
        let left = names(into.parent().unwrap());
        assert_eq!(left, ["ensemble.db.lock"], "{what}");
    };
    let _ = restore(&file, &into, Existing::Keep).await.expect_err("there is no such file");
    fs::create_dir_all(into.parent().unwrap()).unwrap();
    fs::write(into.parent().unwrap().join("ensemble.db.lock"), "").unwrap();
    fs::write(&file, "").unwrap();
    refused("empty").await;
    fs::write(&file, b"Dear diary".repeat(1000)).unwrap();
    refused("not a database").await;
    for length in [1, 100, 4096, bytes.len() / 2, bytes.len() - 4096] {
        fs::write(&file, &bytes[..length]).unwrap();
        refused(&format!("cut at {length}")).await;
    }
    // A flipped bit in a text is beyond what SQLite itself would notice.
    let position = bytes.windows(16).position(|window| window == document.as_bytes()).unwrap();
    let mut flipped = bytes.clone();
    let text = bytes.windows(3).rposition(|window| window == b"49 ").unwrap();
    flipped[text] ^= 1;
    assert!(position > 0);
    fs::write(&file, &flipped).unwrap();
    refused("a flipped bit").await;
    // A live database is no backup: what is in its log would be missing.
    let error = restore(&disk.path(), &into, Existing::Replace).await.unwrap_err();
    assert!(matches!(error, BackupError::Damaged { .. }), "{error}");

    fs::write(&file, &bytes).unwrap();
    {
        use sqlx::{ConnectOptions as _, Connection as _};
        let mut newer = sqlx::sqlite::SqliteConnectOptions::new().filename(&file).connect().await.unwrap();
        sqlx::query(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
             values (99990101000000, 'from the future', true, x'00', 0)",
        )
        .execute(&mut newer)
        .await
        .unwrap();
        newer.close().await.unwrap();
    }
    let error = restore(&file, &into, Existing::Replace).await.unwrap_err();
    assert!(matches!(error, BackupError::Store(StoreError::NewerSchema { .. })), "{error}");
    assert!(!into.exists());
    drop(world);
}

/// A damaged row does not keep the others from being saved, and is not called new damage later.
#[tokio::test]
async fn a_backup_of_a_damaged_database_says_so_and_comes_back() {
    let disk = Disk::new();
    let (store, _world, document, folder) = story(&disk).await;
    disk.tamper("update updates set checksum = checksum + 1 where seq = 47").await;
    let file = folder.path().join("backup.db");
    let made = store.backup(&file).await.unwrap();
    assert_eq!(made.damaged_rows, 1);
    let into = folder.path().join("ensemble.db");
    restore(&file, &into, Existing::Keep).await.unwrap();
    let (copy, _world) = open(&into, 50).await;
    assert!(copy.load_document(document).await.unwrap().is_some(), "a snapshot covers it");
    assert!(copy.history(document, 1, 100).await.is_err());
}

/// A backup that cannot be written leaves the older one as it was.
#[tokio::test]
async fn a_backup_that_fails_changes_nothing() {
    let disk = Disk::new();
    let (store, _world, _document, folder) = story(&disk).await;
    let nowhere = folder.path().join("no such folder").join("backup.db");
    let error = store.backup(&nowhere).await.unwrap_err();
    assert!(matches!(error, BackupError::Io { .. }), "{error}");
    let error = backup::create(folder.path().join("none.db"), folder.path().join("b")).await.unwrap_err();
    assert!(matches!(error, BackupError::Damaged { .. }), "{error}");
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

/// [D12] When somebody removes the database file under a running server nothing more is acknowledged, it is
/// said why, and what was acknowledged can still be saved.
#[tokio::test(flavor = "multi_thread")]
async fn a_removed_file_is_noticed_and_what_it_held_can_be_saved() {
    for removed in ["ensemble.db", "ensemble.db-wal"] {
        let disk = Disk::new();
        let (store, world, document, folder) = story(&disk).await;
        fs::remove_file(disk.path().with_file_name(removed)).unwrap();
        let mut health = store.health();
        let commit = store.submit(Write::update(world.update(document, "lost?"))).await.unwrap();
        wait_for_health(&mut health, |health| matches!(health, Health::Degraded { .. })).await;
        let said = matches!(&*health.borrow(), Health::Degraded { why, .. }
            if why.contains(removed) && why.contains("removed"));
        assert!(said, "{:?}", health.borrow());

        if removed == "ensemble.db" {
            let file = folder.path().join("saved.db");
            assert_eq!(store.backup(&file).await.unwrap().updates, 50);
            let into = folder.path().join("data.db");
            restore(&file, &into, Existing::Keep).await.unwrap();
            let (copy, copied) = open(&into, 50).await;
            assert_eq!(copied.texts(document).await.len(), 50);
            copy.close().await;
        }
        // Another file in its place is not it.
        fs::write(disk.path().with_file_name(removed), "").unwrap();
        let replaced =
            |health: &Health| matches!(health, Health::Degraded { why, .. } if why.contains("replaced"));
        wait_for_health(&mut health, replaced).await;
        let closing = tokio::spawn({
            let store = Arc::clone(&store);
            async move { store.close().await }
        });
        let error = commit.await.unwrap_err();
        assert!(error.is_unavailable(), "{error}");
        closing.await.unwrap();
    }
}
