//! The actor behind a [`Room`].
//!
//! It owns the document and its peers and handles one message at a time. People's updates are applied and
//! fanned out at once, and acknowledged when they are committed. The server's own edits are committed first and
//! applied after that, one at a time; while one is under way, further ones and reads wait in `deferred`.
//! What waits for the database stands in `pending`, in the order it was handed in, which is the order of the
//! log. When much is pending the inbox is left alone, so that senders slow down and nothing grows.
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
use ensemble_protocol::sync::{SyncMessage, read_state_vector};
use ensemble_store::{
    Author, Change, ClientAdvance, ClientOwner, Commit, Committed, DocumentKind, Hash, LedgerEntry, LedgerKind,
    NewSnapshot, NewUpdate, StoreError, Write,
};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::frames::{self, News, Shared};
use super::{
    AgentPresence, Answer, Framing, Identity, Join, Message, PeerMessage, Rejected, ReplicaWrite, Room, RoomInner,
    TurnWrite, Written, WrittenEdit,
};
use crate::admission::{Admitted, Refusal, Right, Route, Verdict, admit, is_news};
use crate::anchor::BaseText;
use crate::document::{ReplicaDocument, TextDocument, snapshot_is_good, text_hash};
use crate::error::RoomError;
use crate::index::Stretch;
use crate::ledger;
use crate::peer::{OutboxSlot, Pushed};
use crate::presence::Presence;
use crate::registry::RoomRegistry;
use crate::update::{Update, utf16_prefix};
use crate::writer::{self, EncodedEdit, ServerEdit, new_client};

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

struct Peer {
    identity: Identity,
    scope: Scope,
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
    /// Client ids it announced as its own.
    announced: HashSet<u64>,
    /// What it is known to hold.
    known: Vec<(u64, u32)>,
    news_since_known: u32,
}

/// Something that waits for the database.
struct Pending {
    /// What it waits for; `None` waits only for what stands before it.
    commit: Option<Commit>,
    bytes: usize,
    then: Then,
}

