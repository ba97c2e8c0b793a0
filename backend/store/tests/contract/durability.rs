//! What only a file can suffer: kill -9, a full disk, flipped bits, somebody else's program.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;

use ensemble_protocol::id::DocumentId;
use ensemble_store::{Health, SqliteStore, Store as _, StoreError, SystemClock, Write, migrate};
use futures_util::FutureExt;

use crate::support::{Disk, open, wait_for_health, wait_until};

/// [D4] What was committed is there when the file is opened again.
#[tokio::test]
async fn what_was_committed_is_there_after_opening_again() {
    let disk = Disk::new();
    let (store, world) = disk.open().await;
    let (document, _) = world.one_document().await;
    world.append(document, "a").await;
    let late = world.submit(world.update(document, "b")).await;
    // Closing commits what was handed in, and takes nothing more.
    store.close().await;
    late.await.unwrap();
    let refused = store.commit(Write::update(world.update(document, "c"))).await.unwrap_err();
    assert!(matches!(refused, StoreError::Closed), "{refused}");
    drop((store, world));

    let (_store, world) = disk.open().await;
    assert_eq!(world.texts(document).await, ["a", "b"]);
    assert_eq!(world.append(document, "c").await.seq, 3);
}

/// One process at a time has the file.
#[tokio::test]
async fn a_second_process_is_told_that_the_file_is_in_use() {
    let disk = Disk::new();
    let (store, world) = disk.open().await;
    let refused = SqliteStore::open(disk.path(), Arc::new(SystemClock)).await.unwrap_err();
    assert!(matches!(&refused, StoreError::InUse { path } if *path == disk.path()), "{refused}");
    assert!(matches!(migrate::pending(disk.path()).await, Err(StoreError::InUse { .. })));
    store.close().await;
    drop((store, world));
    disk.open().await;
}

/// [D6] A flipped bit in the log is reported and never read as text.
#[tokio::test]
async fn a_damaged_update_is_reported() {
    for tamper in [
        "update updates set bytes = x'00' where seq = 2",
        "update updates set member = zeroblob(16) where seq = 2",
        "update updates set member = x'0102' where seq = 2",
        "update updates set time = time + 1 where seq = 2",
        "update updates set seq = 9 where seq = 2",
        "delete from updates where seq = 2",
        "delete from updates where seq = 3",
    ] {
        let disk = Disk::new();
        let (store, world) = disk.open().await;
        let (document, _) = world.one_document().await;
        for text in ["a", "b", "c"] {
            world.append(document, text).await;
        }
        store.close().await;
        drop((store, world));
        disk.tamper(tamper).await;

        let (store, world) = disk.open().await;
        let error = store.load_document(document).await.unwrap_err();
        let StoreError::Corrupt { table, id } = &error else { panic!("{tamper}: {error}") };
        assert_eq!(*table, "updates", "{tamper}");
        assert!(id.starts_with(&document.to_string()), "{tamper}: {id}");
        // Other documents do not suffer.
        let (project, _) = world.project().await;
        let other = world.document(project, "other.rs").await;
        world.append(other, "x").await;
        assert!(store.load_document(other).await.unwrap().is_some());
    }
}

/// A row that makes no sense is named.
#[tokio::test]
async fn a_row_that_makes_no_sense_is_named() {
    let disk = Disk::new();
    let (store, world) = disk.open().await;
    let (document, _) = world.one_document().await;
    store.close().await;
    drop((store, world));
    disk.tamper("update documents set kind = 'poem' where kind = 'text'").await;
    let (store, _world) = disk.open().await;
    let error = store.document(document).await.unwrap_err();
    let expected = format!("row {document} of `documents` is damaged");
    assert_eq!(error.to_string(), expected);
}

/// [D7] A database written by a newer program is refused before anything is changed.
#[tokio::test]
async fn a_newer_database_is_refused() {
    let disk = Disk::new();
    assert_eq!(
        migrate::pending(disk.path()).await.unwrap().len(),
        migrate::apply(disk.path()).await.unwrap().len()
    );
    assert!(migrate::pending(disk.path()).await.unwrap().is_empty());
    disk.tamper(
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
         values (99990101000000, 'from the future', true, x'00', 0)",
    )
    .await;
    let newer = |error| matches!(error, StoreError::NewerSchema { version: 99_990_101_000_000 });
    assert!(newer(SqliteStore::open(disk.path(), Arc::new(SystemClock)).await.unwrap_err()));
    assert!(newer(migrate::pending(disk.path()).await.unwrap_err()));
    assert!(newer(migrate::apply(disk.path()).await.unwrap_err()));
}

/// A migration that was changed after it had been applied is refused.
#[tokio::test]
async fn a_changed_migration_is_refused() {
    let disk = Disk::new();
    migrate::apply(disk.path()).await.unwrap();
    disk.tamper("update _sqlx_migrations set checksum = x'00' where version = 20261122090000").await;
    let refused = SqliteStore::open(disk.path(), Arc::new(SystemClock)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Migration { version: 20_261_122_090_000, .. }), "{refused}");
}

/// A file that is something else is refused.
#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let disk = Disk::new();
    std::fs::write(disk.path(), "Dear diary, today the server did not start. ".repeat(100)).unwrap();
    let refused = SqliteStore::open(disk.path(), Arc::new(SystemClock)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused}");
}

