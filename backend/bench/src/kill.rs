//! Kills the server again and again while people type and turns run, and counts what was lost or doubled.
//!
//! The real program with its real database on disk is killed with SIGKILL at a random moment and started again.
//! What was acknowledged must be in its text before anybody has come back. Then people reconnect and resync as
//! Yjs clients do, keeping what they have and typing on. Now and then one of them loses everything with the
//! laptop: what was acknowledged must still be there, what was not may be gone. During some kills a turn runs: it
//! must come back interrupted, and nothing of it that anybody saw may be taken back.

mod record;
mod typist;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde_json::{Value, json};
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tokio::sync::watch;

use self::record::{Record, Verdict};
use self::typist::{Role, Typist};
use crate::agent::python_file;
use crate::api::{Api, NewProject};
use crate::random::Random;
use crate::report::{Delays, Table, figure};
use crate::server::{Process, ServerOptions, data_folder};

/// How long people type before a kill.
const TYPING: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(600));
/// One kill in so many comes while a turn runs.
const TURN_EVERY: usize = 5;
/// One kill in so many takes a laptop along.
const LAPTOP_EVERY: usize = 4;
/// How fast the demo model writes: slowly enough that its turn is still running when the kill comes.
const TOKENS_PER_SECOND: u32 = 300;
/// Functions the turn documents: some twenty seconds of work.
const FUNCTIONS: usize = 60;
/// How long people may take to be back after a kill, or to be acknowledged in the end.
const SETTLE_TIME: Duration = Duration::from_secs(30);

/// What is run.
#[derive(Debug, Clone, Args)]
pub(crate) struct KillOptions {
    /// How often the server is killed.
    #[arg(long, default_value_t = 30)]
    pub(crate) kills: usize,
    /// People who type.
    #[arg(long, default_value_t = 5)]
    pub(crate) clients: usize,
    /// Makes the same choices again; another one each time when left out.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Keep the folder with the database and the log, and say where it is.
    #[arg(long)]
    pub(crate) keep: bool,
}

/// What is measured over all kills.
#[derive(Debug, Default)]
struct Figures {
    ready: Delays,
    synced: Delays,
    acknowledged: Delays,
    turns: usize,
    laptops: usize,
    sequence: BTreeMap<String, (u64, u64)>,
}

/// The server, what it serves, and who is in it.
struct World {
    options: KillOptions,
    server: ServerOptions,
    process: Option<Process>,
    folder: tempfile::TempDir,
    /// Where the server is; nobody while it is down.
    place: watch::Sender<Option<String>>,
    project: NewProject,
    document: String,
    typists: Vec<Typist>,
    random: Random,
    figures: Figures,
}

/// A turn under way during a kill.
struct RunningTurn {
    id: String,
    document: String,
    watcher: Typist,
}