/// What to do once it is committed.
enum Then {
    /// Acknowledge a person's update.
    Acknowledge { peer: PeerId, status: bool, echo: Option<Bytes> },
    /// Answer with what was read.
    Answer(Answer<BaseText>, Box<BaseText>),
    /// Keep a snapshot.
    Snapshot { bytes: Bytes, hash: Hash },
    /// Apply a turn's edits.
    Write { admitted: Admitted<'static>, bytes: Bytes, edits: Vec<WrittenEdit>, answer: Answer<Written> },
    /// Apply a rejection.
    Reject { admitted: Admitted<'static>, bytes: Bytes, rejected: Rejected, answer: Answer<Rejected> },
    /// Apply a replica's edits.
    Replica { bytes: Bytes, answer: Answer<Committed> },
}

pub(crate) struct RoomActor {
    registry: RoomRegistry,
    room: Weak<RoomInner>,
    document: DocumentId,
    address: Arc<str>,
    epoch: u32,
    version: Version,
    content: Content,
    owners: HashMap<u64, ClientOwner>,
    /// The id each turn writes under, with its next clock.
    writers: VecDeque<(TurnId, u64, u32)>,
    peers: BTreeMap<PeerId, Peer>,
    presence: Presence,
    presence_due: Option<Instant>,
    presence_told: Option<Instant>,
    inbox: mpsc::Receiver<Message>,
    dropped: Arc<Notify>,
    stop: CancellationToken,
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    /// A server-made edit is under way.
    writing: bool,
    /// Server-made edits and reads that wait for it.
    deferred: VecDeque<Message>,
    updates_since_snapshot: u64,
    bytes_since_snapshot: usize,
    snapshot_pending: bool,
    active: Instant,
    failed: bool,
}

/// Loads a document and makes its room.
pub(crate) async fn open(
    registry: RoomRegistry,
    document: DocumentId,
    stop: CancellationToken,
) -> Result<(Room, RoomActor), RoomError> {
    let store = registry.options().store.clone();
    let failed = |error| RoomError::store(document, error);
    let loaded = store.load_document(document).await.map_err(failed)?;
    let loaded = loaded.filter(|loaded| loaded.document.deleted_at.is_none());
    let loaded = loaded.ok_or(RoomError::NotFound(document))?;
    let owners: HashMap<u64, ClientOwner> = store
        .clients_of(document)
        .await
        .map_err(failed)?
        .into_iter()
        .map(|record| (record.client, record.owner))
        .collect();
    let record = loaded.document;
    let ids = registry.options().ids.clone();
    let updates = loaded.updates.len() as u64;
    let bytes = loaded.updates.iter().map(|update| update.bytes.len()).sum();
    let client = new_client(&*ids, |client| owners.contains_key(&client));
    let kind = record.kind;
    // Loading a long history takes a while; other rooms go on meanwhile.
    let content = tokio::task::spawn_blocking(move || {
        let mut content = match kind {
            DocumentKind::Text => Content::Text(Box::new(TextDocument::new())),
            DocumentKind::Tree | DocumentKind::Turns => Content::Replica(Box::new(ReplicaDocument::new(client))),
        };
        let snapshot = loaded.snapshot.map(|snapshot| (0, snapshot.bytes));
        for (seq, bytes) in snapshot.into_iter().chain(loaded.updates.into_iter().map(|row| (row.seq, row.bytes))) {
            match &mut content {
                Content::Text(text) => text.load(seq, &bytes)?,
                Content::Replica(replica) => replica.load(seq, &bytes)?,
            }
        }
        Ok::<_, crate::document::Unreadable>(content)
    })
    .await
    .map_err(|error| RoomError::Store { document, detail: error.to_string() })?
    .map_err(|error| RoomError::Store { document, detail: error.to_string() })?;

    let address: Arc<str> = match kind {
        DocumentKind::Text => format!("{}/{document}", record.project).into(),
        DocumentKind::Tree => record.project.to_string().into(),
        DocumentKind::Turns => format!("{}/turns", record.project).into(),
    };
    let (sender, inbox) = mpsc::channel(limits::ROOM_INBOX);
    let dropped = Arc::new(Notify::new());
    let inner = Arc::new(RoomInner {
        document,
        project: record.project,
        kind,
        inbox: sender,
        dropped: dropped.clone(),
        stop: stop.clone(),
    });
    let actor = RoomActor {
        registry,
        room: Arc::downgrade(&inner),
        document,
        address,
        epoch: record.epoch,
        version: record.version(),
        content,
        owners,
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
        writing: false,
        deferred: VecDeque::new(),
        updates_since_snapshot: updates,
        bytes_since_snapshot: bytes,
        snapshot_pending: false,
        active: Instant::now(),
        failed: false,
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
        let dropped = self.dropped.clone();
        loop {
            let presence_due = self.presence_due.unwrap_or_else(Instant::now);
            let may_take = self.pending.len() < limits::ROOM_UNCOMMITTED
                && self.pending_bytes < limits::ROOM_UNCOMMITTED_BYTES
                && self.deferred.len() < limits::ROOM_INBOX;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                outcome = first_commit(&mut self.pending), if !self.pending.is_empty() => self.committed(outcome).await,
                () = dropped.notified() => self.sweep_out().await,
                () = tokio::time::sleep_until(presence_due), if self.presence_due.is_some() => self.tell_presence(),
                message = self.inbox.recv(), if may_take => match message {
                    Some(message) => self.handle(message).await,
                    None => break,
                },
                _ = sweep.tick() => {
                    self.presence.expire(Instant::now());
                    self.schedule_presence();
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
        while !self.failed && !self.pending.is_empty() {
            let outcome = first_commit(&mut self.pending).await;
            self.committed(outcome).await;
            self.deferred.clear();
        }
        for (_, peer) in std::mem::take(&mut self.peers) {
            peer.outbox.detach(code, reason.to_owned());
        }
        if !self.failed
            && self.updates_since_snapshot >= limits::SNAPSHOT_UPDATES / 10
            && let Some(snapshot) = self.snapshot()
        {
            self.keep_snapshot(snapshot.0, snapshot.1).await;
        }
        self.registry.forget(self.document);
        tracing::info!(document.id = %self.document, "closed document `{}`", self.document);
    }

    async fn handle(&mut self, message: Message) {
        self.active = Instant::now();
        match message {
            Message::Join(join, gone, answer) => {
                let joined = self.join(*join, gone);
                let _ = answer.send(joined);
            }
            Message::Peer(peer, message) => self.peer_says(peer, message).await,
            Message::CatchUp(peer) => self.catch_up(peer),
            Message::Agent { agent, presence } => self.show_agent(&agent, presence.as_ref()),
            Message::Scope { member, scope } => self.change_scope(member, scope),
            message @ (Message::Read(_) | Message::Write(..) | Message::Reject { .. } | Message::Replica(..)) => {
                if self.writing {
                    self.deferred.push_back(message);
                } else {
                    self.serve(message).await;
                }
            }
        }
        if !self.writing && !self.snapshot_pending && self.wants_snapshot() {
            self.plan_snapshot();
        }
    }

    /// Handles what has to wait for a server-made edit under way.
    async fn serve(&mut self, message: Message) {
        match message {
            Message::Read(answer) => self.read(answer),
            Message::Write(write, answer) => self.write(*write, answer).await,
            Message::Reject { turn, member, changes, answer } => self.reject(turn, member, changes, answer).await,
            Message::Replica(write, answer) => self.edit_replica(*write, answer).await,
            _ => unreachable!("only these are deferred"),
        }
    }

    // Peers.

    fn join(&mut self, join: Join, gone: Arc<AtomicBool>) -> Result<(), RoomError> {
        if self.peers.len() >= limits::PEERS_PER_ROOM {
            return Err(RoomError::Full(self.document));
        }
        let framing = match join.framing {
            // Sharing the room's own address lets peers share encoded frames.
            Framing::Hocuspocus(address) if address == self.address => Framing::Hocuspocus(self.address.clone()),
            other => other,
        };
        let scope = match self.content {
            Content::Text(_) => join.scope,
            Content::Replica(_) => Scope::ReadOnly,
        };
        if let Some(everybody) = self.presence.all() {
            join.outbox.reply(frames::presence(&framing, &everybody));
        }
        self.peers.insert(
            join.peer,
            Peer {
                identity: join.identity,
                scope,
                framing,
                outbox: join.outbox,
                gone,
                told: false,
                heard: false,
                asked: VecDeque::new(),
                held: VecDeque::new(),
                held_bytes: 0,
                announced: HashSet::new(),
                known: Vec::new(),
                news_since_known: 0,
            },
        );
        Ok(())
    }

    /// Lets go of peers whose guard was dropped, after what they had said.
    async fn sweep_out(&mut self) {
        let gone: Vec<PeerId> =
            self.peers.iter().filter(|(_, peer)| peer.gone.load(Ordering::Acquire)).map(|(id, _)| *id).collect();
        if gone.is_empty() {
            return;
        }
        for _ in 0..limits::ROOM_INBOX {
            match self.inbox.try_recv() {
                Ok(message) => self.handle(message).await,
                Err(_) => break,
            }
        }
        for peer in gone {
            self.let_go(peer);
        }
    }

    fn let_go(&mut self, peer: PeerId) {
        self.peers.remove(&peer);
        self.presence.leave(peer, Instant::now());
        self.schedule_presence();
    }

    fn change_scope(&mut self, member: MemberId, scope: Option<Scope>) {
        let theirs: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.identity.member == member)
            .map(|(id, _)| *id)
            .collect();
        for id in theirs {
            match scope {
                Some(scope) => {
                    if let Some(peer) = self.peers.get_mut(&id)
                        && matches!(self.content, Content::Text(_))
                    {
                        peer.scope = scope;
                    }
                }
                None => self.turn_out(id, ErrorCode::NoAccess, "you no longer have access".into()),
            }
        }
    }

    fn turn_out(&mut self, id: PeerId, code: ErrorCode, reason: String) {
        if let Some(peer) = self.peers.remove(&id) {
            peer.outbox.detach(code, reason);
        }
        self.presence.leave(id, Instant::now());
        self.schedule_presence();
    }

    async fn peer_says(&mut self, id: PeerId, message: PeerMessage) {
        if !self.peers.contains_key(&id) {
            return;
        }
        match message {
            PeerMessage::Step1(have) => self.step_1(id, &have),
            PeerMessage::Step2(bytes) => self.step_2(id, &bytes).await,
            PeerMessage::Update(bytes) => self.update(id, bytes).await,
            PeerMessage::Presence(bytes) => self.hear_presence(id, &bytes),
            PeerMessage::QueryPresence => {
                if let (Some(everybody), Some(peer)) = (self.presence.all(), self.peers.get(&id)) {
                    peer.outbox.reply(frames::presence(&peer.framing, &everybody));
                }
            }
        }
    }

    /// "This is what I have": tell it what it lacks and ask what we lack. Subscribing is part of this step.
    fn step_1(&mut self, id: PeerId, have: &[u8]) {
        let have = match read_state_vector(have) {
            Ok(have) => have,
            Err(error) => {
                self.turn_out(id, ErrorCode::MalformedFrame, format!("the state vector is malformed: {error}"));
                return;
            }
        };
        let diff = self.content.diff(&have);
        let clocks = self.content.clocks();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let ours = encode_state_vector(&clocks);
        peer.asked.push_back(true);
        peer.outbox.reply(frames::sync(&peer.framing, SyncMessage::Step1(&ours)));
        peer.outbox.reply(frames::sync(&peer.framing, SyncMessage::Step2(&diff)));
        peer.told = true;
        peer.known = clocks;
        peer.news_since_known = 0;
    }

    /// Asks a peer for what we lack, unprompted; the answer is not acknowledged.
    fn ask(&mut self, id: PeerId) {
        let ours = encode_state_vector(&self.content.clocks());
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.asked.push_back(false);
            peer.outbox.reply(frames::sync(&peer.framing, SyncMessage::Step1(&ours)));
        }
    }

    async fn step_2(&mut self, id: PeerId, bytes: &Bytes) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let counted = peer.asked.pop_front().unwrap_or(false);
        peer.heard = true;
        let scope = peer.scope;
        let Content::Text(text) = &self.content else {
            // A replica takes nothing from peers; a reply without insertions has nothing of theirs in it.
            let applied = bytes.first() == Some(&0);
            self.acknowledge(id, counted, applied, None);
            return;
        };
        let update = match Update::read(bytes) {
            Ok(update) => update,
            Err(error) => return self.refuse(id, &Refusal::Malformed(error)),
        };
        if scope == Scope::ReadOnly {
            let applied = !is_news(text.index(), &update);
            self.acknowledge(id, counted, applied, None);
            return;
        }
        match self.decide(id, &update, Route::Step2) {
            // Everything it has is here; or nothing of it fits, and it is asked again when it says more.
            Verdict::Nothing => self.acknowledge(id, counted, true, None),
            Verdict::Hold => {}
            Verdict::Admit(admitted) => {
                let logged = admitted.bytes(bytes);
                self.take(id, &admitted, &logged, counted, Route::Step2).await;
            }
            Verdict::Refuse(refusal) => return self.refuse(id, &refusal),
        }
        self.take_held(id).await;
    }

    async fn update(&mut self, id: PeerId, bytes: Bytes) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.scope == Scope::ReadOnly {
            self.acknowledge(id, true, false, None);
            return;
        }
        if bytes.len() > limits::UPDATE_BYTES && peer.heard {
            return self.refuse(id, &Refusal::HeldTooMuch);
        }
        if !peer.heard || !peer.held.is_empty() {
            let ask = peer.asked.is_empty();
            self.hold(id, bytes);
            if ask {
                self.ask(id);
            }
            return;
        }
        if self.take_update(id, &bytes).await == Taken::Held {
            self.hold(id, bytes);
            self.ask(id);
        }
    }

