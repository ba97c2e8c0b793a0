//! What group commit is worth: the same store, the same statements and the same disk, once with all
//! writers meeting in a group and once with one commit per update.
//!
//! `cargo bench -p ensemble-store` prints a table. Absolute figures say something about the disk; the
//! ratios say something about the store.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ensemble_protocol::id::{DocumentId, MemberId, NodeId, ProjectId};
use ensemble_store::{
    Author, Change, ClientAdvance, ClientOwner, DocumentKind, Ids, NewUpdate, SqliteStore, Stamp, Store,
    SystemClock, SystemIds, Write,
};
use tokio::sync::Mutex;

/// Bytes of an update: a keystroke with its envelope, or a short paste.
const UPDATE_BYTES: usize = 200;

/// Documents the writers share out among themselves.
const DOCUMENTS: usize = 20;

/// How long each line of the tables is measured.
const MEASURE: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct Bench {
    store: Arc<SqliteStore>,
    documents: Arc<[DocumentId]>,
    owner: ClientOwner,
    node: NodeId,
    counter: Arc<AtomicU64>,
    /// Held over a commit, it makes a commit of each update.
    one_at_a_time: Option<Arc<Mutex<()>>>,
}

/// One person's client in one document.
struct Writer {
    bench: Bench,
    document: DocumentId,
    client: u64,
    clock: u32,
}

impl Bench {
    async fn start(file: &Path, grouped: bool) -> Self {
        let store = Arc::new(SqliteStore::open(file, Arc::new(SystemClock)).await.expect("the file opens"));
        let ids = SystemIds;
        let project = ProjectId::from_uuid(ids.uuid());
        let member = MemberId::from_uuid(ids.uuid());
        let documents: Arc<[DocumentId]> =
            (0..DOCUMENTS).map(|_| DocumentId::from_uuid(ids.uuid())).collect();
        let mut changes = vec![
            Change::CreateMember { id: member, name: "Ada".to_owned(), color: "#336699".to_owned() },
            Change::CreateProject {
                id: project,
                name: "Bench".to_owned(),
                tree: DocumentId::from_uuid(ids.uuid()),
                turns: DocumentId::from_uuid(ids.uuid()),
            },
        ];
        changes.extend(documents.iter().enumerate().map(|(number, id)| Change::CreateDocument {
            id: *id,
            project,
            path: number.to_string(),
            kind: DocumentKind::Text,
            epoch: 1,
        }));
        store.commit(Write::changes(changes)).await.expect("the rows are new");
        Self {
            store,
            documents,
            owner: ClientOwner::Member(member),
            node: NodeId::from_uuid(ids.uuid()),
            counter: Arc::new(AtomicU64::new(0)),
            one_at_a_time: (!grouped).then(|| Arc::new(Mutex::new(()))),
        }
    }

    fn writer(&self, number: usize) -> Writer {
        let document = self.documents[number % self.documents.len()];
        Writer { bench: self.clone(), document, client: SystemIds.random_u64() >> 11, clock: 0 }
    }

    /// Every writer sends its next update when its last one was answered.
    async fn as_fast_as_answered(&self, writers: usize) -> Measured {
        let end = Instant::now() + MEASURE;
        let tasks: Vec<_> = (0..writers)
            .map(|number| {
                let mut writer = self.writer(number);
                tokio::spawn(async move {
                    let mut waits = Vec::new();
                    while Instant::now() < end {
                        waits.push(writer.write().await);
                    }
                    waits
                })
            })
            .collect();
        let mut waits = Vec::new();
        for task in tasks {
            waits.extend(task.await.expect("a writer does not panic"));
        }
        Measured::new(waits)
    }

    /// Updates arrive at a steady rate, answered or not, from thirty writers.
    async fn at_rate(&self, per_second: u32) -> Measured {
        let writers: Vec<_> = (0..30).map(|number| Arc::new(Mutex::new(self.writer(number)))).collect();
        let mut tick = tokio::time::interval(Duration::from_secs(1) / per_second);
        let start = Instant::now();
        let mut tasks = Vec::new();
        while start.elapsed() < MEASURE {
            tick.tick().await;
            let writer = Arc::clone(&writers[tasks.len() % writers.len()]);
            let due = Instant::now();
            tasks.push(tokio::spawn(async move {
                // A person's updates are committed one after the other, so waiting for one's own turn
                // belongs to the delay.
                writer.lock().await.write().await;
                due.elapsed()
            }));
        }
        let mut waits = Vec::new();
        for task in tasks {
            waits.push(task.await.expect("a writer does not panic"));
        }
        Measured::new(waits)
    }
}

impl Writer {
    async fn write(&mut self) -> Duration {
        let bench = &self.bench;
        let advance = ClientAdvance {
            client: self.client,
            first: self.clock,
            next: self.clock + 1,
            owner: bench.owner,
        };
        self.clock += 1;
        let counter = bench.counter.fetch_add(1, Ordering::Relaxed);
        let update = NewUpdate {
            document: self.document,
            epoch: 1,
            bytes: Bytes::from(vec![b'x'; UPDATE_BYTES]),
            author: Author::default(),
            clients: vec![advance],
            ledger: Vec::new(),
            stamp: Stamp { node: bench.node, counter },
        };
        let start = Instant::now();
        let alone = match &bench.one_at_a_time {
            Some(mutex) => Some(mutex.lock().await),
            None => None,
        };
        bench.store.commit(Write::update(update)).await.expect("nothing conflicts");
        drop(alone);
        start.elapsed()
    }
}

struct Measured {
    per_second: f64,
    p50: Duration,
    p99: Duration,
}

impl Measured {
    fn new(mut waits: Vec<Duration>) -> Self {
        waits.sort_unstable();
        let at = |part: f64| waits[((waits.len() - 1) as f64 * part) as usize];
        Self { per_second: waits.len() as f64 / MEASURE.as_secs_f64(), p50: at(0.5), p99: at(0.99) }
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn line(table: &mut String, what: &str, grouped: &Measured, alone: &Measured) {
    let _ = writeln!(
        table,
        "{what:>14} | {:>9.0} {:>8.2} {:>8.2} | {:>9.0} {:>8.2} {:>8.2} | {:>5.1}x {:>6.2} {:>6.2}",
        grouped.per_second,
        millis(grouped.p50),
        millis(grouped.p99),
        alone.per_second,
        millis(alone.p50),
        millis(alone.p99),
        grouped.per_second / alone.per_second,
        millis(grouped.p50) / millis(alone.p50),
        millis(grouped.p99) / millis(alone.p99),
    );
}

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the build folder is writable");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let table = runtime.block_on(async {
        let grouped = Bench::start(&folder.path().join("grouped.db"), true).await;
        let alone = Bench::start(&folder.path().join("alone.db"), false).await;
        let mut table = String::from(
            "               |         group commit        |    one commit per update    |        ratio\n\
             \x20       load   | updates/s  p50 ms   p99 ms | updates/s  p50 ms   p99 ms |  rate    p50    p99\n",
        );
        for writers in [1, 30, 300] {
            let grouped = grouped.as_fast_as_answered(writers).await;
            let alone = alone.as_fast_as_answered(writers).await;
            line(&mut table, &format!("{writers} writers"), &grouped, &alone);
        }
        for rate in [30, 300, 1000] {
            let grouped = grouped.at_rate(rate).await;
            let alone = alone.at_rate(rate).await;
            line(&mut table, &format!("{rate} per s"), &grouped, &alone);
        }
        grouped.store.close().await;
        alone.store.close().await;
        table
    });
    println!("{table}");
}