/// Kills as often as it should, prints the table and returns the figures. Fails on any loss or doubling.
pub(crate) async fn run(options: &KillOptions, server: &ServerOptions) -> anyhow::Result<Value> {
    let seed = options.seed.unwrap_or_else(Random::any_seed);
    println!("\nkill: {} kills, {} people, seed {seed}", options.kills, options.clients);
    let began = Instant::now();
    let mut world = World::open(options, server, seed).await?;
    let outcome = world.run().await;
    let folder = if options.keep || outcome.is_err() {
        let kept = std::mem::replace(&mut world.folder, data_folder()?).keep();
        println!("the database and the log are in {}", kept.display());
        Some(kept)
    } else {
        None
    };
    let verdict = outcome.with_context(|| format!("with seed {seed}"))?;
    let figures = &world.figures;
    let mut table = Table::new(["time to be back, ms", "p50", "max"]);
    for (name, delays) in [
        ("kill to server ready", &figures.ready),
        ("ready to everybody synced", &figures.synced),
        ("ready to first edit stored", &figures.acknowledged),
    ] {
        let (middle, most) = (delays.percentile(0.5), delays.percentile(1.0));
        table.row([name.to_owned(), figure(middle, 0), figure(most, 0)]);
    }
    print!("{}", table.text());
    println!(
        "{} edits acknowledged, {} typed in all, {} laptops lost, {} turns interrupted by a kill, {:.1} s",
        verdict.acknowledged,
        verdict.made,
        figures.laptops,
        figures.turns,
        began.elapsed().as_secs_f64()
    );
    println!(
        "lost {}, doubled {}, come back after deletion {}",
        verdict.lost, verdict.doubled, verdict.undead
    );
    let failed = usize::from(verdict.is_failure());
    println!("{} kills survived, {failed} failed", options.kills - failed.min(options.kills));
    for line in &verdict.examples {
        println!("  {line}");
    }
    if verdict.is_failure() {
        bail!("edits were lost or doubled; run it again with --seed {seed}");
    }
    Ok(json!({
        "seed": seed,
        "kills": options.kills,
        "clients": options.clients,
        "seconds": began.elapsed().as_secs_f64(),
        "edits": verdict.made,
        "acknowledged": verdict.acknowledged,
        "lost": verdict.lost,
        "doubled": verdict.doubled,
        "laptops_lost": figures.laptops,
        "turns_interrupted": figures.turns,
        "ready": figures.ready.json(),
        "synced": figures.synced.json(),
        "first_acknowledgement": figures.acknowledged.json(),
        "folder": folder,
    }))
}

impl World {
    async fn open(options: &KillOptions, server: &ServerOptions, seed: u64) -> anyhow::Result<Self> {
        let folder = data_folder()?;
        let mut server = server.clone();
        server.env.push(("ENSEMBLE_DEMO_TOKENS_PER_SECOND".into(), TOKENS_PER_SECOND.to_string()));
        let process = Process::server(&server, folder.path()).await?;
        let api = Api::new(process.base())?;
        let project = api.create_project().await?;
        let owner = api.with_token(&project.token);
        let document = owner.create_document(&project.id, "notes.txt", "").await?;
        let (place, _) = watch::channel(Some(process.base().to_owned()));
        let mut random = Random::new(seed);
        let mut typists = Vec::new();
        for number in 0..options.clients {
            let token = owner.invite(&project.id, &format!("Person {number}")).await?;
            let address = format!("{}/{document}", project.id);
            let role = Role::Writes(number);
            typists.push(Typist::start(role, &address, &token, place.subscribe(), random.fork()));
        }
        let options = options.clone();
        let process = Some(process);
        let figures = Figures::default();
        Ok(Self { options, server, process, folder, place, project, document, typists, random, figures })
    }

    fn api(&self) -> anyhow::Result<Api> {
        let process = self.process.as_ref().context("the server is running")?;
        Ok(Api::new(process.base())?.with_token(&self.project.token))
    }

    async fn run(&mut self) -> anyhow::Result<Verdict> {
        until("everybody is in", &self.typists, Typist::is_synced).await?;
        for kill in 1..=self.options.kills {
            self.one_kill(kill).await.with_context(|| format!("at kill {kill}"))?;
        }
        for typist in &self.typists {
            typist.pause();
        }
        until("everything is acknowledged", &self.typists, Typist::is_saved).await?;
        let end = self.ending().await?;
        let record: Vec<Record> = self.typists.iter().map(Typist::record).collect();
        let verdict = record::judge(&end, &record);
        let process = self.process.take().context("the server is running")?;
        self.place.send_replace(None);
        process.stop().await?;
        let log = self.check_log().await.context("reading the log failed")?;
        if self.options.keep {
            println!("{log} updates in the log, gapless in every document");
        }
        Ok(verdict)
    }

