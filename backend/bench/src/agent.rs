//! A turn at a thousand tokens a second, as somebody who listens sees it.
//!
//! Three things: what arrives while the built-in demo model, and a scripted one, write a long text (updates a
//! second, bytes on the wire per byte of text); how long after the delta that settles the first edit the first
//! change is there; and how long after an interruption the last one comes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use ensemble_protocol::sync::SyncMessage;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::api::NewProject;
use crate::client::{self, PATIENCE, ServerFrame, ServerMessage, connect, rpc_frame};
use crate::model::{Delta, ScriptedModel, at_once, paced};
use crate::report::{Delays, Table, figure};
use crate::server::{CpuMeter, ServerOptions};
use crate::stage::Stage;

/// A pause in the scripted answer, so that nothing sent before it can be what settles the edit after it.
const PAUSE: Duration = Duration::from_millis(200);
/// How long is listened after an interruption.
const LISTENING: Duration = Duration::from_millis(700);
/// Frames of the listener's commands that may wait.
const COMMANDS: usize = 16;

/// What is run.
#[derive(Debug, Clone, Args)]
pub(crate) struct AgentOptions {
    /// How fast the model writes.
    #[arg(long, default_value_t = 1000)]
    pub(crate) tokens_per_second: u32,
    /// Functions of the file that the demo model documents.
    #[arg(long, default_value_t = 80)]
    pub(crate) functions: usize,
    /// Lines that the scripted model adds in one piece.
    #[arg(long, default_value_t = 500)]
    pub(crate) lines: usize,
    /// Turns whose first change is timed.
    #[arg(long, default_value_t = 20)]
    pub(crate) turns: usize,
    /// Turns that are interrupted.
    #[arg(long, default_value_t = 10)]
    pub(crate) interruptions: usize,
}

/// What a listener was sent since it was last asked.
#[derive(Debug, Clone, Default)]
struct Heard {
    updates: u64,
    update_bytes: u64,
    first: Option<Instant>,
    last: Option<Instant>,
    presence: u64,
    presence_bytes: u64,
    /// The replicas of the project and of its turns.
    replica_bytes: u64,
}

