//! Disks that fail, fill up, forget and go read-only, and processes that die at any step.
//!
//! A child process works on a database through `faults/disk.c`, which is compiled with the C compiler that
//! building the bundled SQLite needs as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ensemble_protocol::id::DocumentId;
use ensemble_store::{Health, SqliteStore, Store as _, StoreError, SystemClock, Write, migrate};

use crate::support::{Disk, open, snapshot, wait_for_health, wait_until};

/// The shim, compiled once for all tests of this process.
fn shim() -> &'static Path {
    static SHIM: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_folder, path) = SHIM.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("disk.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/contract/faults/disk.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([library.as_os_str(), source.as_ref(), "-lpthread".as_ref()])
            .status()
            .expect("this test needs a C compiler, as the build does: apt-get install gcc");
        assert!(compiled.success());
        (folder, library)
    });
    path
}

/// A database in a folder whose disk does what it is told.
struct FailingDisk {
    folder: tempfile::TempDir,
}

/// What was acknowledged: by document and number, the text.
type Acks = BTreeMap<DocumentId, BTreeMap<u64, String>>;

/// A child that is at work, and what it says.
struct Worker {
    process: Child,
    lines: Receiver<String>,
}

impl FailingDisk {
    fn new() -> Self {
        let disk = Self { folder: tempfile::tempdir().unwrap() };
        for folder in [disk.data(), disk.platter()] {
            fs::create_dir(folder).unwrap();
        }
        disk.tell("");
        disk
    }

    /// What the system shows.
    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What is left when the power goes.
    fn platter(&self) -> PathBuf {
        self.folder.path().join("platter")
    }

    fn tell(&self, failure: &str) {
        let control = self.folder.path().join("control");
        let next = self.folder.path().join("control.next");
        fs::write(&next, failure).unwrap();
        fs::rename(next, control).unwrap();
    }

    /// Runs a test of this file as a program of its own.
    fn command(&self, test: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", &format!("faults::{test}"), "--nocapture"])
            .env("LD_PRELOAD", shim())
            .env("DISK_FOLDER", self.data())
            .env("DISK_CONTROL", self.folder.path().join("control"))
            .env(CHILD_DATABASE, self.data().join("ensemble.db"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        command
    }

    /// Starts people typing.
    fn start(&self, seed: u64) -> Worker {
        let mut command = self.command("child_that_types");
        let mut process =
            command.env("DISK_PLATTER", self.platter()).env(CHILD_SEED, seed.to_string()).spawn().unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Worker { process, lines }
    }
}

impl Worker {
    /// Listens, and notes what was acknowledged, until it says this. The time limit only ends a test that
    /// would hang.
    fn wait_for(&self, acks: &mut Acks, mut wanted: impl FnMut(&str) -> bool) {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).expect("the child should have said it by now");
            note(acks, &line);
            if wanted(&line) {
                return;
            }
        }
    }

    fn wait_for_acks(&self, acks: &mut Acks, mut count: usize) {
        self.wait_for(acks, |line| {
            count -= usize::from(line.contains("ack "));
            count == 0
        });
    }

    fn kill(mut self, acks: &mut Acks) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.lines.iter().for_each(|line| note(acks, &line));
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // A test that fails leaves nobody typing behind.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn note(acks: &mut Acks, line: &str) {
    // The test harness may print its own words before the first, and a killed child half a line.
    let Some((_, ack)) = line.split_once("ack ") else { return };
    let [document, seq, text, "."] = ack.split(' ').collect::<Vec<_>>()[..] else { return };
    acks.entry(document.parse().unwrap()).or_default().insert(seq.parse().unwrap(), text.to_owned());
}

