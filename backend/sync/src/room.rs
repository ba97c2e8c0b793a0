//! The live home of one open document and its peers.
//!
//! [`Room`] is the handle everybody holds; the actor behind it is in [`actor`]. A browser's connection and an
//! agent go through the same handle. Joining returns a [`PeerGuard`]; dropping it, for whatever reason, makes
//! the peer leave and its presence disappear, after everything it had sent was handled.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use ensemble_protocol::hocuspocus::Scope;
use ensemble_protocol::id::{DocumentId, HunkId, MemberId, PeerId, ProjectId, TurnId, Version};
use ensemble_store::{Change, Commit, Committed, DocumentKind, NewUpdate};
use serde_json::Value;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::anchor::{Anchor, BaseText, UnitRange};
use crate::error::RoomError;
use crate::peer::OutboxSlot;
use crate::registry::Vitals;

pub(crate) mod actor;
mod frames;

/// How frames for a peer are framed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Framing {
    /// Hocuspocus frames under this address, exactly as the peer wrote it.
    Hocuspocus(Arc<str>),
    /// Plain y-websocket messages.
    YWebsocket,
}

/// Who a peer is, for presence and attribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The person.
    pub member: MemberId,
    /// What others see.
    pub name: String,
    /// Their color, `#rrggbb`.
    pub color: String,
}

/// What somebody brings who joins a room.
#[derive(Debug)]
pub struct Join {
    /// This connection at this address.
    pub peer: PeerId,
    /// Who it is.
    pub identity: Identity,
    /// What they may do.
    pub scope: Scope,
    /// How to talk to them.
    pub framing: Framing,
    /// Where to put what they are sent.
    pub outbox: OutboxSlot,
}

/// What a peer says to a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerMessage {
    /// "This is what I have": an encoded state vector.
    Step1(Bytes),
    /// "This is what you lack": an encoded update.
    Step2(Bytes),
    /// Something new: an encoded update.
    Update(Bytes),
    /// An encoded awareness update.
    Presence(Bytes),
    /// Asks for everybody's presence.
    QueryPresence,
}

/// A turn's edits, written in one transaction.
#[derive(Debug, Clone)]
pub struct TurnWrite {
    /// The turn.
    pub turn: TurnId,
    /// Who asked for it.
    pub member: MemberId,
    /// What to change, in the order of the document or not.
    pub edits: Vec<AnchoredEdit>,
    /// Rows that are committed with it, such as what became of its hunks.
    pub changes: Vec<Change>,
    /// Nothing is written any more once this is cancelled.
    pub stop: CancellationToken,
}

/// A deletion and an insertion at places that survive other people's typing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchoredEdit {
    /// The hunk it belongs to.
    pub hunk: HunkId,
    /// Where `insert` goes.
    pub at: Anchor,
    /// What to insert; may be empty.
    pub insert: String,
    /// What to delete; what is deleted already is left out.
    pub delete: Vec<UnitRange>,
}

/// What came of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The version after it; none when there was nothing to do.
    pub version: Option<Version>,
    /// For each edit, what it did.
    pub edits: Vec<WrittenEdit>,
}

/// What came of one edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenEdit {
    /// The place right after what was inserted: where the next text of the same stream goes.
    pub end: Anchor,
    /// Units inserted.
    pub inserted: u32,
    /// Units deleted.
    pub deleted: u32,
    /// Units that should have been deleted and had been by somebody else.
    pub missing: u32,
    /// Whether nothing of it was done, because somebody has replaced all that it was to replace.
    pub yielded: bool,
}

/// A turn's edits of one document that are committed together with others'.
#[derive(Debug, Clone)]
pub struct TextEdits {
    /// The turn.
    pub turn: TurnId,
    /// Who asked for it.
    pub member: MemberId,
    /// What to change, in the order of the document or not.
    pub edits: Vec<AnchoredEdit>,
}

/// What edits will do once they are committed.
#[derive(Debug, Clone)]
pub struct PreparedText {
    /// For each edit, what it does.
    pub edits: Vec<PreparedEdit>,
    /// The text they were prepared on, which people may go on changing.
    pub text: Arc<str>,
}