    fn hold(&mut self, id: PeerId, bytes: Bytes) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.held_bytes += bytes.len();
        peer.held.push_back(bytes);
        if peer.held.len() > limits::HELD_UPDATES || peer.held_bytes > limits::HELD_BYTES {
            self.refuse(id, &Refusal::HeldTooMuch);
        }
    }

    /// After a peer's step 2: what it sent before must fit now.
    async fn take_held(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let held = std::mem::take(&mut peer.held);
        peer.held_bytes = 0;
        for bytes in held {
            if !self.peers.contains_key(&id) {
                return;
            }
            if self.take_update(id, &bytes).await == Taken::Held {
                return self.refuse(id, &Refusal::Gap);
            }
        }
    }

    async fn take_update(&mut self, id: PeerId, bytes: &Bytes) -> Taken {
        let update = match Update::read(bytes) {
            Ok(update) => update,
            Err(error) => {
                self.refuse(id, &Refusal::Malformed(error));
                return Taken::Done;
            }
        };
        match self.decide(id, &update, Route::Update) {
            Verdict::Nothing => self.acknowledge(id, true, true, None),
            Verdict::Hold => return Taken::Held,
            Verdict::Admit(admitted) => {
                let logged = admitted.bytes(bytes);
                self.take(id, &admitted, &logged, true, Route::Update).await;
            }
            Verdict::Refuse(refusal) => self.refuse(id, &refusal),
        }
        Taken::Done
    }

    fn decide<'u>(&self, id: PeerId, update: &Update<'u>, route: Route) -> Verdict<'u> {
        let (Content::Text(text), Some(peer)) = (&self.content, self.peers.get(&id)) else {
            return Verdict::Nothing;
        };
        let member = peer.identity.member;
        admit(text.index(), update, route, |client| match self.owners.get(&client) {
            Some(ClientOwner::Member(owner)) if *owner == member => Right::Own,
            Some(ClientOwner::Member(_)) => Right::Foreign,
            Some(ClientOwner::Turn(_) | ClientOwner::Server) => Right::Reserved,
            Some(ClientOwner::Nobody) => Right::Own,
            None if self.presence.is_agent(client) => Right::Reserved,
            None => Right::Own,
        })
    }

    /// Applies an admitted update, tells the others at once and hands it to the store.
    async fn take(&mut self, id: PeerId, admitted: &Admitted<'_>, logged: &Bytes, counted: bool, route: Route) {
        let Content::Text(text) = &mut self.content else { return };
        text.apply(admitted, logged);
        self.tell(News::Update(logged), Some(id));

        let Some(peer) = self.peers.get(&id) else { return };
        let member = peer.identity.member;
        let mut author = Author { member: Some(member), connection: Some(id), turn: None, via: None };
        let mut clients = Vec::new();
        for (client, first, next) in admitted.advances() {
            let owner = *self.owners.entry(client).or_insert_with(|| {
                // In a reply somebody may give back what another had typed before a crash; that does not make
                // it theirs. Their own id is the one they type under or announced.
                if route == Route::Update || peer.announced.contains(&client) {
                    ClientOwner::Member(member)
                } else {
                    ClientOwner::Nobody
                }
            });
            let owner = match owner {
                ClientOwner::Nobody if route == Route::Update || peer.announced.contains(&client) => {
                    self.owners.insert(client, ClientOwner::Member(member));
                    ClientOwner::Member(member)
                }
                other => other,
            };
            match owner {
                ClientOwner::Member(writer) if writer != member => {
                    author.member = Some(writer);
                    author.via = Some(member);
                }
                ClientOwner::Nobody => {
                    author.member = None;
                    author.via = Some(member);
                }
                _ => {}
            }
            clients.push(ClientAdvance { client, first, next, owner });
        }
        // A y-websocket client has no acknowledgement; its own update coming back after the commit is one.
        let echo = (peer.framing == Framing::YWebsocket).then(|| logged.clone());
        let update = self.new_update(logged.clone(), author, clients, Vec::new());
        let then = Then::Acknowledge { peer: id, status: counted, echo };
        self.submit(Write::update(update), logged.len(), then).await;
    }

    fn new_update(
        &self,
        bytes: Bytes,
        author: Author,
        clients: Vec<ClientAdvance>,
        ledger: Vec<LedgerEntry>,
    ) -> NewUpdate {
        NewUpdate {
            document: self.document,
            epoch: self.epoch,
            bytes,
            author,
            clients,
            ledger,
            stamp: self.registry.stamp(),
        }
    }

    /// Hands a write to the store. Waits while the store's queue is full, unless the room is stopped.
    async fn submit(&mut self, write: Write, bytes: usize, then: Then) {
        let stop = self.stop.clone();
        let store = self.registry.options().store.clone();
        let submitted = tokio::select! {
            biased;
            submitted = store.submit(write) => submitted,
            () = stop.cancelled() => Err(StoreError::Closed),
        };
        match submitted {
            Ok(commit) => {
                self.pending_bytes += bytes;
                self.pending.push_back(Pending { commit: Some(commit), bytes, then });
            }
            Err(error) => self.fail(then, error),
        }
    }

    /// Acknowledges once everything handed in so far is committed.
    fn acknowledge(&mut self, peer: PeerId, status: bool, applied: bool, echo: Option<Bytes>) {
        if !applied {
            if let Some(peer) = self.peers.get(&peer)
                && status
                && let Some(frame) = frames::status(&peer.framing, false)
            {
                peer.outbox.reply(frame);
            }
            return;
        }
        let then = Then::Acknowledge { peer, status, echo };
        if self.pending.is_empty() {
            self.finish(then, None);
        } else {
            self.pending.push_back(Pending { commit: None, bytes: 0, then });
        }
    }

    /// Says no to an update and closes the document for the peer that sent it. Nothing of it is kept.
    fn refuse(&mut self, id: PeerId, refusal: &Refusal) {
        tracing::warn!(document.id = %self.document, peer.id = %id, %refusal, "refused an update");
        self.acknowledge(id, true, false, None);
        let code = match refusal {
            Refusal::DocumentTooLarge(_) | Refusal::HeldTooMuch => ErrorCode::TooLarge,
            _ => ErrorCode::MalformedUpdate,
        };
        self.turn_out(id, code, refusal.to_string());
    }

    /// Sends news to everybody who has had a step 2, except one.
    fn tell(&mut self, news: News<'_>, except: Option<PeerId>) {
        let address = self.address.clone();
        let mut shared = Shared::new(news, &address);
        let is_update = matches!(news, News::Update(_));
        let mut checkpoints = Vec::new();
        for (id, peer) in &mut self.peers {
            if Some(*id) == except || (is_update && !peer.told) {
                continue;
            }
            let pushed = peer.outbox.news(shared.frame(&peer.framing));
            if is_update {
                peer.news_since_known += 1;
                if pushed == Pushed::First && peer.news_since_known >= CHECKPOINT_NEWS {
                    checkpoints.push(*id);
                }
            }
        }
        if !checkpoints.is_empty() {
            // Their queue was empty: they hold everything before this update, so at least what they lack can
            // be made from here. The update itself is on its way and is harmless twice.
            let clocks = self.content.clocks();
            for id in checkpoints {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.known.clone_from(&clocks);
                    peer.news_since_known = 0;
                }
            }
        }
    }

    fn catch_up(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(&id) else { return };
        if !peer.outbox.is_behind() {
            return;
        }
        let diff = self.content.diff(&peer.known);
        let clocks = self.content.clocks();
        let everybody = self.presence.all();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.outbox.caught_up(frames::sync(&peer.framing, SyncMessage::Update(&diff)));
        if let Some(everybody) = everybody {
            peer.outbox.reply(frames::presence(&peer.framing, &everybody));
        }
        peer.known = clocks;
        peer.news_since_known = 0;
    }

    // Presence.

    fn hear_presence(&mut self, id: PeerId, bytes: &[u8]) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let member = peer.identity.member;
        let owners = &self.owners;
        let reserved = |client| match owners.get(&client) {
            Some(ClientOwner::Member(owner)) => *owner != member,
            Some(ClientOwner::Turn(_) | ClientOwner::Server) => true,
            Some(ClientOwner::Nobody) | None => false,
        };
        match self.presence.hear(id, &peer.identity, bytes, Instant::now(), reserved) {
            Ok(heard) => {
                peer.announced.extend(heard.announced);
                if let Some(correction) = heard.correction {
                    peer.outbox.reply(frames::presence(&peer.framing, &correction));
                }
                self.schedule_presence();
            }
            Err(error) => {
                let reason = format!("the presence is malformed: {error}");
                self.turn_out(id, ErrorCode::MalformedFrame, reason);
            }
        }
    }

    fn show_agent(&mut self, agent: &str, presence: Option<&AgentPresence>) {
        let ids = self.registry.options().ids.clone();
        let owners = &self.owners;
        let fresh = || new_client(&*ids, |client| owners.contains_key(&client));
        self.presence.agent(agent, presence, Instant::now(), fresh);
        self.schedule_presence();
    }

    fn schedule_presence(&mut self) {
        if self.presence.has_news() && self.presence_due.is_none() {
            let now = Instant::now();
            let next = self.presence_told.map_or(now, |told| told + limits::PRESENCE_INTERVAL);
            self.presence_due = Some(next.max(now));
        }
    }

    fn tell_presence(&mut self) {
        let now = Instant::now();
        self.presence_due = None;
        if let Some(payload) = self.presence.take_news(now) {
            self.presence_told = Some(now);
            self.tell(News::Presence(&payload), None);
        }
        if self.presence.has_news() {
            self.presence_due = Some(now + limits::PRESENCE_INTERVAL);
        }
    }

    // Reads and server-made edits.

    fn read(&mut self, answer: Answer<BaseText>) {
        let Content::Text(text) = &mut self.content else {
            let _ = answer.send(Err(RoomError::NotFound(self.document)));
            return;
        };
        let base =
            BaseText { version: self.version, text: text.text(), runs: text.index().visible_runs().into() };
        let then = Then::Answer(answer, Box::new(base));
        if self.pending.is_empty() {
            self.finish(then, None);
        } else {
            // The version is only known, and only true, once what is in the text is committed.
            self.pending.push_back(Pending { commit: None, bytes: 0, then });
        }
    }

    async fn write(&mut self, write: TurnWrite, answer: Answer<Written>) {
        let Content::Text(text) = &mut self.content else {
            let _ = answer.send(Err(RoomError::NotFound(self.document)));
            return;
        };
        let (client, clock) = match self.writers.iter().rev().find(|(turn, _, _)| *turn == write.turn) {
            Some((_, client, clock)) if *clock < limits::WRITER_UNITS => (*client, *clock),
            // A fresh id now and then: yrs slows down in one endless run by one client.
            _ => {
                let owners = &self.owners;
                let taken = |client| owners.contains_key(&client) || self.presence.is_agent(client);
                (new_client(&*self.registry.options().ids, taken), 0)
            }
        };
        let edits: Vec<ServerEdit> = write
            .edits
            .iter()
            .map(|edit| ServerEdit { at: edit.at, insert: edit.insert.clone(), delete: edit.delete.clone() })
            .collect();
        let (admitted, encoded) = match writer::encode(text.index(), client, clock, &edits) {
            Ok(encoded) => encoded,
            Err(refusal) => {
                let _ = answer.send(Err(RoomError::Refused { document: self.document, refusal }));
                return;
            }
        };
        let inserted: u64 = admitted.blocks.iter().map(|block| u64::from(block.units.length)).sum();
        if u64::from(text.index().len()) + inserted > limits::DOCUMENT_UNITS {
            let refusal = Refusal::DocumentTooLarge(limits::DOCUMENT_UNITS);
            let _ = answer.send(Err(RoomError::Refused { document: self.document, refusal }));
            return;
        }
        let mut ledger = Vec::new();
        for (edit, encoded) in write.edits.iter().zip(&encoded) {
            let entry = |kind, client, clock, length, text| LedgerEntry {
                turn: write.turn,
                hunk: Some(edit.hunk),
                kind,
                client,
                clock,
                length,
                text,
            };
            ledger.extend(
                encoded
                    .inserted
                    .map(|units| entry(LedgerKind::Inserted, units.client, units.clock, units.length, None)),
            );
            if !encoded.deleted.is_empty() {
                let texts = texts_of(&text.text(), &encoded.deleted);
                ledger.extend(encoded.deleted.iter().zip(texts).map(|(gone, text)| {
                    let units = gone.units;
                    entry(LedgerKind::Deleted, units.client, units.clock, units.length, Some(text))
                }));
            }
        }
        if write.stop.is_cancelled() {
            let _ = answer.send(Err(RoomError::TurnStopped));
            return;
        }
        let edits = encoded.iter().map(written_edit).collect();
        if admitted.blocks.is_empty() && admitted.deletes.is_empty() {
            let outcome = self.commit_rows(write.changes).await;
            let _ = answer.send(outcome.map(|()| Written { version: None, edits }));
            return;
        }
        let mut clients = Vec::new();
        if inserted > 0 {
            let next = clock + inserted as u32;
            let owner = ClientOwner::Turn(write.turn);
            self.owners.insert(client, owner);
            self.writers.retain(|(turn, held, _)| *turn != write.turn || *held == client);
            match self.writers.iter_mut().find(|(_, held, _)| *held == client) {
                Some(held) => held.2 = next,
                None => self.writers.push_back((write.turn, client, next)),
            }
            if self.writers.len() > WRITERS {
                self.writers.pop_front();
            }
            clients.push(ClientAdvance { client, first: clock, next, owner });
        }
        let bytes: Bytes = admitted.encode().into();
        let author = Author { member: Some(write.member), connection: None, turn: Some(write.turn), via: None };
        let update = self.new_update(bytes.clone(), author, clients, ledger);
        self.writing = true;
        let size = bytes.len();
        let write = Write { changes: write.changes, updates: vec![update] };
        self.submit(write, size, Then::Write { admitted, bytes, edits, answer }).await;
    }

    async fn reject(&mut self, turn: TurnId, member: MemberId, changes: Vec<Change>, answer: Answer<Rejected>) {
        let store = self.registry.options().store.clone();
        let entries = match store.ledger_of_document(self.document).await {
            Ok(entries) => entries,
            Err(error) => {
                let _ = answer.send(Err(RoomError::store(self.document, error)));
                return;
            }
        };
        let Content::Text(text) = &mut self.content else {
            let _ = answer.send(Err(RoomError::NotFound(self.document)));
            return;
        };
        // A turn is rejected when the ledger says that something of it was taken back.
        let rejected: HashSet<TurnId> = entries
            .iter()
            .filter(|stored| matches!(stored.entry.kind, LedgerKind::Withdrawn | LedgerKind::Restored))
            .map(|stored| stored.entry.turn)
            .collect();
        let edits =
            if rejected.contains(&turn) { Vec::new() } else { ledger::reject(text.index(), &entries, turn, &rejected) };
        let owners = &self.owners;
        let client = new_client(&*self.registry.options().ids, |client| owners.contains_key(&client));
        let (admitted, encoded) = match writer::encode(text.index(), client, 0, &edits) {
            Ok(encoded) => encoded,
            Err(refusal) => {
                let _ = answer.send(Err(RoomError::Refused { document: self.document, refusal }));
                return;
            }
        };
        let mut outcome = Rejected::default();
        let mut ledger = Vec::new();
        for edit in &encoded {
            let entry = |kind, client, clock, length| LedgerEntry {
                turn,
                hunk: None,
                kind,
                client,
                clock,
                length,
                text: None,
            };
            if let Some(units) = edit.inserted {
                outcome.restored += units.length;
                ledger.push(entry(LedgerKind::Restored, units.client, units.clock, units.length));
            }
            for gone in &edit.deleted {
                outcome.withdrawn += gone.units.length;
                ledger.push(entry(LedgerKind::Withdrawn, gone.units.client, gone.units.clock, gone.units.length));
            }
        }
        if ledger.is_empty() {
            let done = self.commit_rows(changes).await;
            let _ = answer.send(done.map(|()| outcome));
            return;
        }
        let mut clients = Vec::new();
        if outcome.restored > 0 {
            self.owners.insert(client, ClientOwner::Server);
            clients.push(ClientAdvance { client, first: 0, next: outcome.restored, owner: ClientOwner::Server });
        }
        let bytes: Bytes = admitted.encode().into();
        let author = Author { member: Some(member), connection: None, turn: None, via: None };
        let update = self.new_update(bytes.clone(), author, clients, ledger);
        self.writing = true;
        let size = bytes.len();
        let then = Then::Reject { admitted, bytes, rejected: outcome, answer };
        self.submit(Write { changes, updates: vec![update] }, size, then).await;
    }

    async fn edit_replica(&mut self, write: ReplicaWrite, answer: Answer<Committed>) {
        let Content::Replica(replica) = &mut self.content else {
            let _ = answer.send(Err(RoomError::NotFound(self.document)));
            return;
        };
        let (bytes, (client, first, next)) = replica.edit(&write.edits);
        let mut updates = write.updates;
        if !write.edits.is_empty() {
            let owner = ClientOwner::Server;
            self.owners.insert(client, owner);
            let clients = if next > first { vec![ClientAdvance { client, first, next, owner }] } else { Vec::new() };
            updates.push(self.new_update(bytes.clone(), Author::default(), clients, Vec::new()));
        }
        self.writing = true;
        let size = bytes.len();
        self.submit(Write { changes: write.changes, updates }, size, Then::Replica { bytes, answer }).await;
    }

    async fn commit_rows(&mut self, changes: Vec<Change>) -> Result<(), RoomError> {
        if changes.is_empty() {
            return Ok(());
        }
        let store = self.registry.options().store.clone();
        let committed = store.commit(Write::changes(changes)).await;
        committed.map(drop).map_err(|error| RoomError::store(self.document, error))
    }

    // Commits.

    /// The first of what is pending was committed, or not.
    async fn committed(&mut self, outcome: Result<Option<Committed>, StoreError>) {
        let Some(done) = self.pending.pop_front() else { return };
        self.pending_bytes -= done.bytes;
        match outcome {
            Ok(committed) => self.finish(done.then, committed),
            Err(error) => self.fail(done.then, error),
        }
        // What only waited for its turn is answered in the same breath.
        while let Some(next) = self.pending.pop_front_if(|next| next.commit.is_none()) {
            self.finish(next.then, None);
        }
        while !self.writing
            && !self.failed
            && let Some(message) = self.deferred.pop_front()
        {
            self.serve(message).await;
        }
    }

    fn finish(&mut self, then: Then, committed: Option<Committed>) {
        let before = self.version;
        if let Some(version) = committed.as_ref().and_then(|committed| committed.versions.last()) {
            // A command may append to other documents first; the room's own update is the last.
            self.version = *version;
        }
        match then {
            Then::Acknowledge { peer, status, echo } => {
                if let Some(peer) = self.peers.get(&peer) {
                    if status && let Some(frame) = frames::status(&peer.framing, true) {
                        peer.outbox.reply(frame);
                    }
                    if let Some(echo) = echo {
                        peer.outbox.reply(frames::sync(&peer.framing, SyncMessage::Update(&echo)));
                    }
                }
                if committed.is_some() {
                    self.updates_since_snapshot += 1;
                }
            }
            Then::Answer(answer, mut base) => {
                base.version = self.version;
                let _ = answer.send(Ok(*base));
            }
            Then::Snapshot { bytes, hash } => {
                self.snapshot_pending = false;
                self.spawn_snapshot(bytes, hash);
            }
            Then::Write { admitted, bytes, edits, answer } => {
                self.apply_own(&admitted, &bytes);
                let _ = answer.send(Ok(Written { version: Some(self.version), edits }));
            }
            Then::Reject { admitted, bytes, rejected, answer } => {
                self.apply_own(&admitted, &bytes);
                let _ = answer.send(Ok(rejected));
            }
            Then::Replica { bytes, answer } => {
                self.writing = false;
                let Some(committed) = committed else { return };
                if let Content::Replica(replica) = &mut self.content
                    && bytes[..] != [0, 0]
                {
                    replica.apply(&bytes);
                    self.updates_since_snapshot += 1;
                    self.bytes_since_snapshot += bytes.len();
                    self.tell(News::Update(&bytes), None);
                } else {
                    self.version = before;
                }
                let _ = answer.send(Ok(committed));
            }
        }
    }

    /// Server-made edits enter the live document and go out once they are committed.
    fn apply_own(&mut self, admitted: &Admitted<'_>, bytes: &Bytes) {
        self.writing = false;
        if let Content::Text(text) = &mut self.content {
            text.apply(admitted, bytes);
        }
        self.updates_since_snapshot += 1;
        self.bytes_since_snapshot += bytes.len();
        self.tell(News::Update(bytes), None);
    }

    /// A write was not committed. A server-made one leaves no trace; a person's is in the live document
    /// already, so the room has to be made anew from the log, and peers bring back what stands.
    fn fail(&mut self, then: Then, error: StoreError) {
        let document = self.document;
        match then {
            Then::Acknowledge { .. } | Then::Snapshot { .. } => {
                if !self.failed {
                    tracing::error!(document.id = %document, %error, "an update could not be committed");
                }
                self.failed = true;
            }
            Then::Answer(answer, _) => drop(answer.send(Err(RoomError::store(document, error)))),
            Then::Write { answer, .. } => {
                self.writing = false;
                // Its clocks are used up as far as this room knows; a fresh id is the simple way on.
                self.writers.clear();
                let _ = answer.send(Err(RoomError::store(document, error)));
            }
            Then::Reject { answer, .. } => {
                self.writing = false;
                let _ = answer.send(Err(RoomError::store(document, error)));
            }
            Then::Replica { answer, .. } => {
                self.writing = false;
                let owners = &self.owners;
                let client = new_client(&*self.registry.options().ids, |client| owners.contains_key(&client));
                if let Content::Replica(replica) = &mut self.content {
                    replica.discard_draft(client);
                }
                let _ = answer.send(Err(RoomError::store(document, error)));
            }
        }
    }

    // Snapshots.

    fn wants_snapshot(&self) -> bool {
        self.updates_since_snapshot >= limits::SNAPSHOT_UPDATES || self.bytes_since_snapshot >= limits::SNAPSHOT_BYTES
    }

    fn snapshot(&mut self) -> Option<(Bytes, Hash)> {
        match &mut self.content {
            Content::Text(text) => Some((text.diff(&[]), text_hash(&text.text()))),
            Content::Replica(replica) => Some((replica.diff(&[]), text_hash(&replica.canonical()))),
        }
    }

    /// A snapshot is of the text as it is now, and counts once all of that is committed.
    fn plan_snapshot(&mut self) {
        let Some((bytes, hash)) = self.snapshot() else { return };
        self.updates_since_snapshot = 0;
        self.bytes_since_snapshot = 0;
        let then = Then::Snapshot { bytes, hash };
        if self.pending.is_empty() {
            self.finish(then, None);
        } else {
            self.snapshot_pending = true;
            self.pending.push_back(Pending { commit: None, bytes: 0, then });
        }
    }

    fn spawn_snapshot(&self, bytes: Bytes, hash: Hash) {
        let snapshot = self.new_snapshot(bytes, hash);
        let store = self.registry.options().store.clone();
        let is_text = matches!(self.content, Content::Text(_));
        self.registry.tasks().spawn(async move { keep(store, snapshot, is_text).await });
    }

    async fn keep_snapshot(&self, bytes: Bytes, hash: Hash) {
        let snapshot = self.new_snapshot(bytes, hash);
        keep(self.registry.options().store.clone(), snapshot, matches!(self.content, Content::Text(_))).await;
    }

    fn new_snapshot(&self, bytes: Bytes, text_hash: Hash) -> NewSnapshot {
        NewSnapshot { document: self.document, epoch: self.version.epoch, seq: self.version.seq, bytes, text_hash }
    }
}

