//! One writer and many readers on one document: what a delivered update costs the server, beside the relay.
//!
//! Rounds are interleaved (relay, server, relay, server, …), each with a fresh process, so that whatever else
//! the machine does hits both alike; the figure that travels is the median of the rounds' ratios. The server
//! makes every update durable on SQLite before it acknowledges it; the relay does nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use clap::Args;
use ensemble_protocol::sync::SyncMessage;
use parking_lot::RwLock;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::api::Api;
use crate::client::{self, PATIENCE, Receiver, Sender, ServerFrame, ServerMessage, connect, update_frame};
use crate::random::Random;
use crate::report::{Delays, Table, figure, median};
use crate::server::{CpuMeter, Process, ServerOptions, data_folder};
use crate::typing::{Run, reach};

/// Before anything is measured: connections settle, buffers grow, the room is warm.
const WARM_UP: Duration = Duration::from_millis(700);
/// In a closed loop the delay of one update in so many is kept; memory for all of them would be large.
const SAMPLED: u64 = 16;
/// The address updates carry at the relay: as long as a real one.
const RELAY_ADDRESS: &str = "AZrK0AAAcACAAAAAAAAAAQ/AZrK0AAAcACAAAAAAAAAAg";

/// What is run.
#[derive(Debug, Clone, Args)]
pub(crate) struct FanoutOptions {
    /// People who read.
    #[arg(long, default_value_t = 20)]
    pub(crate) readers: usize,
    /// Updates a second of the one who writes.
    #[arg(long, default_value_t = 50)]
    pub(crate) rate: u32,
    /// Write as fast as the slowest reader follows, instead of at a rate.
    #[arg(long)]
    pub(crate) saturate: bool,
    /// Updates that may be on their way to the slowest reader when saturating.
    #[arg(long, default_value_t = 256)]
    pub(crate) window: u64,
    /// Seconds measured in each round.
    #[arg(long, default_value_t = 8)]
    pub(crate) seconds: u64,
    /// Rounds, each with the relay and the server.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
}

/// What one run of one program came to.
#[derive(Debug)]
struct Measured {
    deliveries: u64,
    wall: Duration,
    cpu: Option<Duration>,
    delays: Delays,
    /// From sending an update to being told that it is stored; none at the relay, which stores nothing.
    saved: Delays,
    memory: Option<u64>,
}

impl Measured {
    fn cpu_per_delivery(&self) -> Option<f64> {
        self.cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / self.deliveries.max(1) as f64)
    }
}

/// How far everybody has come.
struct Progress {
    /// When the update that ends at each clock was sent; the first stands at 0.
    sent: RwLock<Vec<Instant>>,
    /// How far each reader has read.
    read: Vec<AtomicU64>,
    /// From here on deliveries count; before it is warming up.
    counted_from: AtomicU64,
    moved: Notify,
}

impl Progress {
    fn slowest(&self) -> u64 {
        self.read.iter().map(|read| read.load(Ordering::Acquire)).min().unwrap_or(0)
    }

    fn total(&self) -> u64 {
        self.read.iter().map(|read| read.load(Ordering::Acquire)).sum()
    }
}

/// Runs all rounds, prints the table and returns the figures.
pub(crate) async fn run(options: &FanoutOptions, server: &ServerOptions) -> anyhow::Result<Value> {
    let mut table = Table::new([
        "round",
        "program",
        "deliveries/s",
        "CPU µs each",
        "p50 ms",
        "p99 ms",
        "saved p50",
        "p99",
        "MB",
    ]);
    let (mut ratios, mut rounds) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        let relay = relay_run(options, server.core).await.context("the relay's run failed")?;
        let ours = server_run(options, server).await.context("the server's run failed")?;
        for (name, measured) in [("relay", &relay), ("server", &ours)] {
            table.row([
                round.to_string(),
                name.to_owned(),
                format!("{:.0}", measured.deliveries as f64 / measured.wall.as_secs_f64()),
                figure(measured.cpu_per_delivery(), 2),
                figure(measured.delays.percentile(0.5), 2),
                figure(measured.delays.percentile(0.99), 2),
                figure(measured.saved.percentile(0.5), 2),
                figure(measured.saved.percentile(0.99), 2),
                figure(measured.memory.map(|bytes| bytes as f64 / 1e6), 1),
            ]);
        }
        let ratio = ours.cpu_per_delivery().zip(relay.cpu_per_delivery()).map(|(ours, relay)| ours / relay);
        ratios.extend(ratio);
        rounds.push(json!({"relay": json_of(&relay), "server": json_of(&ours), "cpu_ratio": ratio}));
    }
    let pace = if options.saturate {
        format!("as fast as they follow (window {})", options.window)
    } else {
        format!("{} updates/s", options.rate)
    };
    println!("\nfanout: 1 writer, {}, {} readers, {} s a run", pace, options.readers, options.seconds);
    print!("{}", table.text());
    let ratio = (!ratios.is_empty()).then(|| median(&ratios));
    match ratio {
        Some(ratio) => println!("CPU per delivered update, server / relay, median of rounds: {ratio:.2}"),
        None => println!("CPU times are not known on this system: they are read from /proc"),
    }
    Ok(json!({
        "readers": options.readers,
        "rate": (!options.saturate).then_some(options.rate),
        "window": options.saturate.then_some(options.window),
        "rounds": rounds,
        "cpu_ratio_median": ratio,
    }))
}

