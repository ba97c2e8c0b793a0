//! The server, what it serves, who is in it, and what happens to them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::sync::watch;

use super::disk::Disk;
use super::record::{self, HEADER, Record, Verdict, Writer, token, tokens};
use super::typist::{Meeting, Role, Typist};
use super::{Figures, KillOptions, SETTLE_TIME, Shared, log, until};
use crate::api::{Api, NewProject};
use crate::model::{ScriptedModel, paced};
use crate::random::Random;
use crate::server::{Process, ServerOptions, data_folder};

/// How long people type before a kill.
const TYPING: (Duration, Duration) = (Duration::from_millis(0), Duration::from_millis(600));
/// How long a disk fails once everybody feels it.
const FAILING: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// Kills, or faults, in the same document: its text stays as short as people's documents are.
const CHAPTER: usize = 15;
/// Rounds after which a long run says that it goes on.
const PROGRESS: usize = 100;
/// One kill in so many takes a laptop along.
const LAPTOP_EVERY: usize = 4;
/// In one round of so many the server is asked to stop instead of killed (SIGTERM), which must lose nothing either.
const STOP_EVERY: usize = 6;
/// Before one kill in so many the server is suspended for a while, and goes on.
const SUSPEND_EVERY: usize = 10;
/// For how long: shorter, and longer, than a room may be at one message.
const SUSPENDED: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(3500));
/// One fault in so many takes the server along.
const KILL_EVERY: u64 = 3;
/// One kill in so many does not wait until the turn has written something.
const EARLY_EVERY: u64 = 4;
/// How fast the model writes.
const TOKENS_PER_SECOND: u32 = 300;
/// Tokens that a turn would write if nobody stopped it: a minute of work, which no round lasts.
const TURN_TOKENS: u32 = 8_000;
/// How often the counts of a standstill are looked at, and how often in a row they must be the same.
const STILL: (Duration, usize) = (Duration::from_millis(20), 15);
/// The document everybody types in.
const NOTES: &str = "notes.txt";
/// A document nobody types in, and what stands in it.
const QUIET: (&str, &str) = ("quiet.txt", "Nobody types here.\n");

/// The server, what it serves, and who may be in it.
pub(super) struct World {
    pub(super) options: KillOptions,
    pub(super) server: ServerOptions,
    /// Before the disk it writes on, and the folder it is in: what is dropped goes in this order.
    pub(super) process: Option<Process>,
    pub(super) disk: Option<Disk>,
    pub(super) folder: tempfile::TempDir,
    /// Where the server is; nobody while it is down.
    place: watch::Sender<Option<String>>,
    project: NewProject,
    /// Tokens of those who type.
    tokens: Vec<String>,
    /// The document nobody types in.
    quiet: String,
    model: ScriptedModel,
    /// Turns started so far; no two write the same.
    turns: usize,
    random: Random,
    pub(super) figures: Figures,
    versions: BTreeMap<String, (u64, u64)>,
}

/// A document for some of the rounds, and who is in it.
struct Chapter {
    document: String,
    meeting: Meeting,
    /// Those who type, and behind them one who only looks.
    everybody: Vec<Typist>,
    /// Turns that ended, and the one under way, with what was seen of turns before it.
    over: Vec<String>,
    running: Option<(String, u64)>,
}

impl Chapter {
    fn writers(&self) -> &[Typist] {
        &self.everybody[..self.everybody.len() - 1]
    }

    fn watcher(&self) -> &Typist {
        &self.everybody[self.everybody.len() - 1]
    }

    fn records(&self) -> Vec<Record> {
        self.writers().iter().map(Typist::record).collect()
    }

    /// Edits acknowledged so far, and how much of turns can be seen: what only grows while the disk works.
    fn progress(&self) -> (usize, u64) {
        (self.writers().iter().map(Typist::acknowledged).sum(), self.watcher().turns_units())
    }
}

impl World {
    pub(super) async fn open(
        options: &KillOptions,
        server: &ServerOptions,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let folder = data_folder()?;
        let disk = options.fault().map(|fault| Disk::new(fault, folder.path())).transpose()?;
        let model = ScriptedModel::start().await?;
        let mut server = server.clone();
        server.env.extend(model.env());
        server.env.extend(disk.iter().flat_map(Disk::env));
        let process = Process::server(&server, folder.path()).await?;
        let project = Api::new(process.base())?.create_project().await?;
        let (place, _) = watch::channel(Some(process.base().to_owned()));
        Ok(Self {
            options: options.clone(),
            server,
            process: Some(process),
            disk,
            folder,
            place,
            project,
            tokens: Vec::new(),
            quiet: String::new(),
            model,
            turns: 0,
            random: Random::new(seed),
            figures: Figures::default(),
            versions: BTreeMap::new(),
        })
    }