/// What one edit will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedEdit {
    /// What it does.
    pub written: WrittenEdit,
    /// Where it inserts, in the text it was prepared on.
    pub at: u32,
    /// What it deletes, in the text it was prepared on.
    pub deleted: Vec<Range<u32>>,
}

/// A decision about some hunks of a turn, as far as they are in one document.
#[derive(Debug, Clone)]
pub struct ReviewWrite {
    /// The turn.
    pub turn: TurnId,
    /// Its hunks.
    pub hunks: Vec<HunkId>,
    /// What is to become of them.
    pub verdict: Verdict,
    /// Whether to look at everything else turns did in the document as well: it was away when something was
    /// decided.
    pub everything: bool,
    /// Who decided; for a turn that takes its own hunk back, who asked for it.
    pub member: MemberId,
    /// Rows that are committed with it: the hunks' states.
    pub changes: Vec<Change>,
    /// Nothing is written any more once this is cancelled.
    pub stop: CancellationToken,
}

/// What is to become of a hunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Keep,
    /// The document is as if it had not been written.
    Undo,
}

/// What came of a review in one document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reviewed {
    /// Units that were taken out.
    pub withdrawn: u32,
    /// Units that were put back.
    pub restored: u32,
    /// What came back: the units that stood for it before, and those it is now.
    pub copies: Vec<(UnitRange, UnitRange)>,
}

/// An agent's presence in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentPresence {
    /// The agent's id in the project.
    pub agent: String,
    /// What others see.
    pub name: String,
    /// Its color, `#rrggbb`.
    pub color: String,
    /// The turn it is at.
    pub turn: TurnId,
    /// `reading` or `writing`.
    pub status: &'static str,
    /// Start and end of its selection, equal for a caret; none while it has no place.
    pub cursor: Option<(Anchor, Anchor)>,
    /// When the others are told.
    pub telling: Telling,
}

/// When others are told of a presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// With other news, as often as one entry may be told.
    Soon,
    /// Before anything that is sent to the room after it: what it announces is about to be written.
    Now,
}

/// A change of a replica: where in it, and what.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplicaEdit {
    /// Sets a key of a map to a plain value. Maps on the way are made where they are missing.
    Set {
        /// The root map and the maps below it.
        map: Vec<String>,
        /// The key.
        key: String,
        /// Its value.
        value: Value,
    },
    /// Removes a key of a map.
    Remove {
        /// The root map and the maps below it.
        map: Vec<String>,
        /// The key.
        key: String,
    },
    /// Appends to a text, which is made where it is missing.
    Append {
        /// The root map and the maps below it.
        map: Vec<String>,
        /// The key.
        key: String,
        /// What to append.
        text: String,
    },
}

impl ReplicaEdit {
    /// Sets a key of a map.
    pub fn set(map: &[&str], key: &str, value: Value) -> Self {
        Self::Set { map: map.iter().map(ToString::to_string).collect(), key: key.into(), value }
    }

    /// Removes a key of a map.
    pub fn remove(map: &[&str], key: &str) -> Self {
        Self::Remove { map: map.iter().map(ToString::to_string).collect(), key: key.into() }
    }

    /// Appends to a text.
    pub fn append(map: &[&str], key: &str, text: String) -> Self {
        Self::Append { map: map.iter().map(ToString::to_string).collect(), key: key.into(), text }
    }
}

/// A command's rows and what they mean for a replica, committed in one transaction.
#[derive(Debug, Clone, Default)]
pub struct ReplicaWrite {
    /// Rows.
    pub changes: Vec<Change>,
    /// Updates of other documents, such as the text of one just made.
    pub updates: Vec<NewUpdate>,
    /// Changes of the replica.
    pub edits: Vec<ReplicaEdit>,
}

pub(crate) type Answer<T> = oneshot::Sender<Result<T, RoomError>>;