/// Somebody in the project who only listens, on one socket with all addresses, as the page has it.
struct Listener {
    heard: Arc<Mutex<Heard>>,
    commands: mpsc::Sender<bytes::Bytes>,
    project: String,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Listener {
    async fn join(base: &str, project: &NewProject, document: &str) -> anyhow::Result<Self> {
        let (mut sender, mut receiver) = connect(base, &format!("/sync?project={}", project.id)).await?;
        let address = format!("{}/{document}", project.id);
        for address in [&project.id, &format!("{}/turns", project.id), &address] {
            sender.join(address, &project.token, &[0]).await?;
            receiver.joined(&mut sender, address).await?;
        }
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (commands, mut inbox) = mpsc::channel::<bytes::Bytes>(COMMANDS);
        let task = tokio::spawn({
            let heard = heard.clone();
            async move {
                loop {
                    let frame = tokio::select! {
                        frame = receiver.next() => frame?.context("the listener's socket was closed")?,
                        command = inbox.recv() => match command {
                            Some(command) => {
                                sender.send(command).await?;
                                continue;
                            }
                            None => return Ok(()),
                        },
                    };
                    let now = Instant::now();
                    let ServerFrame::Addressed { address: about, message } = ServerFrame::read(&frame)?
                    else {
                        sender.send(client::pong()).await?;
                        continue;
                    };
                    let bytes = frame.len() as u64;
                    let mut heard = heard.lock();
                    match message {
                        ServerMessage::Sync(SyncMessage::Update(_) | SyncMessage::Step2(_))
                            if about == address =>
                        {
                            heard.updates += 1;
                            heard.update_bytes += bytes;
                            heard.first.get_or_insert(now);
                            heard.last = Some(now);
                        }
                        ServerMessage::Awareness(_) => {
                            heard.presence += 1;
                            heard.presence_bytes += bytes;
                        }
                        _ => heard.replica_bytes += bytes,
                    }
                }
            }
        });
        Ok(Self { heard, commands, project: project.id.clone(), task })
    }

    fn start_over(&self) {
        *self.heard.lock() = Heard::default();
    }

    fn heard(&self) -> Heard {
        self.heard.lock().clone()
    }

    async fn until(&self, what: &str, done: impl Fn(&Heard) -> bool) -> anyhow::Result<()> {
        let waiting = async {
            while !done(&self.heard.lock()) {
                ensure!(!self.task.is_finished(), "the listener's socket was closed");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, waiting).await.with_context(|| format!("{what} did not come"))?
    }

    async fn interrupt(&self, turn: &str) -> anyhow::Result<Instant> {
        let frame = rpc_frame(&self.project, 1, "turn.interrupt", &json!({"turn": turn}));
        let asked = Instant::now();
        self.commands.send(frame).await?;
        Ok(asked)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs everything, prints the tables and returns the figures.
pub(crate) async fn run(options: &AgentOptions, server: &ServerOptions) -> anyhow::Result<Value> {
    let demo = demo(options, server).await.context("the demo model's turn failed")?;
    let model = ScriptedModel::start().await?;
    let mut scripted = server.clone();
    scripted.env.extend(model.env());
    let stage = Stage::open(&scripted).await?;
    let long = long(options, &stage, &model).await.context("the long turn failed")?;
    let first = first_change(options, &stage, &model).await.context("timing the first change failed")?;
    let silence = silence(options, &stage, &model).await.context("interrupting failed")?;
    stage.stop().await?;

    println!(
        "\nagent: turns at {} tokens/s, one listener on all addresses of the page",
        options.tokens_per_second
    );
    let mut table = Table::new(["what", "demo model", "scripted, one long hunk"]);
    let mut row = |name: &str, pick: fn(&Stream) -> Option<f64>, digits| {
        table.row([name.to_owned(), figure(pick(&demo), digits), figure(pick(&long), digits)]);
    };
    row("text inserted, bytes", |stream| Some(stream.text_bytes as f64), 0);
    row("stream, s", |stream| Some(stream.seconds), 2);
    row("updates/s at the listener", |stream| Some(stream.updates_per_second()), 1);
    row("update bytes per byte of text", |stream| Some(stream.per_byte(stream.heard.update_bytes)), 2);
    row("presence bytes per byte of text", |stream| Some(stream.per_byte(stream.heard.presence_bytes)), 2);
    row(
        "both, per byte of text",
        |stream| Some(stream.per_byte(stream.heard.update_bytes + stream.heard.presence_bytes)),
        2,
    );
    row(
        "turns and tree, bytes per byte of text",
        |stream| Some(stream.per_byte(stream.heard.replica_bytes)),
        2,
    );
    row("server CPU, µs per token", |stream| stream.cpu_per_token, 1);
    print!("{}", table.text());
    let mut table = Table::new(["delay", "turns", "p50 ms", "p99 ms", "max ms"]);
    for (name, delays) in
        [("settling delta to first change", &first), ("interruption to last change", &silence.0)]
    {
        table.row([
            name.to_owned(),
            delays.len().to_string(),
            figure(delays.percentile(0.5), 1),
            figure(delays.percentile(0.99), 1),
            figure(delays.percentile(1.0), 1),
        ]);
    }
    print!("{}", table.text());
    println!(
        "an interrupted turn wrote {} more updates on average; 0 ms stands for none after the interruption",
        figure(Some(silence.1), 1)
    );
    Ok(json!({
        "tokens_per_second": options.tokens_per_second,
        "demo": demo.json(),
        "scripted": long.json(),
        "settled_to_first_change": first.json(),
        "interrupt_to_last_change": silence.0.json(),
        "updates_after_interrupt": silence.1,
    }))
}

/// A new document, and somebody who listens to it.
async fn document(stage: &Stage, path: &str, text: &str) -> anyhow::Result<(String, Listener)> {
    let document = stage.api.create_document(&stage.project.id, path, text).await?;
    let listener = Listener::join(stage.process.base(), &stage.project, &document).await?;
    Ok((document, listener))
}

/// What came of one long turn.
struct Stream {
    text_bytes: u64,
    seconds: f64,
    heard: Heard,
    cpu_per_token: Option<f64>,
}

impl Stream {
    fn new(before: &str, after: &str, heard: Heard, cpu_per_token: Option<f64>) -> anyhow::Result<Self> {
        let first = heard.first.context("nothing was written")?;
        let seconds = heard.last.map_or(0.0, |last| (last - first).as_secs_f64());
        ensure!(after.len() > before.len(), "the turn inserted nothing");
        Ok(Self { text_bytes: (after.len() - before.len()) as u64, seconds, heard, cpu_per_token })
    }

    fn updates_per_second(&self) -> f64 {
        self.heard.updates as f64 / self.seconds.max(1e-3)
    }

    fn per_byte(&self, bytes: u64) -> f64 {
        bytes as f64 / self.text_bytes as f64
    }

    fn json(&self) -> Value {
        json!({
            "text_bytes": self.text_bytes,
            "seconds": self.seconds,
            "updates": self.heard.updates,
            "updates_per_second": self.updates_per_second(),
            "update_bytes": self.heard.update_bytes,
            "presence_frames": self.heard.presence,
            "presence_bytes": self.heard.presence_bytes,
            "replica_bytes": self.heard.replica_bytes,
            "update_bytes_per_byte": self.per_byte(self.heard.update_bytes),
            "presence_bytes_per_byte": self.per_byte(self.heard.presence_bytes),
            "server_cpu_us_per_token": self.cpu_per_token,
        })
    }
}

/// A Python file with functions that lack documentation.
fn python_file(functions: usize) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("\"\"\"Sums of many kinds.\"\"\"\n");
    for number in 0..functions {
        let _ = write!(
            text,
            "\n\ndef sum_{number}(values: list[int], start: int = {number}) -> int:\n    total = start\n    \
             for value in values:\n        total += value * {number}\n    return total\n"
        );
    }
    text
}

async fn demo(options: &AgentOptions, server: &ServerOptions) -> anyhow::Result<Stream> {
    let mut server = server.clone();
    let rate = options.tokens_per_second.to_string();
    server.env.push(("ENSEMBLE_DEMO_TOKENS_PER_SECOND".into(), rate));
    let stage = Stage::open(&server).await?;
    let before = python_file(options.functions);
    let (document, listener) = document(&stage, "sums.py", &before).await?;
    listener.start_over();
    let turn = stage.start(&document, "add documentation comments to every function").await?;
    stage.over(&turn, "done").await?;
    let after = stage.text(&document).await?;
    let stream = Stream::new(&before, &after, listener.heard(), None)?;
    drop(listener);
    stage.stop().await?;
    Ok(stream)
}

async fn long(options: &AgentOptions, stage: &Stage, model: &ScriptedModel) -> anyhow::Result<Stream> {
    let before = "first line\nlast line\n";
    let (document, listener) = document(stage, "long.txt", before).await?;
    let patch = patch("long.txt", "first line", options.lines);
    let sent = model.sent();
    model.script(paced(&patch, options.tokens_per_second));
    listener.start_over();
    let meter = CpuMeter::start(&stage.process);
    let turn = stage.start(&document, "go on").await?;
    stage.over(&turn, "done").await?;
    let (cpu, _) = meter.stop(&stage.process);
    let tokens = (model.sent() - sent).max(1);
    let after = stage.text(&document).await?;
    let cpu_per_token = cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / tokens as f64);
    Stream::new(before, &after, listener.heard(), cpu_per_token)
}

/// A patch that adds lines after a line.
fn patch(path: &str, after: &str, lines: usize) -> String {
    use std::fmt::Write as _;
    let mut patch = format!("*** Begin Patch\n*** Update File: {path}\n@@\n {after}\n");
    for line in 0..lines {
        let _ = writeln!(patch, "+    entry {line}: what the model says about it");
    }
    patch.push_str("*** End Patch\n");
    patch
}

async fn first_change(
    options: &AgentOptions,
    stage: &Stage,
    model: &ScriptedModel,
) -> anyhow::Result<Delays> {
    use std::fmt::Write as _;
    let mut text = String::new();
    for line in 0..options.turns {
        let _ = writeln!(text, "the line with number {line}");
    }
    let (document, listener) = document(stage, "lines.txt", &text).await?;
    let mut delays = Delays::default();
    for number in 0..options.turns {
        // The context, then nothing for a while, then one whole line: nothing but that line can settle an edit.
        model.script(vec![
            at_once("*** Begin Patch\n*** Update File: lines.txt\n@@\n"),
            at_once(&format!(" the line with number {number}\n")),
            Delta { after: PAUSE, text: format!("+added by turn {number}\n"), marked: true },
            Delta { after: PAUSE, text: "*** End Patch\n".into(), marked: false },
        ]);
        listener.start_over();
        let turn = stage.start(&document, "add a line").await?;
        stage.over(&turn, "done").await?;
        listener.until("the change", |heard| heard.first.is_some()).await?;
        let sent = model.marked().context("the settling delta was not sent")?;
        let first = listener.heard().first.context("a change was heard")?;
        ensure!(first >= sent, "something was written before anything was settled");
        let delay = first - sent;
        ensure!(delay < PAUSE, "the edit waited for the end of the patch: {delay:?}");
        delays.add(delay);
    }
    Ok(delays)
}

/// How long after an interruption the last change comes, and how many come on average.
async fn silence(
    options: &AgentOptions,
    stage: &Stage,
    model: &ScriptedModel,
) -> anyhow::Result<(Delays, f64)> {
    let (mut delays, mut more) = (Delays::default(), 0);
    for number in 0..options.interruptions {
        let path = format!("interrupted-{number}.txt");
        let (document, listener) = document(stage, &path, "first line\n").await?;
        model.script(paced(&patch(&path, "first line", 1000), options.tokens_per_second));
        listener.start_over();
        let turn = stage.start(&document, "go on").await?;
        listener.until("the middle of the turn", |heard| heard.updates >= 5).await?;
        // At another moment of the flush interval each time.
        tokio::time::sleep(Duration::from_millis(100 + 7 * number as u64)).await;
        let before = listener.heard().updates;
        let asked = listener.interrupt(&turn).await?;
        tokio::time::sleep(LISTENING).await;
        let heard = listener.heard();
        more += heard.updates - before;
        let last = heard.last.context("a change was heard")?;
        delays.add(last.saturating_duration_since(asked));
        stage.over(&turn, "interrupted").await?;
    }
    Ok((delays, more as f64 / options.interruptions.max(1) as f64))
}
