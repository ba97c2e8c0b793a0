//! People who type in a long document while a turn writes into it: what they lose, and what they notice.
//!
//! Every phase has a document of its own, the same people and the same time: nobody but the people, then a turn
//! at each rate. Phases are interleaved over the rounds, so that whatever else the machine does hits all alike;
//! what travels is the ratio of the delays from one person to the others. At the end of each phase every letter
//! of everybody has to stand where it was typed, and every line of the turn where it belongs: the text is
//! compared whole, at the server and in every person's copy.

mod person;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::model::{ScriptedModel, TOKEN_CHARS, paced};
use crate::random::Random;
use crate::report::{Delays, Table, figure};
use crate::server::{CpuMeter, ServerOptions};
use crate::stage::Stage;
use person::{Heard, Keys, Listener, Person};

/// Before anything is measured in a phase: sockets settle, the room is warm, everybody types.
const WARM_UP: Duration = Duration::from_millis(700);
/// The turn writes a little longer than is measured, so that it never ends within.
const TURN_BEYOND: f64 = 1.2;
/// One line in so many may be changed by the turn, and the one in the middle between two may be typed in.
const STRIDE: usize = 5;
/// Lines each hunk adds.
const ADDED_LINES: usize = 5;

/// What is run.
#[derive(Debug, Clone, Args)]
pub(crate) struct CrowdOptions {
    /// People who type, each on a socket of their own.
    #[arg(long, default_value_t = 5)]
    pub(crate) people: usize,
    /// Keys each of them presses in a second.
    #[arg(long, default_value_t = 8.0)]
    pub(crate) keys_per_second: f64,
    /// Lines of the document.
    #[arg(long, default_value_t = 2000)]
    pub(crate) lines: usize,
    /// How fast the model writes, one phase for each.
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 10_000])]
    pub(crate) rates: Vec<u32>,
    /// Seconds measured in each phase.
    #[arg(long, default_value_t = 5)]
    pub(crate) seconds: u64,
    /// Rounds, each with all phases.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
}

/// What the phases of one kind came to, over all rounds.
#[derive(Debug, Default)]
struct Phase {
    keys: usize,
    delays: Delays,
    seconds: f64,
    cpu: Option<Duration>,
    /// Tokens the model wrote while it was measured.
    tokens: u64,
    /// Updates of the turn while it was measured.
    updates: u64,
    /// All the turn inserted, and what it took on the wire.
    text_bytes: u64,
    update_bytes: u64,
    presence_bytes: u64,
    hunks: usize,
}

impl Phase {
    fn add(&mut self, other: Self) {
        self.keys += other.keys;
        self.delays.append(other.delays);
        self.seconds += other.seconds;
        self.cpu = match (self.cpu, other.cpu) {
            (Some(all), Some(more)) => Some(all + more),
            (None, more) if self.hunks == 0 => more,
            _ => None,
        };
        self.tokens += other.tokens;
        self.updates += other.updates;
        self.text_bytes += other.text_bytes;
        self.update_bytes += other.update_bytes;
        self.presence_bytes += other.presence_bytes;
        self.hunks += other.hunks;
    }

    /// CPU time of the server in hundredths of one core.
    fn core(&self) -> Option<f64> {
        Some(self.cpu?.as_secs_f64() / self.seconds * 100.0)
    }

    fn per_byte(&self, bytes: u64) -> Option<f64> {
        (self.text_bytes > 0).then(|| bytes as f64 / self.text_bytes as f64)
    }

    fn json(&self, rate: Option<u32>) -> Value {
        json!({
            "tokens_per_second": rate,
            "tokens_per_second_reached": self.tokens as f64 / self.seconds,
            "keys": self.keys,
            "delay": self.delays.json(),
            "seconds": self.seconds,
            "hunks": self.hunks,
            "updates_per_second": self.updates as f64 / self.seconds,
            "text_bytes": self.text_bytes,
            "update_bytes_per_byte": self.per_byte(self.update_bytes),
            "presence_bytes_per_byte": self.per_byte(self.presence_bytes),
            "server_core_percent": self.core(),
        })
    }
}