/// Opens a copy of a folder and looks for everything that was acknowledged.
async fn expect_all(folder: &Path, acks: &Acks, what: &str) {
    let copy = tempfile::tempdir().unwrap();
    copy_files(folder, copy.path());
    let (store, _world) = open(&copy.path().join("ensemble.db"), 1_000_000).await;
    for (document, texts) in acks {
        let found = store.history(*document, 1, u32::MAX).await.unwrap();
        for (seq, text) in texts {
            let update = found.get(*seq as usize - 1).unwrap_or_else(|| panic!("{what}: {text} is lost"));
            assert_eq!(update.bytes, text.as_bytes(), "{what}");
        }
        let distinct: BTreeSet<_> = found.iter().map(|update| &update.bytes).collect();
        assert_eq!(distinct.len(), found.len(), "{what}: nothing is doubled");
        // Each writer waits for its answer, so one update at most was on its way.
        assert!(found.len() <= texts.len() + 1, "{what}");
    }
    store.close().await;
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // The index is made anew, as after a start of the machine.
        if !entry.file_name().to_string_lossy().ends_with("-shm") {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

const CHILD_DATABASE: &str = "ENSEMBLE_TEST_FAULTY_DATABASE";
const CHILD_SEED: &str = "ENSEMBLE_TEST_FAULTY_SEED";
const CHILD_DOCUMENT: &str = "ENSEMBLE_TEST_FAULTY_DOCUMENT";

/// Types into three documents, takes snapshots, and says what was acknowledged and how healthy the store
/// is. Run only by tests below.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_types() {
    let Ok(path) = std::env::var(CHILD_DATABASE) else { return };
    let Ok(seed) = std::env::var(CHILD_SEED) else { return };
    let seed: u64 = seed.parse().unwrap();
    let (store, world) = open(path.as_ref(), seed).await;
    let (project, _) = world.project().await;
    let world = Arc::new(world);
    let mut tasks = Vec::new();
    for writer in 0..3 {
        let document = world.document(project, &format!("{writer}")).await;
        let (store, world) = (Arc::clone(&store), Arc::clone(&world));
        tasks.push(tokio::spawn(async move {
            for number in 0_u64.. {
                let text = format!("{seed}.{writer}.{number}");
                let update = world.update(document, text.clone());
                let seq = store.commit(Write::update(update)).await.unwrap().versions[0].seq;
                say(&format!("ack {document} {seq} {text} ."));
                if number % 25 == 24 {
                    store.put_snapshot(snapshot(document, seq, "state")).await.unwrap();
                }
            }
        }));
    }
    let mut health = store.health();
    tasks.push(tokio::spawn(async move {
        while health.changed().await.is_ok() {
            match &*health.borrow_and_update() {
                Health::Healthy => say("health: good"),
                Health::Degraded { why, .. } => say(&format!("health: bad: {why}")),
            }
        }
    }));
    for task in tasks {
        task.await.unwrap();
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

/// [D15] After a failed fsync nothing is acknowledged that is not on the disk: the power may go at once,
/// after the disk works again, or after the process was killed and started anew in between.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_fsync_is_never_taken_for_a_success() {
    let disk = FailingDisk::new();
    let mut acks = Acks::new();
    for round in 0..4_u64 {
        let worker = disk.start(round + 1);
        worker.wait_for_acks(&mut acks, 40);
        for failure in 0..3 {
            disk.tell("eio-sync");
            worker.wait_for(&mut acks, |line| line.contains("health: bad"));
            // Nothing reaches the platter now.
            expect_all(&disk.platter(), &acks, "power goes while the disk fails").await;
            if round == 1 && failure == 2 {
                break;
            }
            disk.tell("");
            worker.wait_for(&mut acks, |line| line.contains("health: good"));
            worker.wait_for_acks(&mut acks, 40);
        }
        worker.kill(&mut acks);
        disk.tell("");
        expect_all(&disk.platter(), &acks, "power goes later").await;
        expect_all(&disk.data(), &acks, "the process is killed").await;
        if round >= 2 {
            // What the next one finds is what the power failure left; before, what a kill left, some of
            // which was never synced.
            fs::remove_dir_all(disk.data()).unwrap();
            fs::create_dir(disk.data()).unwrap();
            copy_files(&disk.platter(), &disk.data());
        }
    }
}

/// [D16] Whatever writing fails of, it is said, nothing acknowledged is lost, and it heals by itself.
#[tokio::test(flavor = "multi_thread")]
async fn failing_writes_are_shown_and_healed() {
    let disk = FailingDisk::new();
    let mut acks = Acks::new();
    let worker = disk.start(1);
    worker.wait_for_acks(&mut acks, 20);
    for failure in ["enospc", "eio-write", "erofs", "eio-sync"] {
        disk.tell(failure);
        worker.wait_for(&mut acks, |line| line.contains("health: bad"));
        disk.tell("");
        worker.wait_for(&mut acks, |line| line.contains("health: good"));
        worker.wait_for_acks(&mut acks, 20);
    }
    worker.kill(&mut acks);
    expect_all(&disk.data(), &acks, "killed").await;
    expect_all(&disk.platter(), &acks, "power gone").await;
}

/// Opens a database and closes it. Run only by the test below.
#[tokio::test]
async fn child_that_migrates() {
    let Ok(path) = std::env::var(CHILD_DATABASE) else { return };
    let (store, _world) = open(path.as_ref(), 1).await;
    store.close().await;
}

/// Runs a child that is killed at each of its steps on the disk in turn, until it comes to its end.
async fn killed_at_every_step(
    test: &str,
    prepare: impl Fn(&FailingDisk, &mut Command),
    check: impl AsyncFn(&FailingDisk, ExitStatus, &str),
) -> u32 {
    for step in 1.. {
        let disk = FailingDisk::new();
        let mut command = disk.command(test);
        command.env("DISK_KILL_AT", step.to_string());
        if step % 2 == 0 {
            command.env("DISK_TORN", "1");
        }
        prepare(&disk, &mut command);
        let output = command.output().unwrap();
        check(&disk, output.status, &String::from_utf8_lossy(&output.stdout)).await;
        if output.status.success() {
            return step - 1;
        }
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.status), Some(9), "step {step}");
    }
    unreachable!("it ends at some step")
}

