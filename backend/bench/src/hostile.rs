//! Hostile bytes against the real server, while honest people type in the same documents.
//!
//! First every fixture that ever crashed, hung or misled a CRDT library, as an Update, as either sync step and as
//! presence, over both protocols; then random damage to honest frames: whole frames with their addresses and
//! tokens, and well-framed payloads, which get further. The hostile ones are editors with accounts of their own.
//! It goes in waves, each with fresh documents: what a wave leaves behind must not slow the next one down.
//! Throughout, everybody honest must stay connected, be acknowledged and end with the server's text, somebody
//! new must be able to join, the program must not panic and its memory must stay bounded.

mod attack;
mod frames;
mod honest;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use self::attack::{Attacker, Work};
use self::frames::{Fixture, Wire};
use self::honest::{LETTERS, Person};
use crate::api::{Api, NewProject};
use crate::random::Random;
use crate::report::{Delays, Table, figure};
use crate::server::{Process, ServerOptions, data_folder};

/// Where the fixtures are, beside this crate.
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../sync/tests/hostile-updates");
/// How long the same documents are attacked.
const WAVE: Duration = Duration::from_secs(10);
/// Waves after which a long run says that it goes on.
const PROGRESS: usize = 20;
/// Documents of a wave.
const DOCUMENTS: usize = 2;
/// Honest people in each document, and what each speaks.
const PEOPLE: [Wire; 3] = [Wire::Hocuspocus, Wire::YWebsocket, Wire::Hocuspocus];
/// Hostile connections in each document, and what each speaks.
const ATTACKERS: [Wire; 4] = [Wire::Hocuspocus, Wire::YWebsocket, Wire::Hocuspocus, Wire::YWebsocket];
/// How long people may take to have everything, once the attack has paused.
const SETTLE_TIME: Duration = Duration::from_mins(2);
/// Bytes the server may grow by: less than any of the memory bombs among the fixtures takes, and more than the
/// documents, the sockets and the allocator's slack do.
const GROWTH_BYTES: u64 = 256 * 1024 * 1024;
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What is run.
#[derive(Debug, Clone, Args)]
pub(crate) struct HostileOptions {
    /// Seconds of damaged frames, after the fixtures.
    #[arg(long, default_value_t = 30)]
    pub(crate) seconds: u64,
    /// Damaged frames to send, however long it takes, instead of a time.
    #[arg(long)]
    pub(crate) frames: Option<u64>,
    /// Makes the same choices again; another one each time when left out.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// The folder with the fixtures.
    #[arg(long, default_value = FIXTURES)]
    pub(crate) fixtures: PathBuf,
}

/// How often the server answered in which way, by protocol.
#[derive(Debug, Default)]
struct Answers(Mutex<BTreeMap<String, [u64; 2]>>);

impl Answers {
    fn count(&self, wire: Wire, answer: String) {
        self.0.lock().entry(answer).or_default()[wire as usize] += 1;
    }
}

/// What is known over all waves.
#[derive(Debug, Default)]
struct Figures {
    fixtures: Arc<Answers>,
    damaged: Arc<Answers>,
    frames: Arc<AtomicU64>,
    waits: Delays,
    newcomers: usize,
    /// Characters in the texts that nobody honest typed: hostile frames that were as good as honest.
    foreign: usize,
    waves: usize,
    peak: Arc<AtomicU64>,
}

/// Attacks as long as it should, prints the tables and returns the figures. Fails on any harm.
pub(crate) async fn run(options: &HostileOptions, server: &ServerOptions) -> anyhow::Result<Value> {
    let seed = options.seed.unwrap_or_else(Random::any_seed);
    let fixtures = Arc::new(frames::fixtures(&options.fixtures)?);
    println!("\nhostile: {} fixtures, then damaged frames, seed {seed}", fixtures.len());
    let folder = data_folder()?;
    // With the limits it is shipped with: they are a part of what is tested. But one: an attacker who comes back
    // after every refusal would be told to come less often, and it is bytes that are tried here.
    let env = ["ENSEMBLE_LIMIT_REQUESTS_PER_PERSON", "ENSEMBLE_LIMIT_REQUESTS_PER_ADDRESS"]
        .map(|name| (name.to_owned(), "100000/1000000".to_owned()));
    let server = ServerOptions { env: env.into(), ..server.clone() };
    let process = Process::server(&server, folder.path()).await?;
    let outcome = attack(options, &process, fixtures, seed).await;
    let stopped = process.stop().await;
    let log = std::fs::read_to_string(folder.path().join("server.log"))?;
    let alarms = alarms(&log);
    if outcome.is_err() || stopped.is_err() || !alarms.is_empty() {
        println!("the database and the log are in {}", folder.keep().display());
    }
    let checked = outcome.and_then(|found| {
        stopped.context("the server did not live to the end")?;
        ensure!(alarms.is_empty(), "the server's log has {} alarms: {}", alarms.len(), alarms[0]);
        Ok(found)
    });
    match checked {
        Ok(figures) => {
            println!("1 attack survived, 0 failed");
            Ok(figures)
        }
        Err(error) => {
            println!("0 attacks survived, 1 failed");
            Err(error.context(format!("with seed {seed}")))
        }
    }
}