fn json_of(measured: &Measured) -> Value {
    json!({
        "deliveries": measured.deliveries,
        "seconds": measured.wall.as_secs_f64(),
        "cpu_us_per_delivery": measured.cpu_per_delivery(),
        "delay": measured.delays.json(),
        "saved": measured.saved.json(),
        "memory_bytes": measured.memory,
    })
}

async fn relay_run(options: &FanoutOptions, core: Option<usize>) -> anyhow::Result<Measured> {
    let folder = data_folder()?;
    let relay = Process::relay(core, folder.path()).await?;
    let mut sockets = Vec::new();
    for _ in 0..=options.readers {
        sockets.push(connect(relay.base(), "/sync").await?);
    }
    let measured = measure(options, &relay, sockets, RELAY_ADDRESS).await?;
    relay.kill().await?;
    Ok(measured)
}

async fn server_run(options: &FanoutOptions, server: &ServerOptions) -> anyhow::Result<Measured> {
    let folder = data_folder()?;
    let process = Process::server(server, folder.path()).await?;
    let api = Api::new(process.base())?;
    let project = api.create_project().await?;
    let api = api.with_token(&project.token);
    let document = api.create_document(&project.id, "notes.txt", "").await?;
    let address = format!("{}/{document}", project.id);
    let mut sockets = Vec::new();
    for _ in 0..=options.readers {
        let (mut sender, mut receiver) =
            connect(process.base(), &format!("/sync?project={}", project.id)).await?;
        sender.join(&address, &project.token, &[0]).await?;
        receiver.joined(&mut sender, &address).await?;
        sockets.push((sender, receiver));
    }
    let measured = measure(options, &process, sockets, &address).await?;
    process.stop().await?;
    Ok(measured)
}

