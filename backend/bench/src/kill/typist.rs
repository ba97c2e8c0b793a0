//! Somebody who types numbered tokens, and comes back after every kill with what they have.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use ensemble_protocol::sync::SyncMessage;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use yrs::updates::decoder::Decode as _;
use yrs::updates::encoder::Encode as _;
use yrs::{
    ClientID, Doc, GetString as _, OffsetKind, Options, ReadTxn as _, StateVector, Text as _, TextRef,
    Transact as _, Update,
};

use super::Shared;
use super::record::{Edit, Found, HEADER, Record, Writer, places, token, tokens};
use crate::client::{
    Receiver, Sender, ServerFrame, ServerMessage, connect, pong, presence_frame, step_2_frame, update_frame,
};
use crate::random::Random;

/// What each person adds to everybody's pauses between two edits: however many type, it is some 125 edits a second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(14));
/// One edit in so many deletes one of the person's own tokens.
const DELETE_EVERY: u64 = 8;
/// Before trying to connect again.
const RETRY: Duration = Duration::from_millis(10);
/// How often a typist looks whether it was told something.
const LOOK: Duration = Duration::from_millis(5);

/// What somebody does in the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Types tokens with this number in front.
    Writes(usize),
    /// Only looks.
    Watches,
}

/// Where people meet.
#[derive(Debug, Clone)]
pub(crate) struct Meeting {
    /// `{project}/{document}`.
    pub(crate) address: String,
    /// Where the server is; nobody while it is down.
    pub(crate) place: watch::Receiver<Option<String>>,
    /// Client ids people write under; all others are the server's and the turns'.
    pub(crate) people: Shared<BTreeSet<u64>>,
    /// How many type.
    pub(crate) writers: usize,
}

/// What is known from outside.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each yes or no")]
#[derive(Debug, Default)]
struct State {
    record: Record,
    /// Their copy's text, brought up to date while they do not type: reading it after every edit would make the
    /// typists slower than the server.
    text: String,
    synced_at: Option<Instant>,
    is_synced: bool,
    acknowledged_at: Option<Instant>,
    has_document: bool,
    turns_units: u64,
    taken_back: bool,
    paused: bool,
    laptop_lost: bool,
    failure: Option<String>,
}

/// Somebody in a document. Leaves when dropped.
#[derive(Debug)]
pub(crate) struct Typist {
    state: Shared<State>,
    task: JoinHandle<()>,
}