/// Runs all rounds, prints the table and returns the figures.
pub(crate) async fn run(options: &CrowdOptions, server: &ServerOptions) -> anyhow::Result<Value> {
    ensure!(options.people > 0 && options.keys_per_second > 0.0, "somebody has to type");
    ensure!(options.lines >= STRIDE * (options.people + 1), "the document is too short for so many people");
    let model = ScriptedModel::start().await?;
    let mut server = server.clone();
    server.env.extend(model.env());
    let stage = Stage::open(&server).await?;
    let rates: Vec<Option<u32>> =
        std::iter::once(None).chain(options.rates.iter().copied().map(Some)).collect();
    let mut phases: Vec<Phase> = rates.iter().map(|_| Phase::default()).collect();
    let mut number = 0;
    for _ in 0..options.rounds {
        for (rate, all) in rates.iter().zip(&mut phases) {
            number += 1;
            let one = phase(options, &stage, &model, *rate, number);
            let what = rate.map_or("nobody but people".to_owned(), |rate| format!("{rate} tokens/s"));
            all.add(one.await.with_context(|| format!("the phase with {what} failed"))?);
        }
    }
    stage.stop().await?;
    print(options, &rates, &phases);
    let figures: Vec<Value> = rates.iter().zip(&phases).map(|(rate, phase)| phase.json(*rate)).collect();
    Ok(json!({"people": options.people, "keys_per_second": options.keys_per_second, "phases": figures}))
}

fn print(options: &CrowdOptions, rates: &[Option<u32>], phases: &[Phase]) {
    println!(
        "\ncrowd: {} people at {} keys/s each in {} lines, beside them a turn; {} times {} s of each",
        options.people, options.keys_per_second, options.lines, options.rounds, options.seconds
    );
    let alone = &phases[0];
    let mut table = Table::new([
        "turn",
        "keys",
        "p50 ms",
        "p99 ms",
        "max ms",
        "p50 ratio",
        "p99 ratio",
        "tokens/s",
        "updates/s",
        "bytes/byte",
        "presence",
        "core %",
        "beyond",
    ]);
    for (rate, phase) in rates.iter().zip(phases) {
        let ratio =
            |share| phase.delays.percentile(share).zip(alone.delays.percentile(share)).map(|(a, b)| a / b);
        let turn = rate.is_some();
        table.row([
            rate.map_or("none".to_owned(), |rate| format!("{rate} tokens/s")),
            phase.keys.to_string(),
            figure(phase.delays.percentile(0.5), 2),
            figure(phase.delays.percentile(0.99), 2),
            figure(phase.delays.percentile(1.0), 2),
            figure(ratio(0.5), 2),
            figure(ratio(0.99), 2),
            figure(turn.then(|| phase.tokens as f64 / phase.seconds), 0),
            figure(turn.then(|| phase.updates as f64 / phase.seconds), 1),
            figure(phase.per_byte(phase.update_bytes), 2),
            figure(phase.per_byte(phase.presence_bytes), 2),
            figure(phase.core(), 2),
            figure(phase.core().zip(alone.core()).map(|(with, without)| with - without).filter(|_| turn), 2),
        ]);
    }
    print!("{}", table.text());
    let (keys, hunks) = phases.iter().fold((0, 0), |sum, phase| (sum.0 + phase.keys, sum.1 + phase.hunks));
    println!(
        "{} crowds lost nothing, 0 failed: {keys} keys and {hunks} hunks stand where they belong, in {} copies \
         of each text",
        options.rounds * phases.len(),
        options.people + 1
    );
    println!(
        "delays are from a person to all others; bytes/byte is the turn's updates, and presence its presence, \
         at a listener per byte of text it inserted; core is the server's CPU time, beyond what people alone take"
    );
}