/// The first socket writes, the others read.
async fn measure(
    options: &FanoutOptions,
    process: &Process,
    sockets: Vec<(Sender, Receiver)>,
    address: &str,
) -> anyhow::Result<Measured> {
    let client = Random::new(Random::any_seed()).client_id();
    let progress = Arc::new(Progress {
        sent: RwLock::default(),
        read: (0..options.readers).map(|_| AtomicU64::new(0)).collect(),
        counted_from: AtomicU64::new(u64::MAX),
        moved: Notify::new(),
    });
    let mut sockets = sockets.into_iter();
    let (mut writer, acknowledgements) = sockets.next().context("there is a writer")?;
    let (over, is_over) = watch::channel(false);
    let sampled = if options.saturate { SAMPLED } else { 1 };
    let mut readers = JoinSet::new();
    for (at, (sender, receiver)) in sockets.enumerate() {
        let reader = Reader { at, client, sampled, progress: progress.clone() };
        readers.spawn(reader.run(receiver, sender, is_over.clone()));
    }
    let saved = tokio::spawn(acknowledged(acknowledgements, sampled, progress.clone(), is_over));

    let mut run = Run::new(client);
    write(options, &mut writer, &mut run, address, &progress, WARM_UP).await?;
    let before = progress.total();
    progress.counted_from.store(progress.sent.read().len() as u64, Ordering::Release);
    let meter = CpuMeter::start(process);
    write(options, &mut writer, &mut run, address, &progress, Duration::from_secs(options.seconds)).await?;
    // What is still on its way belongs to the run.
    let sent = progress.sent.read().len() as u64;
    let arrived = async {
        while progress.slowest() < sent {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, arrived)
        .await
        .with_context(|| format!("the slowest reader got {} of {sent} updates", progress.slowest()))?;
    let (cpu, wall) = meter.stop(process);
    let deliveries = progress.total() - before;
    let memory = process.memory();
    over.send_replace(true);
    let mut delays = Delays::default();
    while let Some(reader) = readers.join_next().await {
        delays.append(reader??);
    }
    let saved = saved.await??;
    ensure!(deliveries > 0, "nothing was delivered");
    Ok(Measured { deliveries, wall, cpu, delays, saved, memory })
}

/// Types for so long: at the rate, or as fast as the slowest reader follows.
async fn write(
    options: &FanoutOptions,
    writer: &mut Sender,
    run: &mut Run,
    address: &str,
    progress: &Progress,
    time: Duration,
) -> anyhow::Result<()> {
    let start = Instant::now();
    let end = start + time;
    if options.saturate {
        while Instant::now() < end {
            let sent = progress.sent.read().len() as u64;
            let room = options.window.saturating_sub(sent - progress.slowest());
            if room == 0 {
                let moved = tokio::time::timeout(PATIENCE, progress.moved.notified()).await;
                moved.context("nothing arrives any more")?;
                continue;
            }
            let now = Instant::now();
            progress.sent.write().extend((0..room).map(|_| now));
            for _ in 0..room {
                writer.feed(update_frame(address, &run.append('a'))).await?;
            }
            writer.flush().await?;
        }
        return Ok(());
    }
    // An open loop: a late update does not delay those after it.
    let period = Duration::from_secs(1) / options.rate.max(1);
    let mut due = start;
    while due < end {
        tokio::time::sleep_until(due.into()).await;
        let frame = update_frame(address, &run.append('a'));
        progress.sent.write().push(Instant::now());
        writer.send(frame).await?;
        due += period;
    }
    Ok(())
}

/// Counts what the writer is told is stored, which comes in the order of sending.
async fn acknowledged(
    mut receiver: Receiver,
    sampled: u64,
    progress: Arc<Progress>,
    mut over: watch::Receiver<bool>,
) -> anyhow::Result<Delays> {
    let (mut delays, mut at) = (Delays::default(), 0_u64);
    loop {
        let frame = tokio::select! {
            frame = receiver.next() => frame?.context("the writer's socket was closed")?,
            _ = over.changed() => return Ok(delays),
        };
        // The writer says enough of itself; it need not answer pings.
        let ServerFrame::Addressed { message: ServerMessage::SyncStatus(stored), .. } =
            ServerFrame::read(&frame)?
        else {
            continue;
        };
        ensure!(stored, "an update was refused");
        if at.is_multiple_of(sampled)
            && at >= progress.counted_from.load(Ordering::Acquire)
            && let Some(sent) = progress.sent.read().get(at as usize)
        {
            delays.add(sent.elapsed());
        }
        at += 1;
    }
}

/// One who reads.
struct Reader {
    at: usize,
    client: u64,
    /// The delay of one update in so many is kept.
    sampled: u64,
    progress: Arc<Progress>,
}

impl Reader {
    async fn run(
        self,
        mut receiver: Receiver,
        mut sender: Sender,
        mut over: watch::Receiver<bool>,
    ) -> anyhow::Result<Delays> {
        let mut delays = Delays::default();
        loop {
            let frame = tokio::select! {
                frame = receiver.next() => frame?,
                _ = over.changed() => return Ok(delays),
            };
            let frame = frame.context("a reader's socket was closed")?;
            if let Some(answer) = self.take(&frame, &mut delays)? {
                sender.send(answer).await?;
            }
        }
    }

    /// Notes how far a frame reaches; what is to be answered comes back.
    fn take(&self, frame: &Bytes, delays: &mut Delays) -> anyhow::Result<Option<Bytes>> {
        let now = Instant::now();
        // The relay's readers see the writer's frames, which look the same.
        let update = match ServerFrame::read(frame)? {
            ServerFrame::Ping => return Ok(Some(client::pong())),
            ServerFrame::Addressed {
                message: ServerMessage::Sync(SyncMessage::Update(update) | SyncMessage::Step2(update)),
                ..
            } => update,
            _ => return Ok(None),
        };
        let read = &self.progress.read[self.at];
        let (before, reached) = (read.load(Ordering::Acquire), reach(update, self.client)?);
        if reached <= before {
            return Ok(None);
        }
        let counted_from = self.progress.counted_from.load(Ordering::Acquire);
        {
            let sent = self.progress.sent.read();
            let counted = before.max(counted_from)..reached;
            for at in counted.filter(|at| at % self.sampled == 0) {
                if let Some(at) = sent.get(at as usize) {
                    delays.add(now.duration_since(*at));
                }
            }
        }
        read.store(reached, Ordering::Release);
        self.progress.moved.notify_one();
        Ok(None)
    }
}