    async fn one_kill(&mut self, kill: usize) -> anyhow::Result<()> {
        // Not in the same phase, so that some kills take a laptop and a turn at once.
        let turn =
            if kill % TURN_EVERY == 2 % TURN_EVERY { Some(self.start_turn(kill).await?) } else { None };
        tokio::time::sleep(self.random.between(TYPING.0, TYPING.1)).await;
        let process = self.process.take().context("the server is running")?;
        let killed = Instant::now();
        process.kill().await?;
        self.place.send_replace(None);
        if kill.is_multiple_of(LAPTOP_EVERY) {
            let unlucky = self.random.below(self.typists.len().max(1) as u64) as usize;
            if let Some(typist) = self.typists.get(unlucky) {
                typist.lose_laptop();
                self.figures.laptops += 1;
            }
        }
        let process = Process::server(&self.server, self.folder.path()).await?;
        self.figures.ready.add(killed.elapsed());
        let base = process.base().to_owned();
        self.process = Some(process);
        self.check_stored().await?;
        let opened = Instant::now();
        self.place.send_replace(Some(base));
        until("everybody is back", &self.typists, |typist| typist.synced_since(killed).is_some()).await?;
        until("the first is acknowledged", &self.typists[..1], |_| {
            self.typists.iter().any(|typist| typist.acknowledged_since(killed).is_some())
        })
        .await?;
        let synced = self.typists.iter().filter_map(|typist| typist.synced_since(killed)).max();
        let acknowledged = self.typists.iter().filter_map(|typist| typist.acknowledged_since(killed)).min();
        self.figures.synced.add(synced.unwrap_or(opened) - opened);
        self.figures.acknowledged.add(acknowledged.unwrap_or(opened) - opened);
        self.check_version(&self.document.clone()).await?;
        if let Some(turn) = turn {
            self.check_turn(turn, killed).await.context("the turn that ran during the kill")?;
        }
        Ok(())
    }

    /// What was acknowledged is there before anybody has come back: they would bring back what was lost.
    async fn check_stored(&self) -> anyhow::Result<()> {
        let record: Vec<Record> = self.typists.iter().map(Typist::record).collect();
        let text = self.api()?.text(&self.project.id, &self.document).await?.text;
        let verdict = record::judge(&text, &record);
        ensure!(
            !verdict.is_failure(),
            "from the disk came back a text with {} edits lost, {} doubled, {} undone: {}",
            verdict.lost,
            verdict.doubled,
            verdict.undead,
            verdict.examples.join("; ")
        );
        Ok(())
    }

    /// Starts a turn in a document of its own, and waits until somebody sees it write.
    async fn start_turn(&mut self, kill: usize) -> anyhow::Result<RunningTurn> {
        let api = self.api()?;
        let text = python_file(FUNCTIONS);
        let document = api.create_document(&self.project.id, &format!("sums_{kill}.py"), &text).await?;
        let address = format!("{}/{document}", self.project.id);
        let watcher = Typist::start(
            Role::Watches,
            &address,
            &self.project.token,
            self.place.subscribe(),
            self.random.fork(),
        );
        until("the watcher is in", std::slice::from_ref(&watcher), Typist::is_synced).await?;
        let prompt = "add documentation comments to every function";
        let id = api.start_turn(&self.project.id, &document, prompt).await?;
        until("the turn writes", std::slice::from_ref(&watcher), |watcher| watcher.heard() > 0).await?;
        Ok(RunningTurn { id, document, watcher })
    }

    async fn check_turn(&mut self, turn: RunningTurn, killed: Instant) -> anyhow::Result<()> {
        let api = self.api()?;
        let ended = api.turn_over(&self.project.id, &turn.id, SETTLE_TIME).await?;
        let status = ended.get("status").and_then(Value::as_str).unwrap_or_default();
        ensure!(status == "interrupted", "its status is `{status}` after the restart");
        let watcher = std::slice::from_ref(&turn.watcher);
        until("the watcher is back", watcher, |watcher| watcher.synced_since(killed).is_some()).await?;
        ensure!(!turn.watcher.was_taken_back(), "text of the turn that a peer had seen is gone");
        let text = api.text(&self.project.id, &turn.document).await?.text;
        until("the watcher has the server's text", watcher, |watcher| watcher.text() == text).await?;
        ensure!(text.len() > python_file(FUNCTIONS).len(), "nothing of the turn is left");
        self.figures.turns += 1;
        self.check_version(&turn.document).await
    }