/// One phase: a new document, everybody in it, and a turn at a rate or none.
async fn phase(
    options: &CrowdOptions,
    stage: &Stage,
    model: &ScriptedModel,
    rate: Option<u32>,
    number: usize,
) -> anyhow::Result<Phase> {
    let path = format!("measures-{number}.py");
    let chars =
        rate.map_or(0.0, |rate| f64::from(rate) * options.seconds as f64 * TOKEN_CHARS as f64 * TURN_BEYOND);
    let script = Script::new(&path, options, chars as usize);
    let document = stage.api.create_document(&stage.project.id, &path, &script.before()).await?;
    let address = format!("{}/{document}", stage.project.id);

    let keys = Arc::new(Keys::default());
    let (orders, ordered) = watch::channel(person::Order::Type);
    let mut random = Random::new(Random::any_seed());
    let mut people = Vec::new();
    for (at, line) in script.typed_lines.iter().enumerate() {
        let token = stage.api.invite(&stage.project.id, &format!("Person {at}")).await?;
        let pace = Duration::from_secs_f64(1.0 / options.keys_per_second);
        let person =
            Person::join(stage, &token, &address, &script.line(*line), keys.clone(), random.fork(), pace)
                .await?;
        people.push(tokio::spawn(person.run(ordered.clone())));
    }
    let listener = Listener::join(stage, &address, keys.clone()).await?;
    tokio::time::sleep(WARM_UP).await;

    let turn = match rate {
        None => None,
        Some(rate) => {
            model.script(paced(&script.patch, rate));
            let turn = stage.start(&document, "measure more").await?;
            listener.until_the_turn_writes().await?;
            Some(turn)
        }
    };
    let (from, tokens) = (Instant::now(), model.sent());
    let meter = CpuMeter::start(&stage.process);
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let (cpu, _) = meter.stop(&stage.process);
    let (tokens, window) = (model.sent() - tokens, from..Instant::now());

    let mut hunks = Vec::new();
    if let Some(turn) = &turn {
        let turn = stage.over(turn, "done").await?;
        hunks = turn["hunks"].as_array().cloned().unwrap_or_default();
        let missed = hunks.iter().find(|hunk| hunk["state"] != "applied");
        ensure!(missed.is_none(), "a hunk was not applied: {}", missed.unwrap_or(&Value::Null));
        ensure!(hunks.len() == script.hunks, "{} hunks of {}", hunks.len(), script.hunks);
    }
    orders.send_replace(person::Order::Stop);
    let typed = person::typed(&mut people, &keys).await?;
    let expected: Arc<str> = script.after(&typed).into();
    let found = stage.text(&document).await?;
    ensure!(
        *found == *expected,
        "the server's text is not what was written: {}",
        difference(&expected, &found)
    );
    orders.send_replace(person::Order::Compare(expected));
    for person in people {
        person.await??;
    }
    let heard = listener.leave().await?;
    let phase = result(&keys, &heard, &hunks, &Measured { window, cpu, tokens });
    // Everybody's copy is compared by now; at the listener the last keys may still be on their way.
    ensure!(phase.delays.len() >= phase.keys * (options.people - 1), "keys arrived that were not timed");
    ensure!(phase.updates > 0 || turn.is_none(), "the turn's updates were not seen");
    Ok(phase)
}

/// What was read off while a phase was measured.
struct Measured {
    window: Range<Instant>,
    cpu: Option<Duration>,
    tokens: u64,
}

fn result(keys: &Keys, heard: &Heard, hunks: &[Value], measured: &Measured) -> Phase {
    let window = &measured.window;
    let delays = keys.delays(window);
    Phase {
        keys: keys.sent_in(window),
        delays,
        seconds: (window.end - window.start).as_secs_f64(),
        cpu: measured.cpu,
        tokens: measured.tokens,
        updates: heard.updates.iter().filter(|(at, _)| window.contains(at)).count() as u64,
        text_bytes: hunks.iter().filter_map(|hunk| hunk["inserted"].as_u64()).sum(),
        update_bytes: heard.updates.iter().map(|(_, bytes)| bytes).sum(),
        presence_bytes: heard.presence_bytes,
        hunks: hunks.len(),
    }
}

