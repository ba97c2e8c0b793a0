//! Somebody who types at the end of a line and hears the others, and somebody who only listens.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use ensemble_protocol::hocuspocus::awareness_frame;
use ensemble_protocol::sync::{PresenceEntry, SyncMessage, read_presence, write_presence};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use yrs::updates::decoder::Decode as _;
use yrs::{
    Assoc, ClientID, Doc, GetString as _, IndexedSequence as _, OffsetKind, Options, StickyIndex, Text as _,
    TextRef, Transact as _, Update,
};

use super::difference;
use crate::client::{PATIENCE, Receiver, Sender, ServerFrame, ServerMessage, connect, pong, update_frame};
use crate::random::Random;
use crate::stage::Stage;

/// What people type, over and over.
const LETTERS: &[u8] = b"the quick brown fox ";

/// What everybody is told.
#[derive(Debug, Clone)]
pub(super) enum Order {
    /// Go on.
    Type,
    /// Press no more keys, and wait until all are stored.
    Stop,
    /// Wait until your copy is this text, and leave.
    Compare(Arc<str>),
}

/// A key press on its way to somebody.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    sent: Instant,
    delay: Duration,
}

/// All key presses of a phase.
#[derive(Debug, Default)]
pub(super) struct Keys {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When each key of each person was sent; its number is the clock of its letter.
    sent: HashMap<u64, Vec<Instant>>,
    arrivals: Vec<Arrival>,
    /// What each person typed, once it is stored.
    stored: HashMap<u64, String>,
    /// Everybody, in the order they came.
    people: Vec<u64>,
}

impl Keys {
    /// Somebody has come.
    fn came(&self, client: u64) {
        let mut state = self.state.lock();
        state.people.push(client);
        state.sent.insert(client, Vec::new());
    }

    /// Delays of the keys pressed in a time, at everybody who was not the one who typed.
    pub(super) fn delays(&self, window: &Range<Instant>) -> crate::report::Delays {
        let mut delays = crate::report::Delays::default();
        for arrival in self.state.lock().arrivals.iter().filter(|arrival| window.contains(&arrival.sent)) {
            delays.add(arrival.delay);
        }
        delays
    }

    /// Keys pressed in a time.
    pub(super) fn sent_in(&self, window: &Range<Instant>) -> usize {
        self.state.lock().sent.values().flatten().filter(|at| window.contains(*at)).count()
    }

    /// Takes an update: notes the keys in it, and tells whether it is by a person.
    fn hear(&self, update: &Update, reached: &mut HashMap<u64, u32>, now: Instant) -> bool {
        let mut state = self.state.lock();
        let State { sent, arrivals, .. } = &mut *state;
        let mut by_person = false;
        for (client, ranges) in update.insertions(true).iter() {
            let Some(sent) = sent.get(&client.get()) else { continue };
            by_person = true;
            let reached = reached.entry(client.get()).or_default();
            let end = ranges.iter().map(|range| range.end).max().unwrap_or(0);
            let news = *reached as usize..(end as usize).min(sent.len());
            arrivals.extend(
                sent.get(news)
                    .unwrap_or_default()
                    .iter()
                    .map(|sent| Arrival { sent: *sent, delay: now.saturating_duration_since(*sent) }),
            );
            *reached = (*reached).max(end);
        }
        by_person
    }
}