impl Typist {
    /// Lets somebody begin.
    pub(crate) fn start(role: Role, meeting: &Meeting, token: &str, random: Random) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        if let Role::Writes(person) = role {
            state.lock().record.person = person;
        }
        let desk = Desk::new(role, meeting.clone(), token, random, state.clone());
        Self { task: tokio::spawn(desk.run()), state }
    }

    /// Stops typing; goes on listening.
    pub(crate) fn pause(&self) {
        self.state.lock().paused = true;
    }

    /// Types on.
    pub(crate) fn resume(&self) {
        self.state.lock().paused = false;
    }

    /// Loses everything that is only on this person's machine. They come back under another client id.
    pub(crate) fn lose_laptop(&self) {
        self.state.lock().laptop_lost = true;
    }

    /// Why they gave up, if they did.
    pub(crate) fn failure(&self) -> Option<String> {
        self.state.lock().failure.clone()
    }

    /// Whether they are in.
    pub(crate) fn is_synced(&self) -> bool {
        self.state.lock().is_synced
    }

    /// Whether they were sent the document since they connected, acknowledged or not.
    pub(crate) fn has_document(&self) -> bool {
        self.state.lock().has_document
    }

    /// Whether something they did is not acknowledged.
    pub(crate) fn is_unsaved(&self) -> bool {
        !self.state.lock().record.unsaved.is_empty()
    }

    /// How many of their edits were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.state.lock().record.acknowledged.len()
    }

    /// Whether they are in and everything they did is acknowledged.
    pub(crate) fn is_saved(&self) -> bool {
        let state = self.state.lock();
        state.is_synced && state.record.unsaved.is_empty()
    }

    /// When they were in again after a moment.
    pub(crate) fn synced_since(&self, moment: Instant) -> Option<Instant> {
        self.state.lock().synced_at.filter(|at| *at > moment)
    }

    /// When something of theirs was acknowledged first since they were in again after a moment.
    pub(crate) fn acknowledged_since(&self, moment: Instant) -> Option<Instant> {
        self.state.lock().acknowledged_at.filter(|at| *at > moment)
    }

    /// UTF-16 units that the server and the turns wrote, deleted or not, as far as this one was told.
    pub(crate) fn turns_units(&self) -> u64 {
        self.state.lock().turns_units
    }

    /// Notes anew whether they are acknowledged.
    pub(crate) fn forget_acknowledgement(&self) {
        self.state.lock().acknowledged_at = None;
    }

    /// Whether the server once lacked something of its own or of a turn that they had from it.
    pub(crate) fn was_taken_back(&self) -> bool {
        self.state.lock().taken_back
    }

    /// Their copy, as it was a moment ago, if they do not type.
    pub(crate) fn text(&self) -> String {
        self.state.lock().text.clone()
    }

    /// What they did.
    pub(crate) fn record(&self) -> Record {
        self.state.lock().record.clone()
    }

    /// How they are, for a message.
    pub(crate) fn describe(&self) -> String {
        let state = self.state.lock();
        format!(
            "person {}: synced {}, {} unsaved of {}",
            state.record.person,
            state.is_synced,
            state.record.unsaved.len(),
            state.record.made.len()
        )
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why a session ended.
enum Left {
    /// The socket closed.
    Cut,
    /// The laptop is gone.
    Laptop,
}

/// The one who types, from their own side.
struct Desk {
    role: Role,
    meeting: Meeting,
    token: String,
    random: Random,
    state: Shared<State>,
    doc: Doc,
    content: TextRef,
    next: u32,
    presence_clock: u64,
    /// The document changed since its text was shown.
    changed: bool,
}

/// What is known of one connection.
#[derive(Default)]
struct Session {
    /// What each acknowledgement that is still to come stands for. An update typed before the handshake is over
    /// may be acknowledged after the answer to it, which has the same edits in it: that mix-up claims nothing that
    /// is not stored.
    outstanding: VecDeque<BTreeSet<Edit>>,
    answered: bool,
    synced: bool,
}

fn new_doc(random: &mut Random, people: &Shared<BTreeSet<u64>>) -> (Doc, TextRef) {
    let id = random.client_id();
    people.lock().insert(id);
    let doc = Doc::with_options(Options {
        client_id: ClientID::new(id),
        offset_kind: OffsetKind::Utf16,
        ..Options::default()
    });
    let content = doc.get_or_insert_text("content");
    (doc, content)
}

impl Desk {
    fn new(role: Role, meeting: Meeting, token: &str, mut random: Random, state: Shared<State>) -> Self {
        let (doc, content) = new_doc(&mut random, &meeting.people);
        let token = token.to_owned();
        Self { role, meeting, token, random, state, doc, content, next: 1, presence_clock: 0, changed: false }
    }

    fn pause(&mut self) -> Duration {
        let people = self.meeting.writers as u32;
        self.random.between(PAUSE.0 * people, PAUSE.1 * people)
    }

    async fn run(mut self) {
        loop {
            let place = self.meeting.place.borrow_and_update().clone();
            self.pick_up_laptop();
            let Some(base) = place else {
                // The server is down, which keeps nobody from typing; a world that is gone ends this.
                self.show_text();
                let pause = self.pause();
                tokio::select! {
                    changed = self.meeting.place.changed() => if changed.is_err() {
                        return;
                    },
                    () = tokio::time::sleep(pause) => {
                        if self.types() {
                            self.edit();
                        }
                    }
                }
                continue;
            };
            let project = self.meeting.address.split('/').next().unwrap_or_default();
            let path = format!("/sync?project={project}");
            if let Ok((sender, receiver)) = connect(&base, &path).await {
                let left = self.session(sender, receiver).await;
                let mut state = self.state.lock();
                state.is_synced = false;
                state.has_document = false;
                drop(state);
                match left {
                    Ok(Left::Cut | Left::Laptop) => {}
                    Err(error) => {
                        self.state.lock().failure = Some(format!("{error:#}"));
                        return;
                    }
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Begins with nothing if the laptop was lost.
    fn pick_up_laptop(&mut self) {
        let mut state = self.state.lock();
        if std::mem::take(&mut state.laptop_lost) {
            (self.doc, self.content) = new_doc(&mut self.random, &self.meeting.people);
            self.presence_clock = 0;
            self.changed = true;
            state.record.unsaved.clear();
            state.text.clear();
        }
    }

    async fn session(&mut self, mut sender: Sender, mut receiver: Receiver) -> anyhow::Result<Left> {
        let have = self.doc.transact().state_vector().encode_v1();
        self.presence_clock += 1;
        let hello =
            presence_frame(&self.meeting.address, self.doc.client_id().get(), self.presence_clock, "whoever");
        let joined = sender.join(&self.meeting.address, &self.token, &have).await;
        if joined.is_err() || sender.send(hello).await.is_err() {
            return Ok(Left::Cut);
        }
        let mut session = Session::default();
        let mut due = tokio::time::Instant::now() + self.pause();
        loop {
            let frame = tokio::select! {
                frame = receiver.next() => if let Ok(Some(frame)) = frame {
                    Some(frame)
                } else if let Some(code @ 4400..=4499) = receiver.closed_with() {
                    bail!("the server closed the socket with {code}");
                } else {
                    // However it ended: the server was killed, and it is gone.
                    return Ok(Left::Cut);
                },
                () = tokio::time::sleep_until(due) => None,
            };
            let answers = if let Some(frame) = frame {
                self.take(&frame, &mut session)?
            } else {
                if self.state.lock().laptop_lost {
                    return Ok(Left::Laptop);
                }
                if self.types() {
                    due += self.pause();
                    let (edit, update) = self.edit();
                    session.outstanding.push_back(BTreeSet::from([edit]));
                    vec![update_frame(&self.meeting.address, &update)]
                } else {
                    due = tokio::time::Instant::now() + LOOK;
                    self.show_text();
                    Vec::new()
                }
            };
            for answer in answers {
                if sender.send(answer).await.is_err() {
                    return Ok(Left::Cut);
                }
            }
        }
    }

    /// Whether this person is at it: also before they are synced, and while there is no server.
    fn types(&self) -> bool {
        matches!(self.role, Role::Writes(_)) && !self.state.lock().paused
    }

    /// Types a token somewhere between two others, or deletes one of one's own.
    fn edit(&mut self) -> (Edit, Vec<u8>) {
        let Role::Writes(person) = self.role else { unreachable!("who watches does not edit") };
        let text = self.content.get_string(&self.doc.transact());
        let (found, _) = tokens(&text);
        let own: Vec<Found> =
            found.iter().filter(|found| found.token.0 == Writer::Person(person)).copied().collect();
        let mut transaction = self.doc.transact_mut();
        let edit = if !own.is_empty() && self.random.below(DELETE_EVERY) == 0 {
            let gone = own[self.random.below(own.len() as u64) as usize];
            self.content.remove_range(&mut transaction, gone.start, gone.end - gone.start);
            Edit::Delete(gone.token.1)
        } else {
            let number = self.next;
            self.next += 1;
            let places = places(&text, &found);
            let place = places[self.random.below(places.len() as u64) as usize];
            self.content.insert(&mut transaction, place, &token((Writer::Person(person), number)));
            Edit::Insert(number)
        };
        let update = transaction.encode_update_v1();
        drop(transaction);
        self.changed = true;
        let mut state = self.state.lock();
        state.record.made.insert(edit);
        state.record.unsaved.insert(edit);
        drop(state);
        (edit, update)
    }

    /// Takes what the server says; what is to be answered comes back.
    fn take(&mut self, frame: &Bytes, session: &mut Session) -> anyhow::Result<Vec<Bytes>> {
        let message = match ServerFrame::read(frame)? {
            ServerFrame::Ping => return Ok(vec![pong()]),
            ServerFrame::Addressed { address, message } if address == self.meeting.address => message,
            _ => return Ok(Vec::new()),
        };
        match message {
            ServerMessage::Denied(reason) => bail!("denied: {reason}"),
            ServerMessage::Closed(reason) => bail!("closed: {reason}"),
            ServerMessage::SyncStatus(false) => bail!("an edit was refused"),
            ServerMessage::SyncStatus(true) => {
                let edits = session.outstanding.pop_front().context("an acknowledgement too many")?;
                self.acknowledged(&edits, session);
            }
            ServerMessage::Sync(SyncMessage::Step1(have)) => return Ok(vec![self.answer(have, session)?]),
            ServerMessage::Sync(SyncMessage::Step2(update)) => {
                self.apply(update)?;
                session.synced = true;
                self.state.lock().has_document = true;
            }
            ServerMessage::Sync(SyncMessage::Update(update)) => self.apply(update)?,
            _ => {}
        }
        Ok(Vec::new())
    }

    fn acknowledged(&self, edits: &BTreeSet<Edit>, session: &Session) {
        let mut state = self.state.lock();
        for edit in edits {
            state.record.unsaved.remove(edit);
            state.record.acknowledged.insert(*edit);
        }
        let now = Instant::now();
        if !state.is_synced && session.synced {
            // The answer to the handshake: both sides have everything, and it is stored.
            state.is_synced = true;
            state.synced_at = Some(now);
            state.acknowledged_at = None;
        } else if !edits.is_empty() && state.acknowledged_at.is_none() {
            state.acknowledged_at = Some(now);
        }
    }

    /// Gives the server what it lacks. The answer to its first question is acknowledged, others are not.
    fn answer(&self, have: &[u8], session: &mut Session) -> anyhow::Result<Bytes> {
        let have = StateVector::decode_v1(have).context("a state vector cannot be read")?;
        let transaction = self.doc.transact();
        let ours = transaction.state_vector();
        let missing = transaction.encode_diff_v1(&have);
        drop(transaction);
        let people = self.meeting.people.lock();
        let is_lost =
            |(client, clock): (&ClientID, &u32)| !people.contains(&client.get()) && have.get(client) < *clock;
        let taken_back = ours.iter().any(is_lost);
        drop(people);
        let mut state = self.state.lock();
        state.taken_back |= taken_back;
        if !session.answered {
            session.answered = true;
            session.outstanding.push_back(state.record.unsaved.clone());
        }
        Ok(step_2_frame(&self.meeting.address, &missing))
    }

    fn apply(&mut self, update: &[u8]) -> anyhow::Result<()> {
        let update = Update::decode_v1(update).context("an update cannot be read")?;
        self.doc.transact_mut().apply_update(update).context("an update cannot be applied")?;
        self.changed = true;
        if self.role == Role::Watches {
            let have = self.doc.transact().state_vector();
            let people = self.meeting.people.lock();
            let units = have.iter().filter(|(client, _)| !people.contains(&client.get()));
            let units: u64 = units.map(|(_, clock)| u64::from(*clock)).sum();
            drop(people);
            self.state.lock().turns_units = units.saturating_sub(HEADER.len() as u64);
        }
        Ok(())
    }

    fn show_text(&mut self) {
        if std::mem::take(&mut self.changed) {
            let text = self.content.get_string(&self.doc.transact());
            self.state.lock().text = text;
        }
    }
}