    fn api(&self) -> anyhow::Result<Api> {
        let process = self.process.as_ref().context("the server is running")?;
        Ok(Api::new(process.base())?.with_token(&self.project.token))
    }

    pub(super) async fn run(&mut self) -> anyhow::Result<Verdict> {
        let mut verdict = Verdict::default();
        let mut round = 0;
        while self.is_more_to_do(round) {
            let mut chapter = self.begin().await?;
            for _ in 0..CHAPTER {
                if !self.is_more_to_do(round) {
                    break;
                }
                round += 1;
                let began = Instant::now();
                let played = match self.disk {
                    None => self.kill_in_a_turn(&mut chapter, round).await,
                    Some(_) => self.fail_in_a_turn(&mut chapter, round).await,
                };
                played.with_context(|| format!("in round {round}"))?;
                self.figures.rounds.add(began.elapsed());
                if round.is_multiple_of(PROGRESS) {
                    println!("after {round} rounds all is well");
                }
            }
            verdict.add(self.end(chapter).await?);
        }
        let process = self.process.take().context("the server is running")?;
        self.place.send_replace(None);
        process.stop().await?;
        let log = log::check(self.folder.path()).await.context("reading the log failed")?;
        if self.options.keep {
            println!("{log} updates in the log, gapless in every document");
        }
        Ok(verdict)
    }

    /// Whether the server was killed, or its disk failed, less often than it should. Stops come on top of kills.
    const fn is_more_to_do(&self, rounds: usize) -> bool {
        let done = if self.disk.is_some() { rounds } else { self.figures.kills };
        done < self.options.kills
    }

    /// Everybody meets in a document, of a project of its own: a turn reads all that are in its project.
    async fn begin(&mut self) -> anyhow::Result<Chapter> {
        self.figures.chapters += 1;
        let process = self.process.as_ref().context("the server is running")?;
        self.project = Api::new(process.base())?.create_project().await?;
        let owner = self.api()?;
        self.quiet = owner.create_document(&self.project.id, QUIET.0, QUIET.1).await?;
        let document = owner.create_document(&self.project.id, NOTES, HEADER).await?;
        self.tokens.clear();
        for number in 0..self.options.clients {
            self.tokens.push(owner.invite(&self.project.id, &format!("Person {number}")).await?);
        }
        let meeting = Meeting {
            address: format!("{}/{document}", self.project.id),
            place: self.place.subscribe(),
            people: Shared::default(),
            writers: self.options.clients,
        };
        let roles = (0..self.options.clients).map(Role::Writes).chain([Role::Watches]);
        let tokens = self.tokens.iter().chain([&self.project.token]);
        let random = &mut self.random;
        let everybody =
            roles.zip(tokens).map(|(role, token)| Typist::start(role, &meeting, token, random.fork()));
        let everybody: Vec<Typist> = everybody.collect();
        until("everybody is in", &everybody, Typist::is_synced).await?;
        Ok(Chapter { document, meeting, everybody, over: Vec::new(), running: None })
    }

    /// Everything is saved, all turns are rejected, and everybody has what people typed and nothing else.
    async fn end(&mut self, mut chapter: Chapter) -> anyhow::Result<Verdict> {
        let api = self.api()?;
        if let Some((turn, _)) = chapter.running.take() {
            if !self.is_over(&turn).await? {
                // It may end by itself meanwhile.
                if let Err(error) = api.interrupt_turn(&self.project.id, &turn).await
                    && !self.is_over(&turn).await?
                {
                    return Err(error);
                }
                api.turn_over(&self.project.id, &turn, SETTLE_TIME).await?;
            }
            chapter.over.push(turn);
        }
        chapter.everybody.iter().for_each(Typist::pause);
        until("everything is acknowledged", chapter.writers(), Typist::is_saved).await?;
        self.same_text(&chapter).await?;
        self.figures.turns_units += chapter.watcher().turns_units();
        while !chapter.over.is_empty() {
            let chosen = self.random.below(chapter.over.len() as u64) as usize;
            let turn = chapter.over.swap_remove(chosen);
            api.reject_turn(&self.project.id, &turn).await.context("rejecting a turn")?;
            self.figures.turns_rejected += 1;
        }
        let text = self.same_text(&chapter).await?;
        let verdict = record::judge(&text, &chapter.records());
        let (_, left) = tokens(&text);
        ensure!(
            verdict.of_turns == 0 && left == HEADER,
            "all turns are rejected, and {} of their tokens and {left:?} are left",
            verdict.of_turns
        );
        Ok(verdict)
    }