/// The first line in which two texts differ.
fn difference(expected: &str, found: &str) -> String {
    let (mut ours, mut theirs) = (expected.lines(), found.lines());
    let mut line = 0;
    loop {
        line += 1;
        match (ours.next(), theirs.next()) {
            (None, None) => return "only in how it ends".to_owned(),
            (ours, theirs) if ours == theirs => {}
            (ours, theirs) => return format!("line {line} is {theirs:?} instead of {ours:?}"),
        }
    }
}

/// The document and what happens to it.
struct Script {
    lines: usize,
    /// The first lines of the hunks.
    places: Vec<usize>,
    /// Lines people type at the end of, one each.
    typed_lines: Vec<usize>,
    patch: String,
    hunks: usize,
}

impl Script {
    /// A patch of about so many characters, its hunks spread over the document; none for none.
    fn new(path: &str, options: &CrowdOptions, chars: usize) -> Self {
        let slots = options.lines / STRIDE;
        let one: usize = hunk(0).len();
        let hunks = (chars / one).min(slots);
        let places: Vec<usize> = (0..hunks).map(|at| at * slots / hunks * STRIDE).collect();
        let mut patch = format!("*** Begin Patch\n*** Update File: {path}\n");
        patch.extend(places.iter().map(|place| hunk(*place)));
        patch.push_str("*** End Patch\n");
        let typed_lines =
            (1..=options.people).map(|at| at * slots / (options.people + 1) * STRIDE + 3).collect();
        Self { lines: options.lines, places, typed_lines, patch, hunks }
    }

    fn line(&self, number: usize) -> String {
        debug_assert!(number < self.lines);
        line(number)
    }

    fn before(&self) -> String {
        (0..self.lines).map(|number| line(number) + "\n").collect()
    }

    /// The text with the turn's changes, and what people typed at the ends of their lines.
    fn after(&self, typed: &[String]) -> String {
        let mut text = String::new();
        for number in 0..self.lines {
            if self.places.binary_search(&(number.wrapping_sub(1))).is_ok() {
                text.push_str(&replaced(number));
                text.push('\n');
                text.extend(added(number).map(|line| line + "\n"));
                continue;
            }
            text.push_str(&line(number));
            if let Some(person) = self.typed_lines.iter().position(|line| *line == number) {
                text.push_str(&typed[person]);
            }
            text.push('\n');
        }
        text
    }
}

fn line(number: usize) -> String {
    format!("    value_{number:05} = measure(source_{number:05}, scale={})", number % 7)
}

fn replaced(number: usize) -> String {
    format!("    value_{number:05} = measure(source_{number:05}, scale={}, offset=1)", number % 7)
}

fn added(number: usize) -> impl Iterator<Item = String> {
    (0..ADDED_LINES)
        .map(move |at| format!("    adjust(value_{number:05}, step={at})  # what the model says of it"))
}

/// The hunk that changes the line after the one at `place`.
fn hunk(place: usize) -> String {
    let mut text = format!("@@\n {}\n-{}\n+{}\n", line(place), line(place + 1), replaced(place + 1));
    text.extend(added(place + 1).map(|line| format!("+{line}\n")));
    text + &format!(" {}\n", line(place + 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defaults;

    #[test]
    fn the_script_fills_its_time_and_leaves_peoples_lines_alone() {
        let options = defaults::<CrowdOptions>().unwrap();
        for chars in [0, 24_000, 240_000] {
            let script = Script::new("m.py", &options, chars);
            assert!(script.patch.len() * 10 >= chars * 8, "{} of {chars}", script.patch.len());
            assert_eq!(script.typed_lines.len(), 5);
            for line in &script.typed_lines {
                assert!(script.places.iter().all(|place| !(place..=&(place + 2)).contains(&line)));
            }
            let typed = vec!["x".to_owned(); 5];
            let lines = script.after(&typed).lines().count();
            assert_eq!(lines, options.lines + script.hunks * ADDED_LINES);
        }
    }

    #[test]
    fn a_difference_is_shown_by_its_line() {
        assert_eq!(difference("a\nb\n", "a\nc\n"), r#"line 2 is Some("c") instead of Some("b")"#);
        assert_eq!(difference("a\n", "a"), "only in how it ends");
    }
}