/// Waits until everything everybody typed is stored, and returns it, in the order they came.
pub(super) async fn typed(
    people: &mut [JoinHandle<anyhow::Result<()>>],
    keys: &Keys,
) -> anyhow::Result<Vec<String>> {
    let waiting = async {
        loop {
            {
                let state = keys.state.lock();
                let typed: Vec<String> =
                    state.people.iter().filter_map(|client| state.stored.get(client).cloned()).collect();
                if typed.len() == people.len() {
                    return anyhow::Ok(typed);
                }
            }
            if let Some(gone) = people.iter_mut().find(|person| person.is_finished()) {
                gone.await??;
                bail!("a person left early");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.context("not everything typed was stored in time")?
}

/// Opens a socket and asks to be let into all addresses of the page; the document comes last.
async fn enter(stage: &Stage, token: &str, address: &str) -> anyhow::Result<(Sender, Receiver)> {
    let project = &stage.project.id;
    let (mut sender, mut receiver) =
        connect(stage.process.base(), &format!("/sync?project={project}")).await?;
    for replica in [project, &format!("{project}/turns")] {
        sender.join(replica, token, &[0]).await?;
        receiver.joined(&mut sender, replica).await?;
    }
    sender.join(address, token, &[0]).await?;
    Ok((sender, receiver))
}

/// Somebody who types.
pub(super) struct Person {
    address: String,
    keys: Arc<Keys>,
    sender: Sender,
    receiver: Receiver,
    doc: Doc,
    content: TextRef,
    /// Behind their last letter.
    place: StickyIndex,
    presence_clock: u64,
    random: Random,
    pace: Duration,
    typed: String,
    unsaved: usize,
    reached: HashMap<u64, u32>,
}

impl Person {
    /// Joins as a page does, and goes to the end of a line that occurs once.
    pub(super) async fn join(
        stage: &Stage,
        token: &str,
        address: &str,
        line: &str,
        keys: Arc<Keys>,
        mut random: Random,
        pace: Duration,
    ) -> anyhow::Result<Self> {
        let (mut sender, mut receiver) = enter(stage, token, address).await?;
        let doc = Doc::with_options(Options {
            client_id: ClientID::new(random.client_id()),
            offset_kind: OffsetKind::Utf16,
            ..Options::default()
        });
        let content = doc.get_or_insert_text("content");
        let mut reached = HashMap::new();
        for update in receiver.joined_with(&mut sender, address).await? {
            let update = Update::decode_v1(&update)?;
            keys.hear(&update, &mut reached, Instant::now());
            doc.transact_mut().apply_update(update)?;
        }
        let text = content.get_string(&doc.transact());
        let at = text.find(line).context("the line to type in is not there")? + line.len();
        let place = stick(&doc, &content, at as u32)?;
        let address = address.to_owned();
        keys.came(doc.client_id().get());
        Ok(Self {
            address,
            keys,
            sender,
            receiver,
            doc,
            content,
            place,
            presence_clock: 0,
            random,
            pace,
            typed: String::new(),
            unsaved: 0,
            reached,
        })
    }

    /// Types until told to stop, and leaves once the copy is what it should be.
    pub(super) async fn run(mut self, mut orders: watch::Receiver<Order>) -> anyhow::Result<()> {
        let client = self.doc.client_id().get();
        let mut due = tokio::time::Instant::now() + self.pause();
        let mut patience = None;
        loop {
            let order = orders.borrow_and_update().clone();
            match &order {
                Order::Type => {}
                Order::Stop => {
                    if self.unsaved == 0 {
                        self.keys.state.lock().stored.insert(client, self.typed.clone());
                    }
                }
                Order::Compare(expected) => {
                    let text = self.content.get_string(&self.doc.transact());
                    if text == **expected {
                        return Ok(());
                    }
                    let until = *patience.get_or_insert_with(|| tokio::time::Instant::now() + PATIENCE);
                    ensure!(
                        tokio::time::Instant::now() < until,
                        "a person's copy is not what was written: {}",
                        difference(expected, &text)
                    );
                    due = until;
                }
            }
            let types = matches!(order, Order::Type);
            tokio::select! {
                frame = self.receiver.next() => {
                    let frame = frame?.context("a person's socket was closed")?;
                    self.take(&frame).await?;
                }
                changed = orders.changed() => changed?,
                () = tokio::time::sleep_until(due), if types || patience.is_some() => if types {
                    due += self.pause();
                    self.press(client).await?;
                },
            }
        }
    }

    /// From one key to the next: half as long or half as long again, but on average as it should be.
    fn pause(&mut self) -> Duration {
        self.random.between(self.pace / 2, self.pace * 3 / 2)
    }

    /// Types a letter, and shows where.
    async fn press(&mut self, client: u64) -> anyhow::Result<()> {
        let letter = char::from(LETTERS[self.typed.len() % LETTERS.len()]);
        let at = self.place.get_offset(&self.doc.transact()).context("the place is somewhere")?.index;
        let update = {
            let mut transaction = self.doc.transact_mut();
            self.content.insert(&mut transaction, at, letter.encode_utf8(&mut [0; 4]));
            transaction.encode_update_v1()
        };
        self.place = stick(&self.doc, &self.content, at + 1)?;
        self.typed.push(letter);
        self.unsaved += 1;
        self.presence_clock += 1;
        let presence = presence(&self.address, client, self.presence_clock, &self.place)?;
        self.keys.state.lock().sent.entry(client).or_default().push(Instant::now());
        self.sender.feed(update_frame(&self.address, &update)).await?;
        self.sender.feed(presence).await?;
        self.sender.flush().await
    }

    async fn take(&mut self, frame: &Bytes) -> anyhow::Result<()> {
        let now = Instant::now();
        match ServerFrame::read(frame)? {
            ServerFrame::Ping => return self.sender.send(pong()).await,
            ServerFrame::Addressed { address, message } if address == self.address => match message {
                ServerMessage::SyncStatus(stored) => {
                    ensure!(stored, "a key was refused");
                    self.unsaved = self.unsaved.checked_sub(1).context("an acknowledgement too many")?;
                }
                ServerMessage::Sync(SyncMessage::Update(update) | SyncMessage::Step2(update)) => {
                    let update = Update::decode_v1(update).context("an update cannot be read")?;
                    self.keys.hear(&update, &mut self.reached, now);
                    self.doc.transact_mut().apply_update(update).context("an update cannot be applied")?;
                }
                ServerMessage::Closed(reason) => bail!("the document was closed: {reason}"),
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }
}

fn stick(doc: &Doc, content: &TextRef, at: u32) -> anyhow::Result<StickyIndex> {
    let place = content.sticky_index(&doc.transact(), at, Assoc::Before);
    place.context("there is a place behind every letter")
}

/// A cursor as the page's editor tells it.
fn presence(address: &str, client: u64, clock: u64, place: &StickyIndex) -> anyhow::Result<Bytes> {
    let place = serde_json::to_value(place)?;
    let user = json!({"name": "whoever", "color": "#30bced", "colorLight": "#30bced33", "kind": "person"});
    let state = json!({"user": user, "cursor": {"anchor": place, "head": place}}).to_string();
    let entry = PresenceEntry { client, clock, state: &state };
    Ok(awareness_frame(address, &write_presence([entry].into_iter())))
}

/// What the turn sent to somebody who only listens.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Its updates: when each came, and its bytes on the wire.
    pub(super) updates: Vec<(Instant, u64)>,
    /// Bytes of its presence on the wire; of a frame shared with people, its share.
    pub(super) presence_bytes: u64,
}

/// Somebody who only listens.
pub(super) struct Listener {
    heard: Arc<Mutex<Heard>>,
    leave: watch::Sender<bool>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Listener {
    pub(super) async fn join(stage: &Stage, address: &str, keys: Arc<Keys>) -> anyhow::Result<Self> {
        let (mut sender, mut receiver) = enter(stage, &stage.project.token, address).await?;
        let mut reached = HashMap::new();
        for update in receiver.joined_with(&mut sender, address).await? {
            keys.hear(&Update::decode_v1(&update)?, &mut reached, Instant::now());
        }
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (leave, mut left) = watch::channel(false);
        let task = tokio::spawn({
            let (heard, address) = (heard.clone(), address.to_owned());
            async move {
                loop {
                    let frame = tokio::select! {
                        frame = receiver.next() => frame?.context("the listener's socket was closed")?,
                        _ = left.changed() => return Ok(()),
                    };
                    let (now, bytes) = (Instant::now(), frame.len() as u64);
                    let message = match ServerFrame::read(&frame)? {
                        ServerFrame::Ping => {
                            sender.send(pong()).await?;
                            continue;
                        }
                        ServerFrame::Addressed { address: about, message } if about == address => message,
                        _ => continue,
                    };
                    match message {
                        ServerMessage::Sync(SyncMessage::Update(update) | SyncMessage::Step2(update)) => {
                            let update = Update::decode_v1(update).context("an update cannot be read")?;
                            if !keys.hear(&update, &mut reached, now) {
                                heard.lock().updates.push((now, bytes));
                            }
                        }
                        ServerMessage::Awareness(entries) => {
                            heard.lock().presence_bytes += agents_share(entries, bytes)?;
                        }
                        _ => {}
                    }
                }
            }
        });
        Ok(Self { heard, leave, task })
    }

    /// Waits for the turn's first update.
    pub(super) async fn until_the_turn_writes(&self) -> anyhow::Result<()> {
        let waiting = async {
            while self.heard.lock().updates.is_empty() {
                ensure!(!self.task.is_finished(), "the listener's socket was closed");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, waiting).await.context("the turn wrote nothing")?
    }

    /// Leaves, and tells what was heard.
    pub(super) async fn leave(self) -> anyhow::Result<Heard> {
        self.leave.send_replace(true);
        self.task.await??;
        Ok(std::mem::take(&mut *self.heard.lock()))
    }
}

/// The agent's part of a presence frame, in bytes.
fn agents_share(entries: &[u8], bytes: u64) -> anyhow::Result<u64> {
    let entries = read_presence(entries)?;
    let all: usize = entries.iter().map(|entry| entry.state.len()).sum();
    let agents = |entry: &&PresenceEntry<'_>| entry.state.contains(r#""kind":"agent""#);
    let of_agents: usize = entries.iter().filter(agents).map(|entry| entry.state.len()).sum();
    Ok(if all == 0 { 0 } else { bytes * of_agents as u64 / all as u64 })
}
