//! What group commit is worth: the same store, the same statements and the same disk, once with all
//! writers meeting in a group and once with one commit per update.
//!
//! `make bench-store` prints a table, and so does `make bench`. Each load is measured in rounds, the two ways taking
//! turns, and the medians are shown; so are the medians of each round's ratios, which a noisy machine
//! disturbs least. Absolute figures say something about the disk; the ratios say something about the store.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ensemble_protocol::id::{DocumentId, MemberId, NodeId, ProjectId};
use ensemble_store::{
    Author, Change, ClientAdvance, ClientOwner, DocumentKind, Hash, Ids, InFlight, NewUpdate, SqliteStore,
    Stamp, Store, SystemClock, SystemIds, Write,
};
use tokio::sync::Mutex;

/// Bytes of an update: a keystroke with its envelope, or a short paste.
const UPDATE_BYTES: usize = 200;

/// Documents the writers share out among themselves.
const DOCUMENTS: usize = 20;

/// How often each load is measured, each way.
const ROUNDS: usize = 5;

/// How long each round takes.
const ROUND: Duration = Duration::from_secs(2);

/// The same for loads of a few updates a second.
const SLOW_ROUND: Duration = Duration::from_secs(10);

/// Updates written down as in flight for its line.
const IN_FLIGHT: u32 = 200_000;

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
        let end = Instant::now() + ROUND;
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
        Measured::new(waits, ROUND)
    }

    /// Updates arrive at a steady rate, answered or not, from thirty writers.
    async fn at_rate(&self, per_second: u32) -> Measured {
        let round = if per_second < 10 { SLOW_ROUND } else { ROUND };
        let writers: Vec<_> = (0..30).map(|number| Arc::new(Mutex::new(self.writer(number)))).collect();
        let mut tick = tokio::time::interval(Duration::from_secs(1) / per_second);
        let start = Instant::now();
        let mut tasks = Vec::new();
        loop {
            tick.tick().await;
            if start.elapsed() >= round {
                break;
            }
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
        Measured::new(waits, round)
    }

    async fn measure(&self, load: Load) -> Measured {
        match load {
            Load::Writers(writers) => self.as_fast_as_answered(writers).await,
            Load::PerSecond(rate) => self.at_rate(rate).await,
        }
    }
}

#[derive(Clone, Copy)]
enum Load {
    /// So many writers, each as fast as it is answered.
    Writers(usize),
    /// So many updates a second, answered or not.
    PerSecond(u32),
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

#[derive(Clone, Copy)]
struct Measured {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

impl Measured {
    fn new(mut waits: Vec<Duration>, time: Duration) -> Self {
        waits.sort_unstable();
        let at = |part: f64| waits[((waits.len() - 1) as f64 * part).round() as usize].as_secs_f64() * 1000.0;
        Self { per_second: waits.len() as f64 / time.as_secs_f64(), p50_ms: at(0.5), p99_ms: at(0.99) }
    }

    fn over(self, other: Self) -> Self {
        Self {
            per_second: self.per_second / other.per_second,
            p50_ms: self.p50_ms / other.p50_ms,
            p99_ms: self.p99_ms / other.p99_ms,
        }
    }

    fn median(rounds: &[Self]) -> Self {
        let of = |value: fn(&Self) -> f64| {
            let mut values: Vec<_> = rounds.iter().map(value).collect();
            values.sort_unstable_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Self {
            per_second: of(|round| round.per_second),
            p50_ms: of(|round| round.p50_ms),
            p99_ms: of(|round| round.p99_ms),
        }
    }
}

async fn line(table: &mut String, load: Load, grouped: &Bench, alone: &Bench) {
    let (mut with, mut without, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // Who comes first changes as well.
        let (one, other);
        if round % 2 == 0 {
            one = grouped.measure(load).await;
            other = alone.measure(load).await;
        } else {
            other = alone.measure(load).await;
            one = grouped.measure(load).await;
        }
        with.push(one);
        without.push(other);
        ratios.push(one.over(other));
    }
    let [with, without, ratios] = [with, without, ratios].map(|rounds| Measured::median(&rounds));
    let what = match load {
        Load::Writers(writers) => format!("{writers} writers"),
        Load::PerSecond(rate) => format!("{rate} per s"),
    };
    let _ = writeln!(
        table,
        "{what:>14} | {:>9.0} {:>8.2} {:>8.2} | {:>9.0} {:>8.2} {:>8.2} | {:>5.2}x {:>6.2} {:>6.2}",
        with.per_second,
        with.p50_ms,
        with.p99_ms,
        without.per_second,
        without.p50_ms,
        without.p99_ms,
        ratios.per_second,
        ratios.p50_ms,
        ratios.p99_ms,
    );
}

/// What it costs to write down which update is being applied.
fn in_flight(folder: &Path) -> String {
    let file =
        InFlight::open(InFlight::path_beside(&folder.join("ensemble.db"))).expect("a folder to write in");
    let mut slot = file.slot(DocumentId::from_uuid(SystemIds.uuid())).expect("there is room");
    let mut rounds: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for number in 0..IN_FLIGHT {
                slot.begin(Hash([number as u8; 32]));
                slot.end();
            }
            start.elapsed().as_secs_f64() * 1e6 / f64::from(IN_FLIGHT)
        })
        .collect();
    rounds.sort_unstable_by(f64::total_cmp);
    format!("update in flight, written down and cleared: {:.2} us", rounds[ROUNDS / 2])
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
            "\nstore: updates of 200 bytes in 20 documents; how long until one is acknowledged, on disk\n\
             \x20              |         group commit        |    one commit per update    |        ratio\n\
             \x20       load   | updates/s  p50 ms   p99 ms | updates/s  p50 ms   p99 ms |  rate    p50    p99\n",
        );
        for load in [1, 30, 300].map(Load::Writers) {
            line(&mut table, load, &grouped, &alone).await;
        }
        for load in [1, 30, 300].map(Load::PerSecond) {
            line(&mut table, load, &grouped, &alone).await;
        }
        grouped.store.close().await;
        alone.store.close().await;
        table
    });
    println!("{table}\n{}", in_flight(folder.path()));
}