/// [D17] A migration that is killed at any step is finished by the next start.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_killed_at_any_step_is_finished_later() {
    let steps = killed_at_every_step(
        "child_that_migrates",
        |_, _| {},
        async |disk, _, _| {
            let path = disk.data().join("ensemble.db");
            let (store, world) = open(&path, 2).await;
            let (document, _) = world.one_document().await;
            world.append(document, "it works").await;
            store.close().await;
            drop((store, world));
            assert_eq!(migrate::pending(&path).await.unwrap(), []);
        },
    );
    assert!(steps.await > 20, "the shim is in place");
}

/// Appends, takes a third snapshot, waits until old rows have moved, and closes. Run only by the test
/// below.
#[tokio::test]
async fn child_that_moves_rows() {
    let Ok(path) = std::env::var(CHILD_DATABASE) else { return };
    let document: DocumentId = std::env::var(CHILD_DOCUMENT).unwrap().parse().unwrap();
    let (store, world) = open(path.as_ref(), 2).await;
    for text in ["first", "second"] {
        let seq = world.append(document, text).await.seq;
        say(&format!("ack {document} {seq} {text} ."));
    }
    store.put_snapshot(snapshot(document, 52, "third")).await.unwrap();
    // The file is this process's own, so a connection behind the store's back does no harm.
    wait_until("rows move", async || {
        use sqlx::{ConnectOptions as _, Connection as _, Row as _};
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
        let mut connection = options.connect().await.unwrap();
        let row = sqlx::query("select count(*) from segments").fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        row.get::<i64, _>(0) == 1
    })
    .await;
    store.close().await;
}

