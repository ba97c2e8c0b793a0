//! Kills the server again and again while people type and an agent writes, and counts what was lost or doubled.
//!
//! The real program with its real database on disk is killed with SIGKILL at a random moment and started again,
//! each time in the middle of a turn that writes into the document people type in. What was acknowledged, and what
//! anybody saw of the turn, must be in its text before anybody has come back; the turn must be interrupted. Then
//! people reconnect and resync as Yjs clients do, keeping what they have and typing on. Now and then one of them
//! loses everything with the laptop: what was acknowledged must still be there, what was not may be gone. Sometimes
//! the server is asked to stop instead of killed, which counts as no kill, or suspended and continued first; neither
//! may lose anything.
//! Every few kills all turns are rejected, which must leave what people typed and nothing else, and it goes on in
//! another document.
//!
//! With a disk that fails, people type on while it does. Nothing may be acknowledged meanwhile, newcomers must be
//! shown the document, and afterwards everything must be saved by itself; sometimes the server is killed in the
//! middle of it.

mod disk;
mod log;
mod record;
mod typist;
mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};

use self::disk::Fault;
use self::world::World;
use crate::random::Random;
use crate::report::{Delays, Table, figure};
use crate::server::{ServerOptions, data_folder};

/// What is run.
#[derive(Debug, Clone, Args)]
pub(crate) struct KillOptions {
    /// How often the server is killed (SIGKILL), stops not counted; with a disk that fails, how often that happens.
    #[arg(long, default_value_t = 30)]
    pub(crate) kills: usize,
    /// People who type.
    #[arg(long, default_value_t = 20)]
    pub(crate) clients: usize,
    /// The disk is full again and again.
    #[arg(long, conflicts_with = "fsync_fails")]
    pub(crate) disk_full: bool,
    /// Syncing the disk fails again and again.
    #[arg(long)]
    pub(crate) fsync_fails: bool,
    /// Makes the same choices again; another one each time when left out.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Keep the folder with the database and the log, and say where it is.
    #[arg(long)]
    pub(crate) keep: bool,
}

impl KillOptions {
    const fn fault(&self) -> Option<Fault> {
        match (self.disk_full, self.fsync_fails) {
            (true, _) => Some(Fault::Full),
            (_, true) => Some(Fault::Sync),
            _ => None,
        }
    }
}

/// What is measured over all kills.
#[derive(Debug, Default)]
struct Figures {
    ready: Delays,
    synced: Delays,
    acknowledged: Delays,
    /// From SIGTERM until the server is gone.
    stopped: Delays,
    /// How often it was suspended and went on.
    suspended: usize,
    rounds: Delays,
    /// From the end of a fault until the server says that it can write.
    healed: Delays,
    kills: usize,
    /// Kills in the middle of a fault, and starts refused during one.
    kills_while_failing: usize,
    starts_refused: usize,
    /// Edits nobody acknowledged when a fault ended.
    held_back: usize,
    turns_interrupted: usize,
    /// Of those, turns of which somebody had seen something.
    turns_seen: usize,
    turns_rejected: usize,
    /// UTF-16 units of turns' text that were looked for after a kill, each counted once.
    turns_units: u64,
    laptops: usize,
    chapters: usize,
}