/// Lines that no input may cause: a panic, a room that had to be replaced, a document that differs from its own
/// snapshot.
fn alarms(log: &str) -> Vec<&str> {
    let signs = [
        "panicked",
        "is replaced",
        " died",
        "a reload gives",
        "snapshot was not kept",
        "does not give its document",
        "overflowed its stack",
    ];
    // What every request leaves has ids in it, and in time those spell anything.
    let told = |line: &&str| !line.contains(" INFO ") && !line.contains(" DEBUG ");
    log.lines().filter(told).filter(|line| signs.iter().any(|sign| line.contains(sign))).take(20).collect()
}

async fn attack(
    options: &HostileOptions,
    process: &Process,
    fixtures: Arc<Vec<Fixture>>,
    seed: u64,
) -> anyhow::Result<Value> {
    let began = Instant::now();
    let api = Api::new(process.base())?;
    let project = api.create_project().await?;
    let mut world = World {
        base: process.base().to_owned(),
        owner: api.with_token(&project.token),
        project,
        random: Random::new(seed),
        figures: Figures::default(),
        fixtures,
    };
    let before = process.memory();
    let (peak, frames) = (world.figures.peak.clone(), world.figures.frames.clone());
    let watch = async {
        loop {
            peak.fetch_max(process.memory().unwrap_or(0), Ordering::Relaxed);
            tokio::time::sleep(LOOK).await;
        }
    };
    let waves = async {
        world.wave(Work::Fixtures).await.context("while the fixtures were sent")?;
        let begin = Instant::now();
        let total = Duration::from_secs(options.seconds);
        loop {
            let work = match options.frames {
                Some(wanted) if frames.load(Ordering::Relaxed) >= wanted => break,
                Some(wanted) => Work::Damage { until: Instant::now() + WAVE, frames: wanted },
                None if begin.elapsed() >= total => break,
                None => Work::Damage { until: (Instant::now() + WAVE).min(begin + total), frames: u64::MAX },
            };
            let wave = world.figures.waves;
            world.wave(work).await.with_context(|| format!("in wave {wave}"))?;
            if wave.is_multiple_of(PROGRESS) {
                println!("after {wave} waves and {} frames all is well", frames.load(Ordering::Relaxed));
            }
        }
        anyhow::Ok(())
    };
    tokio::select! {
        done = waves => done?,
        () = watch => bail!("unreachable: memory is watched for ever"),
    }
    let figures = &world.figures;
    let (sent, peak) = (frames.load(Ordering::Relaxed), figures.peak.load(Ordering::Relaxed));
    let fixture_answers = print_answers("each fixture in four messages", &figures.fixtures);
    let damaged_answers = print_answers("damaged frames", &figures.damaged);
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    println!(
        "{sent} frames in {} waves, {:.1} s; {} characters of them were admissible; {} newcomers let in",
        figures.waves,
        began.elapsed().as_secs_f64(),
        figures.foreign,
        figures.newcomers
    );
    println!(
        "{} honest keystrokes, every one acknowledged: p50 {} ms, p99 {} ms, longest {} ms",
        figures.waits.len(),
        figure(figures.waits.percentile(0.5), 1),
        figure(figures.waits.percentile(0.99), 1),
        figure(figures.waits.percentile(1.0), 0)
    );
    println!("memory {} MB before, {:.0} MB at its peak", figure(before.map(megabytes), 0), megabytes(peak));
    if let Some(before) = before {
        ensure!(peak <= before + GROWTH_BYTES, "the server's memory grew by more than {GROWTH_BYTES} bytes");
    }
    ensure!(figures.waits.len() > 0, "nobody honest typed anything");
    ensure!(figures.foreign > 0, "no frame got as far as into a text: they were all refused too early");
    Ok(json!({
        "seed": seed,
        "fixtures": world.fixtures.len(),
        "frames": sent,
        "waves": figures.waves,
        "admissible_characters": figures.foreign,
        "newcomers": figures.newcomers,
        "fixture_answers": fixture_answers,
        "damaged_answers": damaged_answers,
        "honest_wait": figures.waits.json(),
        "memory_before": before,
        "memory_peak": peak,
    }))
}

fn print_answers(what: &str, answers: &Answers) -> Value {
    let answers = answers.0.lock();
    let mut table = Table::new([what, "hocuspocus", "y-websocket"]);
    for (answer, [hocuspocus, y_websocket]) in answers.iter() {
        table.row([answer.clone(), hocuspocus.to_string(), y_websocket.to_string()]);
    }
    print!("{}", table.text());
    json!(*answers)
}