/// [D18] Killed at any step of committing, keeping a snapshot, moving rows and closing, nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn moving_rows_killed_at_any_step_loses_none() {
    let template = Disk::new();
    let (store, world) = template.open().await;
    let (document, _) = world.one_document().await;
    for number in 0..60 {
        world.append(document, &format!("{number}")).await;
    }
    for seq in [50, 51] {
        store.put_snapshot(snapshot(document, seq, "state")).await.unwrap();
    }
    let before = store.history(document, 1, u32::MAX).await.unwrap();
    store.close().await;
    drop((store, world));

    let prepare = |disk: &FailingDisk, command: &mut Command| {
        fs::copy(template.path(), disk.data().join("ensemble.db")).unwrap();
        command.env(CHILD_DOCUMENT, document.to_string());
    };
    let steps = killed_at_every_step("child_that_moves_rows", prepare, async |disk, status, out| {
        let mut acks = Acks::new();
        out.lines().for_each(|line| note(&mut acks, line));
        let (store, world) = open(&disk.data().join("ensemble.db"), 3).await;
        assert!(!status.success() || !store.recovery().unclean_stop);
        let found = store.history(document, 1, u32::MAX).await.unwrap();
        assert_eq!(found[..60], before);
        let new: Vec<_> = found[60..].iter().map(|update| &update.bytes[..]).collect();
        assert!([&b"first"[..], b"second"].starts_with(&new), "{new:?}");
        assert!(new.len() >= acks.get(&document).map_or(0, BTreeMap::len));
        let loaded = store.load_document(document).await.unwrap().unwrap();
        assert!(loaded.snapshot.unwrap().seq >= 51);
        assert_eq!(world.append(document, "and on").await.seq, found.len() as u64 + 1);
        store.close().await;
    });
    assert!(steps.await > 20, "the shim is in place");
}

/// Appends to two documents and makes a third in one write. Run only by the test below.
#[tokio::test]
async fn child_that_writes_together() {
    let Ok(path) = std::env::var(CHILD_DATABASE) else { return };
    let given = std::env::var(CHILD_DOCUMENT).unwrap();
    let (project, documents) = given.split_once(' ').unwrap();
    let (store, world) = open(path.as_ref(), 2).await;
    let (made, making) = world.creating(project.parse().unwrap(), "made.rs");
    let documents = documents.split(' ').map(|id| id.parse().unwrap()).chain([made]);
    let updates = documents.map(|document| world.update(document, "together")).collect();
    store.commit(Write { changes: vec![making], updates }).await.unwrap();
    say("ack together .");
    store.close().await;
}

/// [D18] What is written to several documents at once is there in all of them or in none, killed at any step.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_of_several_documents_killed_at_any_step_is_whole() {
    let template = Disk::new();
    let (store, world) = template.open().await;
    let (project, _) = world.project().await;
    let documents = [world.document(project, "a.rs").await, world.document(project, "b.rs").await];
    store.close().await;
    drop((store, world));

    let prepare = |disk: &FailingDisk, command: &mut Command| {
        fs::copy(template.path(), disk.data().join("ensemble.db")).unwrap();
        let [first, second] = documents;
        command.env(CHILD_DOCUMENT, format!("{project} {first} {second}"));
    };
    let steps = killed_at_every_step("child_that_writes_together", prepare, async |disk, _, out| {
        let (store, world) = open(&disk.data().join("ensemble.db"), 3).await;
        let found =
            [world.texts(documents[0]).await, world.texts(documents[1]).await].map(|texts| texts.len());
        let made = store.documents_of(project).await.unwrap().len() - documents.len();
        assert!(found == [made, made] && made <= 1, "{found:?} and {made} made");
        assert!(made == 1 || !out.contains("ack together"), "what was acknowledged is there");
        store.close().await;
    });
    assert!(steps.await > 5, "the shim is in place");
}