/// Keeps a snapshot that, loaded on its own, gives what it was made of. Without one, loading takes longer.
async fn keep(store: Arc<dyn ensemble_store::Store>, snapshot: NewSnapshot, is_text: bool) {
    let document = snapshot.document;
    let (bytes, hash) = (snapshot.bytes.clone(), snapshot.text_hash);
    let good = tokio::task::spawn_blocking(move || {
        if is_text {
            snapshot_is_good(&bytes, hash)
        } else {
            let mut replica = ReplicaDocument::new(2);
            replica.load(0, &bytes).is_ok() && text_hash(&replica.canonical()) == hash
        }
    });
    if !matches!(good.await, Ok(true)) {
        tracing::error!(document.id = %document, "a snapshot does not give its document and was not kept");
        return;
    }
    if let Err(error) = store.put_snapshot(snapshot).await {
        tracing::warn!(document.id = %document, %error, "a snapshot was not kept");
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Done,
    Held,
}

fn written_edit(encoded: &EncodedEdit) -> WrittenEdit {
    WrittenEdit {
        end: encoded.end,
        inserted: encoded.inserted.map_or(0, |units| units.length),
        deleted: encoded.deleted.iter().map(|gone| gone.units.length).sum(),
        missing: encoded.missing,
    }
}

/// The texts of stretches, in their order, in one walk over the text.
fn texts_of(text: &str, stretches: &[Stretch]) -> Vec<String> {
    let mut order: Vec<usize> = (0..stretches.len()).collect();
    order.sort_unstable_by_key(|at| stretches[*at].offset);
    let mut texts = vec![String::new(); stretches.len()];
    let (mut bytes, mut units) = (0, 0);
    for at in order {
        let stretch = &stretches[at];
        let (skip, _) = utf16_prefix(&text[bytes..], stretch.offset - units);
        let start = bytes + skip;
        let (length, _) = utf16_prefix(&text[start..], stretch.units.length);
        texts[at] = text[start..start + length].to_owned();
        bytes = start + length;
        units = stretch.offset + stretch.units.length;
    }
    texts
}

fn encode_state_vector(clocks: &[(u64, u32)]) -> Vec<u8> {
    use ensemble_protocol::lib0::write_uint;
    let mut out = Vec::with_capacity(2 + clocks.len() * 7);
    write_uint(&mut out, clocks.len() as u64);
    for (client, clock) in clocks {
        write_uint(&mut out, *client);
        write_uint(&mut out, u64::from(*clock));
    }
    out
}