/// What a room's actor is asked.
#[derive(Debug)]
pub(crate) enum Message {
    /// Somebody comes in. Subscribing is this one step.
    Join(Box<Join>, Arc<AtomicBool>, Answer<()>),
    /// A peer says something.
    Peer(PeerId, PeerMessage),
    /// A peer's socket has drained and it wants what was dropped.
    CatchUp(PeerId),
    /// Text, version and units.
    Read(Answer<BaseText>),
    /// A turn writes.
    Write(Box<TurnWrite>, Answer<Written>),
    /// Somebody decided about hunks of a turn.
    Review(Box<ReviewWrite>, Answer<Reviewed>),
    /// Somebody wanted these units gone that stand elsewhere by now; said by the room to itself.
    Settle(Vec<UnitRange>),
    /// A command changes a replica.
    Replica(Box<ReplicaWrite>, Answer<Committed>),
    /// Keeps the place of server-made edits for some that several rooms commit together.
    Hold(Answer<mpsc::Sender<Order>>),
    /// An agent comes, moves or leaves.
    Agent { agent: String, presence: Option<AgentPresence> },
    /// Something that goes wrong inside of the actor.
    #[cfg(test)]
    Fault(fn(&mut actor::RoomActor)),
    /// The scope of a person's peers changes; `None` closes them.
    Scope { member: MemberId, scope: Option<Scope> },
    /// A peer may do no more than this, whatever its person may.
    AtMost(PeerId, Scope),
}

/// What a room that keeps a place is told. When its sender is gone the place is free again.
#[derive(Debug)]
pub(crate) enum Order {
    /// Prepare a turn's edits.
    Text(TextEdits, Answer<(Option<NewUpdate>, PreparedText)>),
    /// Prepare a replica's edits.
    Replica(Vec<ReplicaEdit>, Answer<Option<NewUpdate>>),
    /// What was prepared is handed to the store, and this is its answer.
    Commit(Commit),
}

/// The handle of a room.
#[derive(Debug, Clone)]
pub struct Room {
    pub(crate) inner: Arc<RoomInner>,
}

#[derive(Debug)]
pub(crate) struct RoomInner {
    pub(crate) document: DocumentId,
    pub(crate) project: ProjectId,
    pub(crate) kind: DocumentKind,
    pub(crate) inbox: mpsc::Sender<Message>,
    /// Told when a guard was dropped without [`PeerGuard::leave`].
    pub(crate) dropped: Arc<Notify>,
    /// Cancelled to close the room at once, for instance because its document was deleted.
    pub(crate) stop: CancellationToken,
    /// What its supervisor watches.
    pub(crate) vitals: Vitals,
    /// Why the document may only be read.
    pub(crate) damage: Option<String>,
}

impl Room {
    /// The document.
    pub fn document(&self) -> DocumentId {
        self.inner.document
    }

    /// A handle that does not keep the room open.
    pub(crate) fn downgrade(self) -> WeakRoom {
        WeakRoom(Arc::downgrade(&self.inner))
    }

    /// The project it belongs to.
    pub fn project(&self) -> ProjectId {
        self.inner.project
    }

    /// What the document is for.
    pub fn kind(&self) -> DocumentKind {
        self.inner.kind
    }

    /// Whether the document could not be loaded whole and is open for reading only, from what is readable.
    pub fn is_damaged(&self) -> bool {
        self.inner.damage.is_some()
    }

    /// Whether the room takes no more messages.
    pub fn is_closed(&self) -> bool {
        self.inner.inbox.is_closed()
    }

    /// Whether another room has taken its place.
    pub(crate) fn is_replaced(&self) -> bool {
        self.inner.vitals.replaced.load(Ordering::Acquire)
    }

    /// Comes in. From here on the peer is sent presence, and after its own step 1 everything else.
    pub async fn join(&self, join: Join) -> Result<PeerGuard, RoomError> {
        let peer = join.peer;
        let gone = Arc::new(AtomicBool::new(false));
        let guard = PeerGuard { room: self.clone(), peer, gone: gone.clone() };
        self.ask(|answer| Message::Join(Box::new(join), gone, answer)).await?;
        Ok(guard)
    }

