//! Somebody honest who types through it all, and notes how long each keystroke waited to be acknowledged.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use ensemble_protocol::lib0::Reader;
use ensemble_protocol::sync::{Message, SyncMessage};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use yrs::updates::decoder::Decode as _;
use yrs::{
    ClientID, Doc, GetString as _, ID, OffsetKind, Options, ReadTxn as _, StateVector, Text as _, TextRef,
    Transact as _, Update,
};

use super::frames::Wire;
use crate::client::{PATIENCE, Sender, ServerFrame, ServerMessage, connect, pong};
use crate::random::Random;
use crate::report::Delays;

/// What somebody honest types; the hostile ones type other letters.
pub(crate) const LETTERS: [char; 12] = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l'];
/// How fast somebody types.
const PAUSE: (Duration, Duration) = (Duration::from_millis(40), Duration::from_millis(120));
/// How often somebody who does not type looks up.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
struct State {
    is_synced: bool,
    paused: bool,
    unsaved: usize,
    text: String,
    waits: Delays,
    failure: Option<String>,
}

/// Somebody in a document. Leaves when dropped.
#[derive(Debug)]
pub(crate) struct Person {
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Person {
    /// Lets somebody join and type.
    pub(crate) fn start(wire: Wire, base: &str, address: &str, token: &str, random: Random) -> Self {
        Self::join(wire, base, address, token, random, State::default())
    }

    /// Lets somebody join who never types.
    pub(crate) fn listen(wire: Wire, base: &str, address: &str, token: &str, random: Random) -> Self {
        Self::join(wire, base, address, token, random, State { paused: true, ..State::default() })
    }

    fn join(wire: Wire, base: &str, address: &str, token: &str, mut random: Random, state: State) -> Self {
        let state = Arc::new(Mutex::new(state));
        let doc = Doc::with_options(Options {
            client_id: ClientID::new(random.client_id()),
            offset_kind: OffsetKind::Utf16,
            ..Options::default()
        });
        let content = doc.get_or_insert_text("content");
        let desk = Desk {
            wire,
            address: address.to_owned(),
            token: token.to_owned(),
            random,
            state: state.clone(),
            doc,
            content,
            outstanding: VecDeque::new(),
            answers_due: 0,
        };
        let base = base.to_owned();
        Self { task: tokio::spawn(desk.run(base)), state }
    }

    /// Stops typing; goes on listening.
    pub(crate) fn pause(&self) {
        self.state.lock().paused = true;
    }

    /// Whether they have the document.
    pub(crate) fn is_synced(&self) -> bool {
        self.state.lock().is_synced
    }

    /// Whether they rest and everything they typed is acknowledged.
    pub(crate) fn is_saved(&self) -> bool {
        self.state.lock().unsaved == 0
    }

    /// Their copy, as it was a moment ago, if they do not type.
    pub(crate) fn text(&self) -> String {
        self.state.lock().text.clone()
    }

    /// How long each keystroke waited.
    pub(crate) fn waits(&self) -> Delays {
        self.state.lock().waits.clone()
    }

    /// What happened to them that should not have.
    pub(crate) fn failure(&self) -> Option<String> {
        self.state.lock().failure.clone()
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Desk {
    wire: Wire,
    address: String,
    token: String,
    random: Random,
    state: Arc<Mutex<State>>,
    doc: Doc,
    content: TextRef,
    /// The clock after each keystroke that is not acknowledged, and when it was made.
    outstanding: VecDeque<(u32, Instant)>,
    /// Acknowledgements still to come that stand for no keystroke.
    answers_due: usize,
}

impl Desk {
    async fn run(mut self, base: String) {
        if let Err(error) = self.session(&base).await {
            self.state.lock().failure = Some(format!("over {:?}: {error:#}", self.wire));
        }
    }

    async fn session(&mut self, base: &str) -> anyhow::Result<()> {
        let (mut sender, mut receiver) = connect(base, &self.wire.path(&self.address, &self.token)).await?;
        match self.wire {
            Wire::Hocuspocus => sender.join(&self.address, &self.token, &[0]).await?,
            Wire::YWebsocket => {
                sender.send(self.wire.sync(&self.address, SyncMessage::Step1(&[0]))).await?;
            }
        }
        let mut due = tokio::time::Instant::now();
        loop {
            tokio::select! {
                frame = receiver.next() => match frame {
                    Ok(Some(frame)) => self.hear(&frame, &mut sender).await?,
                    ended => bail!("disconnected, with {:?} ({:?})", receiver.closed_with(), ended.err()),
                },
                () = tokio::time::sleep_until(due) => {
                    let types = {
                        let state = self.state.lock();
                        state.is_synced && !state.paused
                    };
                    if types {
                        let update = self.keystroke();
                        sender.send(self.wire.sync(&self.address, SyncMessage::Update(&update))).await?;
                        due += self.random.between(PAUSE.0, PAUSE.1);
                    } else {
                        due = tokio::time::Instant::now() + LOOK;
                        self.show();
                    }
                    if let Some((_, since)) = self.outstanding.front() {
                        ensure!(since.elapsed() < PATIENCE, "a keystroke was not acknowledged for {PATIENCE:?}");
                    }
                }
            }
        }
    }

    fn keystroke(&mut self) -> Vec<u8> {
        let mut transaction = self.doc.transact_mut();
        let text = self.content.get_string(&transaction);
        // Never inside a character of two units.
        let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        let place = self.random.below(text.chars().count() as u64 + 1) as usize;
        let bytes = ends.clone().nth(place).unwrap_or(text.len());
        let units = text[..bytes].encode_utf16().count() as u32;
        let letter = LETTERS[self.random.below(LETTERS.len() as u64) as usize];
        self.content.insert(&mut transaction, units, letter.encode_utf8(&mut [0; 4]));
        let update = transaction.encode_update_v1();
        drop(transaction);
        let reached = self.doc.transact().state_vector().get(&self.doc.client_id());
        self.outstanding.push_back((reached, Instant::now()));
        self.state.lock().unsaved = self.outstanding.len();
        update
    }

    fn show(&self) {
        let text = self.content.get_string(&self.doc.transact());
        self.state.lock().text = text;
    }

    async fn hear(&mut self, frame: &Bytes, sender: &mut Sender) -> anyhow::Result<()> {
        let message = match self.wire {
            Wire::Hocuspocus => match ServerFrame::read(frame)? {
                ServerFrame::Ping => return sender.send(pong()).await,
                ServerFrame::Addressed { address, message } if address == self.address => message,
                _ => return Ok(()),
            },
            Wire::YWebsocket => match Message::read(&mut Reader::new(frame)) {
                Ok(Message::Sync(message)) => ServerMessage::Sync(message),
                _ => return Ok(()),
            },
        };
        match message {
            ServerMessage::Denied(reason) => bail!("denied: {reason}"),
            ServerMessage::Closed(reason) => bail!("closed: {reason}"),
            ServerMessage::SyncStatus(false) => bail!("a keystroke was refused"),
            ServerMessage::SyncStatus(true) if self.answers_due > 0 => self.answers_due -= 1,
            ServerMessage::SyncStatus(true) => {
                let (reached, _) = self.outstanding.front().context("an acknowledgement too many")?;
                self.acknowledged(*reached);
            }
            ServerMessage::Sync(SyncMessage::Step1(have)) => {
                let have = StateVector::decode_v1(have).context("a state vector cannot be read")?;
                let missing = self.doc.transact().encode_diff_v1(&have);
                // The answer to the first question is acknowledged, others are not.
                if self.wire == Wire::Hocuspocus && !self.state.lock().is_synced {
                    self.answers_due += 1;
                }
                sender.send(self.wire.sync(&self.address, SyncMessage::Step2(&missing))).await?;
            }
            ServerMessage::Sync(SyncMessage::Step2(update)) => {
                self.apply(update)?;
                self.state.lock().is_synced = true;
            }
            ServerMessage::Sync(SyncMessage::Update(update)) => self.apply(update)?,
            _ => {}
        }
        Ok(())
    }

    fn apply(&mut self, update: &[u8]) -> anyhow::Result<()> {
        let update = Update::decode_v1(update).context("an update cannot be read")?;
        if self.wire == Wire::YWebsocket {
            // One's own update comes back once it is stored.
            let (stored, client) = (update.insertions(true), self.doc.client_id());
            let is_stored = |clock: u32| stored.contains(&ID::new(client, clock - 1));
            let reached =
                self.outstanding.iter().rev().map(|(clock, _)| *clock).find(|clock| is_stored(*clock));
            self.acknowledged(reached.unwrap_or(0));
        }
        self.doc.transact_mut().apply_update(update).context("an update cannot be applied")?;
        Ok(())
    }

    fn acknowledged(&mut self, reached: u32) {
        let mut state = self.state.lock();
        while let Some((_, since)) = self.outstanding.pop_front_if(|(clock, _)| *clock <= reached) {
            state.waits.add(since.elapsed());
        }
        state.unsaved = self.outstanding.len();
    }
}