    /// The server's text, once everybody has the same.
    async fn same_text(&self, chapter: &Chapter) -> anyhow::Result<String> {
        let api = self.api()?;
        let deadline = Instant::now() + SETTLE_TIME;
        loop {
            let text = api.text(&self.project.id, &chapter.document).await?.text;
            let differing = chapter.everybody.iter().filter(|typist| typist.text() != text).count();
            if differing == 0 {
                return Ok(text);
            }
            ensure!(Instant::now() < deadline, "{differing} people have another text than the server");
            tokio::time::sleep(STILL.0).await;
        }
    }

    async fn kill_in_a_turn(&mut self, chapter: &mut Chapter, round: usize) -> anyhow::Result<()> {
        self.keep_a_turn_running(chapter).await?;
        tokio::time::sleep(self.random.between(TYPING.0, TYPING.1)).await;
        if round.is_multiple_of(SUSPEND_EVERY) {
            self.suspend(chapter).await.context("a server that was suspended")?;
        }
        let killed = self.kill(chapter, round).await?;
        let process = Process::server(&self.server, self.folder.path()).await?;
        self.come_back(chapter, process, killed).await
    }

    async fn fail_in_a_turn(&mut self, chapter: &mut Chapter, round: usize) -> anyhow::Result<()> {
        self.keep_a_turn_running(chapter).await?;
        tokio::time::sleep(self.random.between(TYPING.0, TYPING.1)).await;
        self.disk()?.fail()?;
        self.health(false).await.context("the disk fails")?;
        until("everybody has something unsaved", chapter.writers(), Typist::is_unsaved).await?;
        // A document takes only so many unsaved edits, and a slow machine may need its time for all this.
        chapter.writers().iter().for_each(Typist::pause);
        let before = self.standstill(chapter).await?;
        self.reading_goes_on(chapter).await.context("reading while the disk fails")?;
        chapter.writers().iter().for_each(Typist::resume);
        tokio::time::sleep(self.random.between(FAILING.0, FAILING.1)).await;
        self.disk()?.fail()?;
        let progress = chapter.progress();
        ensure!(progress == before, "from {before:?} to {progress:?} while the disk failed");
        let unsaved = |typist: &Typist| typist.record().unsaved.len();
        self.figures.held_back += chapter.writers().iter().map(unsaved).sum::<usize>();

        if self.random.below(KILL_EVERY) == 0 {
            let killed = self.kill(chapter, round).await?;
            self.figures.kills_while_failing += 1;
            let mut started = None;
            if self.random.below(2) == 0 {
                // Whether a server can start without writing is its own matter; it must not make anything worse.
                started = Process::server(&self.server, self.folder.path()).await.ok();
                self.figures.starts_refused += usize::from(started.is_none());
            }
            self.disk()?.heal()?;
            let process = match started {
                Some(process) => process,
                None => Process::server(&self.server, self.folder.path()).await?,
            };
            return self.come_back(chapter, process, killed).await;
        }
        chapter.writers().iter().for_each(Typist::forget_acknowledgement);
        let healed = Instant::now();
        self.disk()?.heal()?;
        self.health(true).await.context("the disk works again")?;
        self.figures.healed.add(healed.elapsed());
        until("everybody is acknowledged again", chapter.writers(), |typist| {
            typist.acknowledged_since(healed).is_some()
        })
        .await?;
        ensure!(chapter.everybody.iter().all(|typist| !typist.was_taken_back()), "what was seen is gone");
        self.check_version(&chapter.document).await
    }

    /// The server stands still for a while; people type on, and are all acknowledged when it goes on.
    async fn suspend(&mut self, chapter: &Chapter) -> anyhow::Result<()> {
        let time = self.random.between(SUSPENDED.0, SUSPENDED.1);
        self.process.as_ref().context("the server is running")?.suspend(time).await?;
        self.figures.suspended += 1;
        let awake = Instant::now();
        chapter.writers().iter().for_each(Typist::forget_acknowledgement);
        until("everybody is acknowledged again", chapter.writers(), |typist| {
            typist.acknowledged_since(awake).is_some()
        })
        .await?;
        ensure!(chapter.everybody.iter().all(|typist| !typist.was_taken_back()), "what was seen is gone");
        self.check_version(&chapter.document).await
    }