/// Kills as often as it should, prints the table and returns the figures. Fails on any loss or doubling.
pub(crate) async fn run(options: &KillOptions, server: &ServerOptions) -> anyhow::Result<Value> {
    let seed = options.seed.unwrap_or_else(Random::any_seed);
    let what = if options.fault().is_some() { "faults" } else { "kills" };
    println!("\nkill: {} {what}, {} people and a turn, seed {seed}", options.kills, options.clients);
    let began = Instant::now();
    let mut world = World::open(options, server, seed).await?;
    if let Some(disk) = &world.disk {
        println!("the disk fails: {}", disk.describe());
    }
    let outcome = world.run().await;
    let folder = if options.keep || outcome.is_err() {
        // A server that is left must not outlive its disk.
        drop(world.process.take());
        if let Some(disk) = world.disk.take() {
            disk.save(&world.folder.path().join("data.saved"))?;
        }
        let kept = std::mem::replace(&mut world.folder, data_folder()?).keep();
        println!("the database and the log are in {}", kept.display());
        Some(kept)
    } else {
        None
    };
    let verdict = outcome.with_context(|| format!("with seed {seed}"))?;
    let figures = &world.figures;
    let mut table = Table::new(["time to be back, ms", "p50", "p99", "max"]);
    for (name, delays) in [
        ("kill to server ready", &figures.ready),
        ("ready to everybody synced", &figures.synced),
        ("ready to first edit stored", &figures.acknowledged),
        ("asked to stop to gone", &figures.stopped),
        ("disk works to server writes", &figures.healed),
        ("one round with everything", &figures.rounds),
    ] {
        if delays.len() > 0 {
            let at = |share| figure(delays.percentile(share), 0);
            table.row([name.to_owned(), at(0.5), at(0.99), at(1.0)]);
        }
    }
    print!("{}", table.text());
    if options.fault().is_some() {
        println!(
            "{} faults, {} edits held back by them; {} kills in the middle of one, {} starts refused meanwhile",
            options.kills, figures.held_back, figures.kills_while_failing, figures.starts_refused
        );
    }
    println!(
        "{} kills, {} stops and {} suspensions; {} turns interrupted, {} of which had written; {} characters of \
         turns still there, {} turns rejected in {} documents",
        figures.kills,
        figures.stopped.len(),
        figures.suspended,
        figures.turns_interrupted,
        figures.turns_seen,
        figures.turns_units,
        figures.turns_rejected,
        figures.chapters
    );
    println!(
        "{} edits acknowledged, {} typed in all, {} laptops lost, {:.1} s",
        verdict.acknowledged,
        verdict.made,
        figures.laptops,
        began.elapsed().as_secs_f64()
    );
    println!(
        "lost {}, doubled {}, come back after deletion {}",
        verdict.lost, verdict.doubled, verdict.undead
    );
    let failed = usize::from(verdict.is_failure());
    println!("{} {what} survived, {failed} failed", options.kills - failed.min(options.kills));
    for line in &verdict.examples {
        println!("  {line}");
    }
    if verdict.is_failure() {
        bail!("edits were lost or doubled; run it again with --seed {seed}");
    }
    Ok(json!({
        "seed": seed,
        "kills": figures.kills,
        "clients": options.clients,
        "seconds": began.elapsed().as_secs_f64(),
        "edits": verdict.made,
        "acknowledged": verdict.acknowledged,
        "lost": verdict.lost,
        "doubled": verdict.doubled,
        "laptops_lost": figures.laptops,
        "turns_interrupted": figures.turns_interrupted,
        "turns_seen": figures.turns_seen,
        "turns_rejected": figures.turns_rejected,
        "turns_characters": figures.turns_units,
        "held_back": figures.held_back,
        "kills_while_failing": figures.kills_while_failing,
        "starts_refused": figures.starts_refused,
        "ready": figures.ready.json(),
        "synced": figures.synced.json(),
        "first_acknowledgement": figures.acknowledged.json(),
        "suspended": figures.suspended,
        "stopped": figures.stopped.json(),
        "healed": figures.healed.json(),
        "round": figures.rounds.json(),
        "folder": folder,
    }))
}

/// How long anything may take that is waited for: it ends a run that would hang, and measures nothing.
const SETTLE_TIME: Duration = Duration::from_mins(2);
/// How often something that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// Waits for something that is to become true soon.
async fn until(
    what: &str,
    typists: &[typist::Typist],
    done: impl Fn(&typist::Typist) -> bool,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + SETTLE_TIME;
    loop {
        if let Some(failure) = typists.iter().find_map(typist::Typist::failure) {
            bail!("a client gave up: {failure}");
        }
        if typists.iter().all(&done) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let waiting = typists.iter().filter(|typist| !done(typist)).map(typist::Typist::describe);
            bail!("{what}: not within {SETTLE_TIME:?}; {}", waiting.collect::<Vec<_>>().join("; "));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Shared ownership of a record, since its typist goes on while it is read.
type Shared<T> = Arc<parking_lot::Mutex<T>>;
