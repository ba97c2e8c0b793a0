//! The actor behind a [`Room`].
//!
//! It owns the document and its peers and handles one message at a time. People's updates are applied and
//! fanned out at once, and acknowledged when they are committed. The server's own edits are committed first and
//! applied after that, one at a time; while one is under way, further ones and reads wait in `deferred`.
//! What waits for the database stands in `pending`, in the order it was handed in, which is the order of the
//! log. When much is pending, people's updates wait in `waiting` until commits are answered, bounded by peer and
//! room; everything else goes on. When much is deferred the inbox is left alone, so that senders slow down.
//!
//! States: *loading* ([`open`]), *live* ([`RoomActor::run`]), *closing* ([`RoomActor::close`]): the inbox takes
//! nothing more, what is pending is awaited, a snapshot is kept.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::hocuspocus::Scope;
use ensemble_protocol::id::{DocumentId, MemberId, PeerId, TurnId, Version};
use ensemble_protocol::limits;
use ensemble_store::{ClientOwner, Commit, Committed, DocumentKind, Hash, LedgerEntry, Slot, StoreError};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{Answer, Framing, Identity, Message, Reviewed, Room, RoomInner, Written, WrittenEdit};
use crate::admission::Admitted;
use crate::anchor::BaseText;
use crate::document::{ReplicaDocument, TextDocument};
use crate::error::RoomError;
use crate::peer::OutboxSlot;
use crate::presence::Presence;
use crate::rate::Bucket;
use crate::registry::{Lost, RoomRegistry, Vitals};
use review::Traces;

mod commits;
mod compare;
mod edits;
mod load;
mod peers;
mod prepare;
mod presence;
mod review;
mod turned;
mod updates;
mod waiting;

use prepare::{Hold, Made, next_order};
use waiting::Said;

/// How often a room looks for presence nobody renewed, and for being idle.
const SWEEP: Duration = Duration::from_secs(3);
/// News after which it is noted what a peer that keeps up holds, for the diff it gets if it falls behind.
const CHECKPOINT_NEWS: u32 = 256;
/// Turns whose writing ids a room remembers; an older turn that writes again gets a new one.
const WRITERS: usize = 64;

enum Content {
    Text(Box<TextDocument>),
    Replica(Box<ReplicaDocument>),
}

impl Content {
    fn diff(&self, have: &[(u64, u32)]) -> Bytes {
        match self {
            Self::Text(text) => text.diff(have),
            Self::Replica(replica) => replica.diff(have),
        }
    }

    fn clocks(&self) -> Vec<(u64, u32)> {
        match self {
            Self::Text(text) => text.clocks(),
            Self::Replica(replica) => replica.clocks(),
        }
    }
}

impl Peer {
    /// Whether its guard was dropped.
    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    fn is_read_only(&self) -> bool {
        self.scope == Scope::ReadOnly || self.most == Scope::ReadOnly
    }
}

struct Peer {
    identity: Identity,
    /// What its person may do.
    scope: Scope,
    /// What it may do at the most, by what it signed in with.
    most: Scope,
    framing: Framing,
    outbox: OutboxSlot,
    gone: Arc<AtomicBool>,
    /// It was sent a step 2: from then on it is sent news.
    told: bool,
    /// Its own step 2 was handled: from then on its updates are.
    heard: bool,
    /// Step 1s it has not answered yet, and whether the answer is acknowledged.
    asked: VecDeque<bool>,
    /// Updates that wait for its step 2, or for something they depend on.
    held: VecDeque<Bytes>,
    held_bytes: usize,
    /// Updates that wait until what was taken before is committed, and their bytes.
    waiting: usize,
    waiting_bytes: usize,
    /// Updates beyond those held, not kept: its step 2 has what was in them.
    held_over: usize,
    /// Client ids it announced as its own.
    announced: HashSet<u64>,
    /// Blocks and work its updates may ask for.
    work: Bucket,
    /// Large replies to its step 1s.
    replies: Bucket,
    /// What it is known to hold.
    known: Vec<(u64, u32)>,
    news_since_known: u32,
    /// When it is asked again for what we lack, how long after the last time that is, and how many changes there
    /// were at that time.
    ask_at: Instant,
    ask_every: Duration,
    changes_asked: u64,
}