    fn disk(&self) -> anyhow::Result<&Disk> {
        self.disk.as_ref().context("there is a disk that fails")
    }

    /// Kills the server, or asks it to stop while everybody is at work. What anybody was sent before is read to
    /// its end.
    async fn kill(&mut self, chapter: &Chapter, round: usize) -> anyhow::Result<Instant> {
        let process = self.process.take().context("the server is running")?;
        self.place.send_replace(None);
        let mut killed = Instant::now();
        if self.disk.is_none() && round.is_multiple_of(STOP_EVERY) {
            process.stop().await?;
            self.figures.stopped.add(killed.elapsed());
            killed = Instant::now();
        } else {
            process.kill().await?;
            self.figures.kills += 1;
        }
        if round.is_multiple_of(LAPTOP_EVERY) {
            let unlucky = self.random.below(chapter.writers().len().max(1) as u64) as usize;
            if let Some(typist) = chapter.writers().get(unlucky) {
                typist.lose_laptop();
                self.figures.laptops += 1;
            }
        }
        Ok(killed)
    }

    /// Looks at what the server has, then lets everybody come back to it.
    async fn come_back(
        &mut self,
        chapter: &mut Chapter,
        process: Process,
        killed: Instant,
    ) -> anyhow::Result<()> {
        self.figures.ready.add(killed.elapsed());
        let base = process.base().to_owned();
        self.process = Some(process);
        self.check_stored(chapter).await?;
        let opened = Instant::now();
        self.place.send_replace(Some(base));
        let everybody = &chapter.everybody;
        until("everybody is back", everybody, |typist| typist.synced_since(killed).is_some()).await?;
        until("the first is acknowledged", &everybody[..1], |_| {
            everybody.iter().any(|typist| typist.acknowledged_since(killed).is_some())
        })
        .await?;
        let synced = everybody.iter().filter_map(|typist| typist.synced_since(killed)).max();
        let acknowledged = everybody.iter().filter_map(|typist| typist.acknowledged_since(killed)).min();
        self.figures.synced.add(synced.unwrap_or(opened) - opened);
        self.figures.acknowledged.add(acknowledged.unwrap_or(opened) - opened);
        ensure!(
            everybody.iter().all(|typist| !typist.was_taken_back()),
            "text of a turn that somebody had seen is gone"
        );
        self.check_interrupted(chapter).await.context("the turn that ran during the kill")?;
        self.check_version(&chapter.document).await
    }

    /// What was acknowledged, and what anybody saw of turns, is there before anybody has come back: they would
    /// bring back what was lost.
    async fn check_stored(&self, chapter: &Chapter) -> anyhow::Result<()> {
        let (records, seen) = (chapter.records(), chapter.watcher().text());
        let text = self.api()?.text(&self.project.id, &chapter.document).await?.text;
        let verdict = record::judge(&text, &records);
        ensure!(
            !verdict.is_failure(),
            "from the disk came back a text with {} edits lost, {} doubled, {} undone: {}",
            verdict.lost,
            verdict.doubled,
            verdict.undead,
            verdict.examples.join("; ")
        );
        let lost = record::lost_of_turns(&seen, &text);
        ensure!(lost.is_empty(), "somebody had seen what is gone: {}", lost.join(" "));
        Ok(())
    }

    async fn check_interrupted(&mut self, chapter: &mut Chapter) -> anyhow::Result<()> {
        let Some((turn, before)) = chapter.running.take() else { return Ok(()) };
        let ended = self.api()?.turn_over(&self.project.id, &turn, SETTLE_TIME).await?;
        let status = ended.get("status").and_then(Value::as_str).unwrap_or_default();
        ensure!(status == "interrupted", "its status is `{status}` after the restart");
        self.figures.turns_interrupted += 1;
        self.figures.turns_seen += usize::from(chapter.watcher().turns_units() > before);
        chapter.over.push(turn);
        Ok(())
    }