/// [D8] While the disk is full nothing is acknowledged, reading goes on, and with room again everything
/// is committed in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_holds_writes_back_and_loses_none() {
    let disk = Disk::new();
    let (store, world) = disk.open().await;
    let (document, _) = world.one_document().await;
    world.append(document, "before").await;
    let mut health = store.health();
    assert_eq!(*health.borrow(), Health::Healthy);

    store.set_max_bytes(512 * 1024);
    let mut commits = Vec::new();
    for number in 0..40_u32 {
        // 40 x 32 KiB do not fit.
        let bytes = number.to_le_bytes().repeat(8192);
        commits.push(world.submit(world.update(document, bytes)).await);
    }
    wait_for_health(&mut health, |health| matches!(health, Health::Degraded { .. })).await;
    assert!(matches!(&*health.borrow(), Health::Degraded { why, .. } if why.contains("full")));

    let answered: Vec<_> = commits.iter_mut().map_while(FutureExt::now_or_never).collect();
    assert!(answered.len() < 40);
    for (seq, committed) in (2..).zip(&answered) {
        assert_eq!(committed.as_ref().unwrap().versions[0].seq, seq);
    }
    let readable = store.updates_after(document, 0, 100).await.unwrap();
    assert_eq!(readable.len(), 1 + answered.len(), "what is not acknowledged is not there");

    store.set_max_bytes(64 * 1024 * 1024);
    wait_for_health(&mut health, |health| *health == Health::Healthy).await;
    for (seq, commit) in (2 + answered.len() as u64..).zip(commits.split_off(answered.len())) {
        assert_eq!(commit.await.unwrap().versions[0].seq, seq);
    }
    let stored = store.updates_after(document, 1, 100).await.unwrap();
    assert_eq!(stored.len(), 40);
    for (number, update) in (0_u32..).zip(&stored) {
        assert_eq!(update.bytes[..], number.to_le_bytes().repeat(8192), "order is kept");
    }
}

/// Another program that holds the file for a while delays commits and breaks none.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_database_is_waited_for() {
    use sqlx::ConnectOptions as _;
    let disk = Disk::new();
    let (store, world) = disk.open().await;
    let (document, _) = world.one_document().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(disk.path());
    let mut other = options.connect().await.unwrap();
    sqlx::query("begin immediate").execute(&mut other).await.unwrap();

    let mut health = store.health();
    let commit = world.submit(world.update(document, "patience")).await;
    wait_for_health(&mut health, |health| matches!(health, Health::Degraded { .. })).await;
    sqlx::query("rollback").execute(&mut other).await.unwrap();
    assert_eq!(commit.await.unwrap().versions[0].seq, 1);
    wait_for_health(&mut health, |health| *health == Health::Healthy).await;
}

/// Where the child below keeps its database; unset, it is no child.
const CHILD_DATABASE: &str = "ENSEMBLE_TEST_CHILD_DATABASE";
const CHILD_SEED: &str = "ENSEMBLE_TEST_CHILD_SEED";

/// Commits and prints what was acknowledged, until it is killed. Run only by the test below.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_commits_until_it_is_killed() {
    let Ok(path) = std::env::var(CHILD_DATABASE) else { return };
    let seed = std::env::var(CHILD_SEED).unwrap().parse().unwrap();
    let (store, world) = open(path.as_ref(), seed).await;
    let (project, _) = world.project().await;
    let world = Arc::new(world);
    let mut writers = Vec::new();
    for writer in 0..6 {
        let document = world.document(project, &format!("{writer}")).await;
        let (store, world) = (Arc::clone(&store), Arc::clone(&world));
        writers.push(tokio::spawn(async move {
            for number in 0_u64.. {
                let text = format!("{seed}.{writer}.{number}");
                let update = world.update(document, text.clone());
                let version = store.commit(Write::update(update)).await.unwrap().versions[0];
                let mut out = std::io::stdout().lock();
                writeln!(out, "ack {document} {} {text}", version.seq).unwrap();
                out.flush().unwrap();
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
}

/// [D9] Kill -9 loses nothing that was acknowledged and doubles nothing.
#[tokio::test]
async fn kill_dash_nine_loses_nothing_acknowledged() {
    const KILLS: u64 = 5;
    /// Differs from kill to kill, so that they fall at different moments.
    const ACKS_BEFORE_KILL: [usize; KILLS as usize] = [1, 40, 90, 150, 333];

    let disk = Disk::new();
    let mut acknowledged: BTreeMap<DocumentId, BTreeMap<u64, String>> = BTreeMap::new();
    for seed in 1..=KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "durability::child_that_commits_until_it_is_killed", "--nocapture"])
            .env(CHILD_DATABASE, disk.path())
            .env(CHILD_SEED, seed.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut acks = 0;
        for line in lines {
            // The test harness may print its own words before the first.
            let Some((_, ack)) = line.split_once("ack ") else { continue };
            let [document, seq, text] = ack.split(' ').collect::<Vec<_>>()[..] else { break };
            let texts = acknowledged.entry(document.parse().unwrap()).or_default();
            texts.insert(seq.parse().unwrap(), text.to_owned());
            acks += 1;
            if acks == ACKS_BEFORE_KILL[seed as usize - 1] {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(acks >= ACKS_BEFORE_KILL[seed as usize - 1]);

        let (store, _world) = open(&disk.path(), 1000 + seed).await;
        for (document, texts) in &acknowledged {
            let loaded = store.load_document(*document).await.unwrap().unwrap();
            for (seq, text) in texts {
                assert_eq!(loaded.updates[*seq as usize - 1].bytes, text.as_bytes());
            }
            // Each writer waited for its answer, so at most one update was on its way.
            assert!(loaded.updates.len() <= texts.len() + 1, "nothing is doubled");
        }
        store.close().await;
    }
    wait_until("the file is free again", async || migrate::pending(disk.path()).await.is_ok()).await;
}