    /// The text with its version and units. The version is in the log; so is all of the text.
    ///
    /// A replica reads as one JSON object of its root maps, without units.
    pub async fn read(&self) -> Result<BaseText, RoomError> {
        self.ask(Message::Read).await
    }

    /// Writes a turn's edits: committed first, then everybody sees them.
    ///
    /// Nothing is written when `stop` is cancelled before the edits are handed to the store.
    pub async fn write(&self, write: TurnWrite) -> Result<Written, RoomError> {
        self.ask(|answer| Message::Write(Box::new(write), answer)).await
    }

    /// Makes the document what it has to be when these hunks count, or do not. What people typed stays.
    ///
    /// The hunks' states, in `changes`, are committed with it. Doing it again changes nothing.
    pub async fn review(&self, review: ReviewWrite) -> Result<Reviewed, RoomError> {
        self.ask(|answer| Message::Review(Box::new(review), answer)).await
    }

    /// Changes a replica and rows in one transaction; everybody sees it after the commit.
    pub async fn commit(&self, write: ReplicaWrite) -> Result<Committed, RoomError> {
        self.ask(|answer| Message::Replica(Box::new(write), answer)).await
    }

    /// Keeps the place of server-made edits.
    pub(crate) async fn hold(&self) -> Result<mpsc::Sender<Order>, RoomError> {
        self.ask(Message::Hold).await
    }

    /// Shows, moves or removes an agent.
    pub async fn set_agent(&self, agent: &str, presence: Option<AgentPresence>) {
        // A room that closed shows nobody anyway.
        let _ = self.inner.inbox.send(Message::Agent { agent: agent.into(), presence }).await;
    }

    /// Changes what a person's peers may do here; `None` closes them.
    pub async fn set_scope(&self, member: MemberId, scope: Option<Scope>) {
        let _ = self.inner.inbox.send(Message::Scope { member, scope }).await;
    }

    /// Closes the room at once; its peers are told.
    pub fn close(&self) {
        self.inner.stop.cancel();
    }

    async fn ask<T>(&self, message: impl FnOnce(Answer<T>) -> Message) -> Result<T, RoomError> {
        let (answer, answered) = oneshot::channel();
        let closed = || RoomError::Closed(self.inner.document);
        self.inner.inbox.send(message(answer)).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

/// A handle that does not keep the room open.
#[derive(Debug, Clone)]
pub(crate) struct WeakRoom(Weak<RoomInner>);

impl WeakRoom {
    pub(crate) fn upgrade(&self) -> Option<Room> {
        self.0.upgrade().map(|inner| Room { inner })
    }
}

/// Being in a room. Dropping it makes the peer leave.
#[derive(Debug)]
pub struct PeerGuard {
    room: Room,
    peer: PeerId,
    gone: Arc<AtomicBool>,
}

impl PeerGuard {
    /// This peer.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// The room.
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// Passes on what the peer said; waits while the room has much to do.
    pub async fn say(&self, message: PeerMessage) -> Result<(), RoomError> {
        let closed = |_| RoomError::Closed(self.room.inner.document);
        self.room.inner.inbox.send(Message::Peer(self.peer, message)).await.map_err(closed)
    }

    /// Lets this peer do no more than this, also when its person may do more: what it signed in with is limited.
    pub async fn limit(&self, most: Scope) {
        // A room that closed lets nobody do anything.
        let _ = self.room.inner.inbox.send(Message::AtMost(self.peer, most)).await;
    }

    /// Asks for one diff in place of what was dropped while this peer was behind.
    pub async fn catch_up(&self) -> Result<(), RoomError> {
        let closed = |_| RoomError::Closed(self.room.inner.document);
        self.room.inner.inbox.send(Message::CatchUp(self.peer)).await.map_err(closed)
    }
}

impl Drop for PeerGuard {
    fn drop(&mut self) {
        // A flag and a bell rather than a message: dropping cannot wait for room in the inbox. The actor
        // first handles what is in its inbox, so nothing the peer had said is lost.
        self.gone.store(true, Ordering::Release);
        self.room.inner.dropped.notify_one();
    }
}