    /// Starts a turn if none is under way, mostly until somebody sees it write.
    async fn keep_a_turn_running(&mut self, chapter: &mut Chapter) -> anyhow::Result<()> {
        let api = self.api()?;
        if let Some((turn, before)) = chapter.running.take() {
            if !self.is_over(&turn).await? {
                chapter.running = Some((turn, before));
                return Ok(());
            }
            chapter.over.push(turn);
        }
        self.turns += 1;
        self.model.forget();
        self.model.script(paced(&self.patch(), TOKENS_PER_SECOND));
        let before = chapter.watcher().turns_units();
        let turn = api.start_turn(&self.project.id, &chapter.document, "go on with the notes").await?;
        chapter.running = Some((turn, before));
        if self.random.below(EARLY_EVERY) != 0 {
            let watcher = std::slice::from_ref(chapter.watcher());
            until("the turn writes", watcher, |watcher| watcher.turns_units() > before).await?;
        }
        Ok(())
    }

    /// Whether a turn has ended, as one may that nobody killed. On a starved machine its model, which is in this
    /// process, may be silent for too long.
    async fn is_over(&self, turn: &str) -> anyhow::Result<bool> {
        let now = self.api()?.turn(&self.project.id, turn).await?;
        let code = now.pointer("/error/code").and_then(Value::as_str);
        match now.get("status").and_then(Value::as_str).unwrap_or_default() {
            "queued" | "running" => Ok(false),
            "done" | "interrupted" => Ok(true),
            "failed" if code == Some("model_timed_out") => Ok(true),
            other => anyhow::bail!("a turn nobody killed is `{other}`: {now}"),
        }
    }

    /// A patch that adds numbered tokens below the header.
    fn patch(&self) -> String {
        let last = HEADER.lines().last().unwrap_or_default();
        let mut patch = format!("*** Begin Patch\n*** Update File: {NOTES}\n@@\n {last}\n");
        for number in 0..TURN_TOKENS {
            let _ = writeln!(patch, "+{}", token((Writer::Turn(self.turns), number)));
        }
        patch.push_str("*** End Patch\n");
        patch
    }

    /// Waits until the server says that it can write, or cannot.
    async fn health(&self, good: bool) -> anyhow::Result<()> {
        let api = self.api()?;
        let deadline = Instant::now() + SETTLE_TIME;
        while api.is_ready().await? != good {
            ensure!(Instant::now() < deadline, "the server does not say so within {SETTLE_TIME:?}");
            if !good {
                self.disk()?.fail()?;
            }
            tokio::time::sleep(STILL.0).await;
        }
        Ok(())
    }

    /// Waits until nothing moves any more, and returns how far everything had come.
    async fn standstill(&self, chapter: &Chapter) -> anyhow::Result<(usize, u64)> {
        let deadline = Instant::now() + SETTLE_TIME;
        let (mut last, mut same) = (chapter.progress(), 0);
        while same < STILL.1 {
            ensure!(Instant::now() < deadline, "edits are acknowledged though the disk fails");
            tokio::time::sleep(STILL.0).await;
            self.disk()?.fail()?;
            let now = chapter.progress();
            same = if now == last { same + 1 } else { 0 };
            last = now;
        }
        Ok(last)
    }

    /// Somebody new is shown the document with everything that was acknowledged, and documents nobody types in
    /// are read as ever.
    async fn reading_goes_on(&mut self, chapter: &Chapter) -> anyhow::Result<()> {
        let random = self.random.fork();
        let newcomer = Typist::start(Role::Watches, &chapter.meeting, &self.project.token, random);
        let newcomer = [newcomer];
        until("a newcomer has the document", &newcomer, |newcomer| {
            newcomer.has_document() && !newcomer.text().is_empty()
        })
        .await?;
        let text = newcomer[0].text();
        let verdict = record::judge(&text, &chapter.records());
        ensure!(!verdict.is_failure(), "a newcomer lacks something: {}", verdict.examples.join("; "));
        let quiet = self.api()?.text(&self.project.id, &self.quiet).await?.text;
        ensure!(quiet == QUIET.1, "a quiet document reads {quiet:?}");
        Ok(())
    }

    /// Versions only go up, within one epoch.
    async fn check_version(&mut self, document: &str) -> anyhow::Result<()> {
        let now = self.api()?.text(&self.project.id, document).await?.numbers()?;
        let before = self.versions.insert(document.to_owned(), now).unwrap_or((now.0, 0));
        ensure!(now.0 == before.0, "the epoch went from {} to {}", before.0, now.0);
        ensure!(now.1 >= before.1, "the version went back from {} to {}", before.1, now.1);
        Ok(())
    }
}