/// Something that waits for the database.
struct Pending {
    /// What it waits for; `None` waits only for what stands before it.
    commit: Option<Commit>,
    bytes: usize,
    then: Then,
}

/// Told when rows are committed, or why they are not.
type RowsTold = Box<dyn FnOnce(Result<(), RoomError>) + Send + Sync>;

/// What to do once it is committed.
enum Then {
    /// Acknowledge a person's update.
    Acknowledge { peer: PeerId, status: bool, echo: Option<Bytes>, ledger: Vec<LedgerEntry> },
    /// Answer with what was read.
    Answer(Answer<BaseText>, Box<BaseText>),
    /// Keep a snapshot.
    Snapshot { bytes: Bytes, hash: Hash },
    /// Apply a turn's edits.
    Write { admitted: Admitted<'static>, bytes: Bytes, edits: Vec<WrittenEdit>, answer: Answer<Written> },
    /// Apply what a review came to.
    Review { admitted: Admitted<'static>, bytes: Bytes, reviewed: Reviewed, answer: Option<Answer<Reviewed>> },
    /// Tell of rows that change no text.
    Rows(RowsTold),
    /// Apply what several rooms committed together.
    Together(Made),
    /// Apply a replica's edits.
    Replica { bytes: Bytes, answer: Answer<Committed> },
}

pub(crate) struct RoomActor {
    /// First, so that when the actor dies the room is closed before its peers are told.
    inbox: mpsc::Receiver<Message>,
    registry: RoomRegistry,
    room: Weak<RoomInner>,
    /// What peers may give back, and until when.
    recovering: Option<(Lost, Instant)>,
    document: DocumentId,
    address: Arc<str>,
    epoch: u32,
    version: Version,
    /// Updates of the log that are in the document. Where that is not all up to the version, the log has
    /// something this room has not seen, and nothing it says about that version can be kept.
    rows: u64,
    content: Content,
    owners: HashMap<u64, ClientOwner>,
    /// Units each person has inserted, gone or not.
    inserted: HashMap<MemberId, u64>,
    traces: Traces,
    /// The id each turn writes under, with its next clock.
    writers: VecDeque<(TurnId, u64, u32)>,
    peers: BTreeMap<PeerId, Peer>,
    presence: Presence,
    presence_due: Option<Instant>,
    presence_told: Option<Instant>,
    dropped: Arc<Notify>,
    stop: CancellationToken,
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    /// What people said and is not taken until there is less to commit, in the order it was said.
    waiting: VecDeque<(PeerId, Said)>,
    /// A server-made edit is under way.
    writing: bool,
    /// The place kept for edits that several rooms commit together.
    held: Option<Hold>,
    /// Server-made edits and reads that wait for it.
    deferred: VecDeque<Message>,
    updates_since_snapshot: u64,
    bytes_since_snapshot: usize,
    snapshot_pending: bool,
    /// How often something was written.
    changes: u64,
    /// When something was written that was not compared with a reload yet.
    uncompared: Option<Instant>,
    /// Told when a reload does not give the live text.
    differs: Arc<Notify>,
    active: Instant,
    failed: bool,
    /// Where the update being applied is written down, for the next process.
    slot: Option<Slot>,
}

/// Loads a document and makes its room.
pub(crate) async fn open(
    registry: RoomRegistry,
    document: DocumentId,
    stop: CancellationToken,
) -> Result<(Room, RoomActor), RoomError> {
    let load::Loaded { record, content, owners, updates, bytes, damage } =
        load::load(&registry, document).await?;
    let kind = record.kind;
    let ledger = registry.options().store.ledger_outline(document).await;
    let ledger = ledger.map_err(|error| RoomError::store(document, error))?;
    let slot = if damage.is_some() { None } else { registry.slot(document) };
    let address: Arc<str> = match kind {
        DocumentKind::Text => format!("{}/{document}", record.project).into(),
        DocumentKind::Tree => record.project.to_string().into(),
        DocumentKind::Turns => format!("{}/turns", record.project).into(),
    };
    let mut inserted: HashMap<MemberId, u64> = HashMap::new();
    for (client, next) in content.clocks() {
        if let Some(ClientOwner::Member(member)) = owners.get(&client) {
            *inserted.entry(*member).or_default() += u64::from(next);
        }
    }
    let (sender, inbox) = mpsc::channel(limits::ROOM_INBOX);
    let dropped = Arc::new(Notify::new());
    let inner = Arc::new(RoomInner {
        document,
        project: record.project,
        kind,
        inbox: sender,
        dropped: dropped.clone(),
        stop: stop.clone(),
        vitals: Vitals::default(),
        damage,
    });
    let actor = RoomActor {
        room: Arc::downgrade(&inner),
        recovering: registry.recovery(document).map(|lost| (lost, Instant::now() + limits::RECOVERY_WINDOW)),
        registry,
        document,
        address,
        epoch: record.epoch,
        version: record.version(),
        rows: record.last_seq,
        content,
        owners,
        inserted,
        traces: Traces::of(ledger.iter().map(|stored| &stored.entry)),
        writers: VecDeque::new(),
        peers: BTreeMap::new(),
        presence: Presence::default(),
        presence_due: None,
        presence_told: None,
        inbox,
        dropped,
        stop,
        pending: VecDeque::new(),
        pending_bytes: 0,
        waiting: VecDeque::new(),
        writing: false,
        held: None,
        deferred: VecDeque::new(),
        updates_since_snapshot: updates,
        bytes_since_snapshot: bytes,
        snapshot_pending: false,
        changes: 0,
        uncompared: None,
        differs: Arc::default(),
        active: Instant::now(),
        failed: false,
        slot,
    };
    tracing::info!(document.id = %document, updates, "opened document `{document}`");
    Ok((Room { inner }, actor))
}

/// Waits for the first pending commit.
async fn first_commit(pending: &mut VecDeque<Pending>) -> Result<Option<Committed>, StoreError> {
    match pending.front_mut().and_then(|first| first.commit.as_mut()) {
        Some(commit) => commit.await.map(Some),
        None => Ok(None),
    }
}

impl RoomActor {
    /// Works until stopped, failed or idle, then commits what is left.
    pub(crate) async fn run(mut self) {
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = self.stop.clone();
        let (dropped, differs) = (self.dropped.clone(), self.differs.clone());
        loop {
            let presence_due = self.presence_due.unwrap_or_else(Instant::now);
            let may_take = self.may_defer();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                outcome = first_commit(&mut self.pending), if !self.pending.is_empty() => self.committed(outcome).await,
                order = next_order(&mut self.held), if self.held.is_some() => self.ordered(order).await,
                () = dropped.notified() => self.sweep_out().await,
                () = differs.notified() => self.rebuild(),
                () = tokio::time::sleep_until(presence_due), if self.presence_due.is_some() => self.tell_presence(),
                message = self.inbox.recv(), if may_take => match message {
                    Some(message) => self.handle(message).await,
                    None => break,
                },
                _ = sweep.tick() => {
                    self.presence.expire(Instant::now());
                    self.schedule_presence();
                    // The store may have had no room for others' sake.
                    self.take_waiting().await;
                    self.resync();
                    self.compare_when_quiet();
                    if self.is_idle() {
                        break;
                    }
                }
            }
            if self.failed {
                break;
            }
        }
        self.close().await;
    }

    fn is_idle(&self) -> bool {
        // The registry holds one handle; any other is a peer, an agent or somebody about to ask.
        self.peers.is_empty()
            && self.pending.is_empty()
            && self.deferred.is_empty()
            && self.room.strong_count() <= 1
            && self.active.elapsed() >= limits::ROOM_IDLE
    }

    /// Takes nothing more, waits for the last commits and keeps a snapshot.
    async fn close(mut self) {
        self.inbox.close();
        let (code, reason) = if self.failed {
            (ErrorCode::Internal, "the document is being reloaded")
        } else if self.registry.is_stopping() {
            (ErrorCode::Busy, "the server is stopping")
        } else {
            (ErrorCode::DocumentNotFound, "the document was closed")
        };
        self.deferred.clear();
        // Whoever keeps the place may be handing something to the store.
        self.settle_hold().await;
        // After a failure too: whoever opens the document next must find in the log what is still under way.
        while !self.pending.is_empty() {
            let outcome = first_commit(&mut self.pending).await;
            self.committed(outcome).await;
            self.deferred.clear();
        }
        for (_, peer) in std::mem::take(&mut self.peers) {
            peer.outbox.detach(code, reason.to_owned());
        }
        let worth_keeping = self.updates_since_snapshot >= limits::SNAPSHOT_UPDATES / 10;
        if !self.failed && self.is_whole() && worth_keeping {
            let (bytes, hash) = self.snapshot();
            self.keep_snapshot(bytes, hash).await;
        } else if !self.failed && self.uncompared.is_some() && !self.registry.is_stopping() {
            self.compare_at_last().await;
        }
        if self.failed {
            // What was relayed and not committed is in some peers only, not always in its author's.
            self.registry.recover(self.document);
        }
        if let Some(inner) = self.room.upgrade() {
            self.registry.forget(&Room { inner });
        }
        tracing::info!(document.id = %self.document, "closed document `{}`", self.document);
    }

    async fn handle(&mut self, message: Message) {
        if self.failed {
            // The room is closing: whoever waits for an answer is told so by getting none.
            return;
        }
        self.active = Instant::now();
        self.vitals(Vitals::begin);
        match message {
            // Whoever left before they came in would stay for ever: their bell has rung already.
            Message::Join(join, gone, _) if gone.load(Ordering::Acquire) => join.outbox.release(),
            Message::Join(join, gone, answer) => {
                let joined = self.join(*join, gone);
                let _ = answer.send(joined);
            }
            Message::Peer(peer, message) => self.peer_says(peer, message).await,
            Message::CatchUp(peer) => self.catch_up(peer),
            #[cfg(test)]
            Message::Fault(fault) => fault(self),
            Message::Agent { agent, presence } => self.show_agent(&agent, presence.as_ref()),
            Message::Scope { member, scope } => self.change_scope(member, scope),
            Message::AtMost(peer, most) => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.most = most;
                }
            }
            message @ (Message::Read(_)
            | Message::Hold(_)
            | Message::Write(..)
            | Message::Review(..)
            | Message::Settle(_)
            | Message::Replica(..)) => {
                if self.writing {
                    self.defer(message);
                } else {
                    self.serve(message).await;
                }
            }
        }
        if !self.failed && !self.writing && !self.snapshot_pending && self.wants_snapshot() {
            self.plan_snapshot();
        }
        self.vitals(Vitals::rest);
    }

    /// Tells the supervisor.
    fn vitals(&self, tell: impl FnOnce(&Vitals)) {
        if let Some(room) = self.room.upgrade() {
            tell(&room.vitals);
        }
    }

    /// Whether another room has taken its place. The registry holds a handle of every other room until that has
    /// committed its last.
    fn is_replaced(&self) -> bool {
        self.room.upgrade().is_none_or(|room| room.vitals.replaced.load(Ordering::Acquire))
    }

    fn busy(&self) -> RoomError {
        RoomError::Busy(self.document)
    }

    /// Whether the document may only be read.
    fn is_damaged(&self) -> bool {
        self.room.upgrade().is_some_and(|room| room.damage.is_some())
    }

    /// What peers may give back of others, if anything.
    fn recovering(&self) -> Option<Lost> {
        self.recovering.filter(|(_, until)| Instant::now() < *until).map(|(lost, _)| lost)
    }

    /// Handles what has to wait for a server-made edit under way.
    async fn serve(&mut self, message: Message) {
        if self.is_damaged() {
            let error = RoomError::Damaged(self.document);
            match message {
                Message::Write(_, answer) => drop(answer.send(Err(error))),
                Message::Review(_, answer) => drop(answer.send(Err(error))),
                Message::Replica(_, answer) => drop(answer.send(Err(error))),
                Message::Hold(answer) => drop(answer.send(Err(error))),
                Message::Read(answer) => self.read(answer),
                _ => unreachable!("only these are deferred"),
            }
            return;
        }
        match message {
            Message::Read(answer) => self.read(answer),
            Message::Hold(answer) => self.keep_place(answer),
            Message::Write(write, answer) => self.write(*write, answer).await,
            Message::Review(review, answer) => self.review(*review, answer).await,
            Message::Settle(units) => self.settle(units).await,
            Message::Replica(write, answer) => self.edit_replica(*write, answer).await,
            _ => unreachable!("only these are deferred"),
        }
    }
}