/// The server, and what has been found out about it.
struct World {
    base: String,
    owner: Api,
    project: NewProject,
    random: Random,
    figures: Figures,
    fixtures: Arc<Vec<Fixture>>,
}

impl World {
    /// Fresh documents, people in them, an attack on them; then everything is looked at.
    async fn wave(&mut self, work: Work) -> anyhow::Result<()> {
        let number = self.figures.waves;
        self.figures.waves += 1;
        let mut people: Vec<Vec<Person>> = Vec::new();
        let mut documents = Vec::new();
        for at in 0..DOCUMENTS {
            let document =
                self.owner.create_document(&self.project.id, &format!("{number}_{at}.txt"), "").await?;
            let address = format!("{}/{document}", self.project.id);
            let mut here = Vec::new();
            for (who, wire) in PEOPLE.into_iter().enumerate() {
                let token = self.owner.invite(&self.project.id, &format!("Ada {who}")).await?;
                here.push(Person::start(wire, &self.base, &address, &token, self.random.fork()));
            }
            people.push(here);
            documents.push(document);
        }
        until("everybody is in", &people, Person::is_synced).await?;

        let mut attackers = JoinSet::new();
        for (at, document) in documents.iter().enumerate() {
            for (who, wire) in ATTACKERS.into_iter().enumerate() {
                let token = self.owner.invite(&self.project.id, &format!("Mallory {who}")).await?;
                let address = format!("{}/{document}", self.project.id);
                let answers = match work {
                    Work::Fixtures => self.figures.fixtures.clone(),
                    Work::Damage { .. } => self.figures.damaged.clone(),
                };
                // Each pair of one protocol shares the fixtures of its document.
                let share = at * (ATTACKERS.len() / 2) + who / 2;
                let attacker = Attacker {
                    wire,
                    base: self.base.clone(),
                    address,
                    token,
                    random: self.random.fork(),
                    answers,
                    frames: self.figures.frames.clone(),
                    fixtures: self.fixtures.clone(),
                    share,
                    shares: DOCUMENTS * ATTACKERS.len() / 2,
                };
                attackers.spawn(attacker.run(work));
            }
        }
        while let Some(ended) = attackers.join_next().await {
            ended??;
            check(&people)?;
        }
        self.look(&people, &documents).await
    }

    /// Everybody honest has the server's text, and somebody new gets it.
    async fn look(&mut self, people: &[Vec<Person>], documents: &[String]) -> anyhow::Result<()> {
        people.iter().flatten().for_each(Person::pause);
        until("everything honest is acknowledged", people, Person::is_saved).await?;
        for (people, document) in people.iter().zip(documents) {
            let deadline = Instant::now() + SETTLE_TIME;
            let text = loop {
                let text = self.owner.text(&self.project.id, document).await?.text;
                let differing = people.iter().filter(|person| person.text() != text).count();
                if differing == 0 {
                    break text;
                }
                ensure!(Instant::now() < deadline, "{differing} people have another text than the server");
                tokio::time::sleep(LOOK).await;
            };
            self.figures.foreign += text.chars().filter(|letter| !LETTERS.contains(letter)).count();
            let address = format!("{}/{document}", self.project.id);
            for wire in [Wire::Hocuspocus, Wire::YWebsocket] {
                let token = self.owner.invite(&self.project.id, "Grace").await?;
                let random = self.random.fork();
                let newcomer = [vec![Person::listen(wire, &self.base, &address, &token, random)]];
                until("a newcomer is in", &newcomer, Person::is_synced).await?;
                let same = |person: &Person| person.text() == text;
                until("a newcomer has the text", &newcomer, same).await?;
                self.figures.newcomers += 1;
            }
        }
        for person in people.iter().flatten() {
            self.figures.waits.append(person.waits());
        }
        Ok(())
    }
}

fn check(people: &[Vec<Person>]) -> anyhow::Result<()> {
    match people.iter().flatten().find_map(Person::failure) {
        Some(failure) => bail!("somebody honest came to harm: {failure}"),
        None => Ok(()),
    }
}

async fn until(what: &str, people: &[Vec<Person>], done: impl Fn(&Person) -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + SETTLE_TIME;
    loop {
        check(people)?;
        if people.iter().flatten().all(&done) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{what}: not within {SETTLE_TIME:?}");
        tokio::time::sleep(LOOK).await;
    }
}

/// The text of a file of hexadecimal digits, as bytes.
fn unhex(path: &Path) -> anyhow::Result<Vec<u8>> {
    let text = std::fs::read_to_string(path)?;
    let digits: Vec<u8> = text.trim().bytes().collect();
    digits
        .chunks(2)
        .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?))
        .collect::<anyhow::Result<_>>()
        .with_context(|| format!("`{}` is not hexadecimal", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_or_a_lost_room_is_an_alarm() {
        let log = "thread 'x' panicked at y\n1970 INFO all is well request.id=Aa-died\n1970 ERROR a room died and is replaced\n";
        assert_eq!(alarms(log).len(), 2);
    }
}