/// A small disk of its own, mounted, which takes root.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` when this user may not mount; the tests then say so and take another way.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=2m,mode=700", "ensemble-test"]).arg(folder.path());
        let mounted = mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        if !mounted {
            println!(
                "this user may not mount a small disk; a limit on the file and its rights stand in for it"
            );
        }
        mounted.then(|| Self(folder))
    }

    fn remount(&self, how: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{how},size=2m")]).arg(self.0.path());
        assert!(mount.status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// [D8] The same as with a limit on the file, on a disk that is really full: nothing is acknowledged,
/// reading goes on, and with room again everything is committed in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_really_full_disk_holds_writes_back_and_loses_none() {
    let small = SmallDisk::mount();
    let elsewhere = tempfile::tempdir().unwrap();
    let folder = small.as_ref().map_or(elsewhere.path(), |small| small.0.path());
    let path = folder.join("ensemble.db");
    let (store, world) = open(&path, 1).await;
    let (document, _) = world.one_document().await;
    world.append(document, "before").await;
    let filler = folder.join("filler");
    if small.is_some() {
        let mut file = fs::File::create(&filler).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    } else {
        store.set_max_bytes(1);
    }
    let mut health = store.health();
    let mut commits = Vec::new();
    for number in 0..30_u8 {
        commits.push(world.submit(world.update(document, vec![number; 16 * 1024])).await);
    }
    wait_for_health(&mut health, |health| matches!(health, Health::Degraded { .. })).await;
    let acknowledged = {
        use futures_util::FutureExt;
        commits.iter_mut().map_while(FutureExt::now_or_never).map(Result::unwrap).count()
    };
    assert!(acknowledged < 30);
    assert_eq!(store.history(document, 1, 100).await.unwrap().len(), 1 + acknowledged);
    store.backup(elsewhere.path().join("backup.db")).await.expect("a backup goes elsewhere");

    if small.is_some() {
        fs::remove_file(&filler).unwrap();
    } else {
        store.set_max_bytes(64 * 1024 * 1024);
    }
    wait_for_health(&mut health, |health| *health == Health::Healthy).await;
    for commit in commits.split_off(acknowledged) {
        commit.await.unwrap();
    }
    let found = store.history(document, 2, 100).await.unwrap();
    assert!(found.iter().map(|update| update.bytes[0]).eq(0..30));
    store.close().await;
    drop((store, world));
    let (store, world) = open(&path, 2).await;
    assert_eq!(world.texts(document).await.len(), 31);
    store.close().await;
}

/// [D19] A read-only disk is refused at the start, clearly, and nothing is changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_is_refused_at_the_start() {
    let small = SmallDisk::mount();
    let elsewhere = tempfile::tempdir().unwrap();
    let folder = small.as_ref().map_or(elsewhere.path(), |small| small.0.path());
    let path = folder.join("ensemble.db");
    let (store, world) = open(&path, 1).await;
    let (document, _) = world.one_document().await;
    world.append(document, "kept").await;
    store.close().await;
    drop((store, world));

    let set_writable = |writable: bool| {
        use std::os::unix::fs::PermissionsExt as _;
        if let Some(small) = &small {
            small.remount(if writable { "rw" } else { "ro" });
        } else {
            let mode = if writable { 0o700 } else { 0o500 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o600)).unwrap();
            fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    set_writable(false);
    let refused = SqliteStore::open(&path, Arc::new(SystemClock)).await.unwrap_err();
    let StoreError::Unavailable { why, .. } = &refused else { panic!("{refused:?}") };
    assert!(why.contains("cannot be opened"), "{why}");
    set_writable(true);
    let (store, world) = open(&path, 2).await;
    assert_eq!(world.texts(document).await, ["kept"]);
    store.close().await;
}

/// A database that another program has locked is refused at the start.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_database_is_refused_at_the_start() {
    let disk = Disk::new();
    let (store, _) = disk.open().await;
    store.close().await;
    drop(store);
    let mut other = disk.connect().await;
    sqlx::query("begin exclusive").execute(&mut other).await.unwrap();
    let refused = SqliteStore::open(disk.path(), Arc::new(SystemClock)).await.unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    sqlx::query("rollback").execute(&mut other).await.unwrap();
    disk.open().await;
}