    /// Versions only go up, within one epoch.
    async fn check_version(&mut self, document: &str) -> anyhow::Result<()> {
        let now = self.api()?.text(&self.project.id, document).await?.numbers()?;
        let before = self.figures.sequence.insert(document.to_owned(), now).unwrap_or((now.0, 0));
        ensure!(now.0 == before.0, "the epoch went from {} to {}", before.0, now.0);
        ensure!(now.1 >= before.1, "the version went back from {} to {}", before.1, now.1);
        Ok(())
    }

    /// The server's text, once everybody has the same.
    async fn ending(&self) -> anyhow::Result<String> {
        let api = self.api()?;
        let deadline = Instant::now() + SETTLE_TIME;
        loop {
            let text = api.text(&self.project.id, &self.document).await?.text;
            let differing = self.typists.iter().filter(|typist| typist.text() != text).count();
            if differing == 0 {
                return Ok(text);
            }
            ensure!(Instant::now() < deadline, "{differing} people have another text than the server");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Every document's log, live rows and history segments together, has every number from 1 to its last once,
    /// in one epoch; returns how many.
    async fn check_log(&self) -> anyhow::Result<i64> {
        let file = database(self.folder.path())?;
        let options = SqliteConnectOptions::new().filename(file).read_only(true);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        let rows = sqlx::query(
            "select d.id as document, d.epoch as current, d.last_seq as newest, l.epoch, l.lowest, l.highest \
             from documents d join (\
               select document, epoch, seq as lowest, seq as highest from updates \
               union all select document, epoch, first_seq, last_seq from segments\
             ) l on l.document = d.id order by d.id, l.lowest",
        )
        .fetch_all(&pool)
        .await?;
        pool.close().await;
        let mut ends: BTreeMap<Vec<u8>, (i64, i64)> = BTreeMap::new();
        for row in rows {
            let number = |name| row.try_get::<i64, _>(name);
            let (newest, lowest, highest) = (number("newest")?, number("lowest")?, number("highest")?);
            ensure!(number("epoch")? == number("current")?, "a log has rows of another epoch");
            let (end, _) = ends.entry(row.try_get("document")?).or_insert((0, newest));
            ensure!(lowest == *end + 1, "after update {end} of a document comes {lowest}");
            *end = highest;
        }
        for (end, newest) in ends.values() {
            ensure!(end == newest, "a document is at {newest} and its log ends at {end}");
        }
        Ok(ends.values().map(|(end, _)| end).sum())
    }
}

fn database(folder: &Path) -> anyhow::Result<std::path::PathBuf> {
    let data = folder.join("data");
    let found = std::fs::read_dir(&data)?.filter_map(Result::ok).map(|entry| entry.path()).find(|path| {
        path.extension().is_some_and(|end| ["db", "sqlite", "sqlite3"].iter().any(|known| end == *known))
    });
    found.with_context(|| format!("there is no database in `{}`", data.display()))
}

async fn until(what: &str, typists: &[Typist], done: impl Fn(&Typist) -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + SETTLE_TIME;
    loop {
        if let Some(failure) = typists.iter().find_map(Typist::failure) {
            bail!("a client gave up: {failure}");
        }
        if typists.iter().all(&done) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let states: Vec<String> = typists.iter().map(Typist::describe).collect();
            bail!("{what}: not within {SETTLE_TIME:?}; {}", states.join("; "));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Shared ownership of a record, since its typist goes on while it is read.
type Shared<T> = Arc<parking_lot::Mutex<T>>;
