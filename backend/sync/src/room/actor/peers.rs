//! What peers say: joining, the handshake, updates, presence.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::hocuspocus::Scope;
use ensemble_protocol::id::{MemberId, PeerId};
use ensemble_protocol::lib0::write_uint;
use ensemble_protocol::limits;
use ensemble_protocol::sync::{SyncMessage, read_state_vector};
use ensemble_store::{Author, ClientAdvance, ClientOwner, LedgerActor, Write};
use tokio::time::Instant;

use super::waiting::Said;
use super::{CHECKPOINT_NEWS, Content, Peer, Pending, RoomActor, Then};
use crate::admission::{Admitted, Refusal, Right, Route, Verdict, admit, is_news};
use crate::anchor::UnitRange;
use crate::document::bytes_hash;
use crate::error::RoomError;
use crate::peer::Pushed;
use crate::people::Budget;
use crate::rate::Bucket;
use crate::registry::Lost;
use crate::room::frames::{self, News, Shared};
use crate::room::{AgentPresence, Framing, Join, PeerMessage, Telling};
use crate::units::UnitSet;
use crate::update::{Content as BlockContent, Update};
use crate::writer::new_client;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Done,
    Held,
}

impl RoomActor {
    pub(super) fn join(&mut self, join: Join, gone: Arc<AtomicBool>) -> Result<(), RoomError> {
        if self.peers.len() >= limits::PEERS_PER_ROOM && !self.make_place(join.identity.member) {
            join.outbox.release();
            return Err(RoomError::Full(self.document));
        }
        let framing = match join.framing {
            // Sharing the room's own address lets peers share encoded frames.
            Framing::Hocuspocus(address) if address == self.address => {
                Framing::Hocuspocus(self.address.clone())
            }
            other => other,
        };
        let scope = match self.content {
            Content::Text(_) if !self.is_damaged() => join.scope,
            Content::Text(_) | Content::Replica(_) => Scope::ReadOnly,
        };
        if let Some(everybody) = self.presence.all() {
            join.outbox.presence(frames::presence(&framing, &everybody));
        }
        let exit = join.outbox.exit();
        self.vitals(|vitals| vitals.enter(join.peer, exit));
        self.peers.insert(
            join.peer,
            Peer {
                identity: join.identity,
                scope,
                most: Scope::ReadWrite,
                framing,
                outbox: join.outbox,
                gone,
                told: false,
                heard: false,
                asked: VecDeque::new(),
                held: VecDeque::new(),
                held_bytes: 0,
                waiting: 0,
                waiting_bytes: 0,
                held_over: 0,
                announced: HashSet::new(),
                work: Bucket::new(limits::PEER_WORK),
                replies: Bucket::new(limits::PEER_LARGE_REPLIES),
                known: Vec::new(),
                news_since_known: 0,
                ask_at: Instant::now(),
                ask_every: limits::RESYNC,
                changes_asked: 0,
            },
        );
        Ok(())
    }

    /// Makes a place in a full room for somebody who has fewer than another: of whoever has the most, the last who
    /// came goes. So nobody fills a room alone; whether there is a place now.
    fn make_place(&mut self, newcomer: MemberId) -> bool {
        let mut places: HashMap<MemberId, (usize, PeerId)> = HashMap::new();
        for (id, peer) in &self.peers {
            let place = places.entry(peer.identity.member).or_insert((0, *id));
            *place = (place.0 + 1, place.1.max(*id));
        }
        let theirs = places.get(&newcomer).map_or(0, |(count, _)| *count);
        let Some((most, last)) = places.into_values().max() else { return false };
        if most <= theirs + 1 {
            return false;
        }
        self.turn_out(last, ErrorCode::Busy, "the document is full".into());
        true
    }

    /// Lets go of peers whose guard was dropped, after what they had said.
    pub(super) async fn sweep_out(&mut self) {
        let gone: Vec<PeerId> =
            self.peers.iter().filter(|(_, peer)| peer.is_gone()).map(|(id, _)| *id).collect();
        if gone.is_empty() {
            return;
        }
        for _ in 0..limits::ROOM_INBOX {
            match self.inbox.try_recv() {
                Ok(message) => self.handle(message).await,
                Err(_) => break,
            }
        }
        for id in gone {
            match self.peers.get(&id) {
                // What it said is still to be taken; it goes after that, and is shown no longer.
                Some(peer) if peer.waiting > 0 => {
                    self.presence.leave(id, Instant::now());
                    self.schedule_presence();
                }
                _ => self.let_go(id),
            }
        }
    }

    pub(super) fn let_go(&mut self, peer: PeerId) {
        if let Some(gone) = self.peers.remove(&peer) {
            gone.outbox.release();
        }
        self.vitals(|vitals| vitals.leave(peer));
        self.presence.leave(peer, Instant::now());
        self.schedule_presence();
    }

    pub(super) fn change_scope(&mut self, member: MemberId, scope: Option<Scope>) {
        let damaged = self.is_damaged();
        let theirs: Vec<PeerId> =
            self.peers.iter().filter(|(_, peer)| peer.identity.member == member).map(|(id, _)| *id).collect();
        for id in theirs {
            match scope {
                Some(scope) => {
                    if let Some(peer) = self.peers.get_mut(&id)
                        && matches!(self.content, Content::Text(_))
                        && !damaged
                    {
                        peer.scope = scope;
                    }
                }
                None => self.turn_out(id, ErrorCode::NoAccess, "you no longer have access".into()),
            }
        }
    }

    pub(super) fn turn_out(&mut self, id: PeerId, code: ErrorCode, reason: String) {
        if let Some(peer) = self.peers.remove(&id) {
            peer.outbox.detach(code, reason);
        }
        self.forget_waiting(id);
        self.vitals(|vitals| vitals.leave(id));
        self.presence.leave(id, Instant::now());
        self.schedule_presence();
    }

    pub(super) async fn peer_says(&mut self, id: PeerId, message: PeerMessage) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        match message {
            PeerMessage::Step1(have) => self.step_1(id, &have),
            PeerMessage::Step2(bytes) => {
                // Which question it answers shows now, also where it is taken later than the next question is put.
                let counted = peer.asked.pop_front().unwrap_or(false);
                self.hear(id, Said::Step2(bytes, counted)).await;
            }
            PeerMessage::Update(bytes) => self.hear(id, Said::Update(bytes)).await,
            PeerMessage::Presence(bytes) => self.hear_presence(id, &bytes),
            PeerMessage::QueryPresence => self.query_presence(id),
        }
    }

    /// Tells everybody's presence to a peer that asks, once until it has taken the answer.
    fn query_presence(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(&id).filter(|peer| !peer.outbox.has_presence()) else { return };
        let Some(everybody) = self.presence.all() else { return };
        let work = (everybody.len() / limits::REPLY_BYTES_PER_WORK) as f64;
        let may = |budget: &mut Budget| {
            let may = budget.may_work();
            budget.work.charge(work);
            may
        };
        if self.registry.people().budget(self.document, peer.identity.member, may) {
            peer.outbox.presence(frames::presence(&peer.framing, &everybody));
        } else {
            self.turn_out(id, ErrorCode::RateLimited, Refusal::TooOften.to_string());
        }
    }

    /// "This is what I have": tell it what it lacks and ask what we lack. Subscribing is part of this step.
    pub(super) fn step_1(&mut self, id: PeerId, have: &[u8]) {
        let have = match read_state_vector(have) {
            Ok(have) => have,
            Err(error) => {
                self.turn_out(
                    id,
                    ErrorCode::MalformedFrame,
                    format!("the state vector is malformed: {error}"),
                );
                return;
            }
        };
        let document = self.document;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let member = peer.identity.member;
        let people = self.registry.people();
        if !people.budget(document, member, Budget::may_work) {
            return self.turn_out(id, ErrorCode::RateLimited, Refusal::TooOften.to_string());
        }
        let diff = self.content.diff(&have);
        let clocks = self.content.clocks();
        let work = (diff.len() / limits::REPLY_BYTES_PER_WORK) as f64;
        people.budget(document, member, |budget| budget.work.charge(work));
        // Every reply carries the whole history of deletions; only one that also brings text counts.
        if diff.len() >= limits::LARGE_REPLY_BYTES && lacks(&have, &clocks) && !peer.replies.take(1.0) {
            return self.turn_out(id, ErrorCode::RateLimited, Refusal::TooOften.to_string());
        }
        let ours = encode_state_vector(&clocks);
        peer.asked.push_back(true);
        peer.outbox.reply(frames::sync(&peer.framing, SyncMessage::Step1(&ours)));
        peer.outbox.reply(frames::sync(&peer.framing, SyncMessage::Step2(&diff)));
        peer.told = true;
        peer.known = clocks;
        peer.news_since_known = 0;
    }

    /// Asks a peer for what we lack, unprompted; the answer is not acknowledged.
    pub(super) fn ask(&mut self, id: PeerId) {
        let ours = encode_state_vector(&self.content.clocks());
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.ask(&ours);
        }
    }

    /// Asks peers again for what we lack, each every so often, so that nothing a peer holds stays unknown here: a
    /// tab can have been told by another tab whose own connection was lost.
    ///
    /// Where something was written since the last time a peer is asked after [`limits::RESYNC`]; in a document in
    /// which nothing happens less and less often, since each answer carries the whole history of deletions.
    /// Whoever may only read, or has not answered yet, is not asked.
    pub(super) fn resync(&mut self) {
        let Content::Text(text) = &self.content else { return };
        let (now, changes) = (Instant::now(), self.changes);
        let mut ours = None;
        for peer in self.peers.values_mut() {
            let due = peer.heard && peer.asked.is_empty() && now >= peer.ask_at;
            if !due || peer.waiting > 0 || peer.is_read_only() || peer.outbox.is_behind() {
                continue;
            }
            peer.ask_every = if peer.changes_asked == changes {
                (2 * peer.ask_every).min(limits::RESYNC_QUIET)
            } else {
                limits::RESYNC
            };
            peer.changes_asked = changes;
            peer.ask_at = now + peer.ask_every;
            peer.ask(ours.get_or_insert_with(|| encode_state_vector(&text.clocks())));
        }
    }

    /// Asks everybody who is to be asked, as if it were time.
    #[cfg(test)]
    pub(crate) fn resync_now(&mut self) {
        for peer in self.peers.values_mut().filter(|peer| peer.asked.is_empty()) {
            peer.ask_at = Instant::now();
        }
        self.resync();
    }

    /// Is at one thing until another room has taken its place.
    #[cfg(test)]
    pub(crate) fn hang_until_replaced(&mut self) {
        while self
            .room
            .upgrade()
            .is_some_and(|room| !room.vitals.replaced.load(std::sync::atomic::Ordering::Acquire))
        {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// Is at one thing until nobody has a handle of the room any more.
    #[cfg(test)]
    pub(crate) fn hang_until_forgotten(&mut self) {
        while self.room.upgrade().is_some() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    #[cfg(test)]
    pub(crate) fn has_peers(&self) -> bool {
        !self.peers.is_empty()
    }

    pub(super) async fn step_2(&mut self, id: PeerId, bytes: &Bytes, counted: bool) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !peer.heard {
            peer.heard = true;
            peer.ask_at = Instant::now() + limits::RESYNC;
            peer.changes_asked = self.changes;
        }
        let is_read_only = peer.is_read_only();
        let Content::Text(text) = &self.content else {
            // A replica takes nothing from peers; a reply without insertions has nothing of theirs in it.
            let applied = bytes.first() == Some(&0);
            self.acknowledge(id, counted, applied, None);
            return;
        };
        let update = match Update::read(bytes) {
            Ok(update) => update,
            Err(error) => return self.refuse_bytes(id, &Refusal::Malformed(error), bytes),
        };
        if is_read_only {
            let applied = !is_news(text.index(), &update);
            self.acknowledge(id, counted, applied, None);
            return;
        }
        let all = match self.decide(id, &update, Route::Step2) {
            // Everything it has is here; or nothing of it fits, and it is asked again when it says more.
            Verdict::Nothing => {
                self.acknowledge(id, counted, true, None);
                true
            }
            Verdict::Hold => false,
            Verdict::Admit(admitted) => {
                let logged = admitted.bytes(bytes);
                // A reply repeats the whole history of deletions, but what of it is still visible here and taken by
                // a turn is on its way: nobody was told of that, so its person wants it gone.
                self.take(id, &admitted, &logged, counted, Route::Step2, &admitted.deletes).await;
                !admitted.left_out
            }
            Verdict::Refuse(refusal) => return self.refuse_bytes(id, &refusal, bytes),
        };
        self.take_held(id, all).await;
    }

    pub(super) async fn update(&mut self, id: PeerId, bytes: Bytes) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.is_read_only() {
            self.acknowledge(id, true, false, None);
            return;
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

    /// Bytes of all updates that wait for something.
    pub(crate) fn held_bytes(&self) -> usize {
        self.peers.values().map(|peer| peer.held_bytes + peer.waiting_bytes).sum()
    }

    pub(super) fn hold(&mut self, id: PeerId, bytes: Bytes) {
        let room = self.held_bytes() + bytes.len();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.held.len() + peer.waiting >= limits::HELD_UPDATES
            || peer.held_bytes + peer.waiting_bytes + bytes.len() > limits::HELD_BYTES
            || room > limits::ROOM_HELD_BYTES
        {
            // A program types faster than a handshake. The reply to our step 1 is still to come and has this too.
            peer.held_over += 1;
            return;
        }
        peer.held_bytes += bytes.len();
        peer.held.push_back(bytes);
    }

    /// After a peer's step 2: what it sent before must fit now. `all` says that all of the step 2 was here or
    /// admitted, and so everything the peer had when it sent it.
    pub(super) async fn take_held(&mut self, id: PeerId, all: bool) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let held = std::mem::take(&mut peer.held);
        let over = std::mem::take(&mut peer.held_over);
        peer.held_bytes = 0;
        for bytes in held {
            if self.failed || !self.peers.contains_key(&id) {
                return;
            }
            if self.take_update(id, &bytes).await == Taken::Held {
                return self.refuse_bytes(id, &Refusal::Gap, &bytes);
            }
        }
        if over > 0 && !all {
            return self.refuse(id, &Refusal::HeldTooMuch);
        }
        for _ in 0..over {
            self.acknowledge(id, true, true, None);
        }
    }

    pub(super) async fn take_update(&mut self, id: PeerId, bytes: &Bytes) -> Taken {
        let update = match Update::read(bytes) {
            Ok(update) => update,
            Err(error) => {
                self.refuse_bytes(id, &Refusal::Malformed(error), bytes);
                return Taken::Done;
            }
        };
        match self.decide(id, &update, Route::Update) {
            Verdict::Nothing => self.acknowledge(id, true, true, None),
            Verdict::Hold => return Taken::Held,
            Verdict::Admit(admitted) => {
                let logged = admitted.bytes(bytes);
                self.take(id, &admitted, &logged, true, Route::Update, &wishes(&update)).await;
            }
            Verdict::Refuse(refusal) => self.refuse_bytes(id, &refusal, bytes),
        }
        Taken::Done
    }

    pub(super) fn decide<'u>(&self, id: PeerId, update: &Update<'u>, route: Route) -> Verdict<'u> {
        let (Content::Text(text), Some(peer)) = (&self.content, self.peers.get(&id)) else {
            return Verdict::Nothing;
        };
        let member = peer.identity.member;
        let lost = self.recovering();
        let recovering = lost.is_some();
        admit(text.index(), update, route, |client| match self.owners.get(&client) {
            Some(ClientOwner::Member(owner)) if *owner == member => Right::Own,
            Some(ClientOwner::Member(_)) if recovering => Right::GivenBack,
            Some(ClientOwner::Member(_)) => Right::Foreign,
            // Of what came after a restored backup, agents' text too is only in people's hands.
            Some(ClientOwner::Turn(_) | ClientOwner::Server) if lost == Some(Lost::SinceBackup) => {
                Right::GivenBack
            }
            Some(ClientOwner::Turn(_) | ClientOwner::Server) => Right::Reserved,
            None if self.presence.is_agent(client) => Right::Reserved,
            // Whoever shows an id types under it next: nobody else may be first.
            Some(ClientOwner::Nobody) | None
                if self.presence.holder(client).is_some_and(|holder| holder != member) =>
            {
                if recovering {
                    Right::GivenBack
                } else {
                    Right::Foreign
                }
            }
            // A page that loads its local store late sends everybody's text in an update. Under ids nobody knows
            // any more that would be taken for its own typing.
            Some(ClientOwner::Nobody) | None
                if recovering && !peer.announced.is_empty() && !peer.announced.contains(&client) =>
            {
                Right::GivenBack
            }
            Some(ClientOwner::Nobody) | None => Right::Own,
        })
    }

    /// Applies an admitted update, tells the others at once and hands it to the store. `wishes` are the units its
    /// sender wants gone, as far as that can be told.
    pub(super) async fn take(
        &mut self,
        id: PeerId,
        admitted: &Admitted<'_>,
        logged: &Bytes,
        counted: bool,
        route: Route,
        wishes: &[UnitRange],
    ) {
        let hash = bytes_hash(logged);
        if self.registry.is_suspect(self.document, hash) {
            return self.refuse_bytes(id, &Refusal::Suspect, logged);
        }
        if let Err(refusal) = self.spend(id, admitted, logged.len(), route) {
            return self.refuse(id, &refusal);
        }
        let Some(wishes) = self.taken_before(wishes, limits::UPDATE_WISHES) else {
            self.charge(id, limits::UPDATE_WISHES as f64);
            return self.refuse_bytes(id, &Refusal::TooMuchWork(limits::UPDATE_WISHES as u32), logged);
        };
        self.vitals(|vitals| vitals.applying(Some(hash)));
        if let Some(slot) = &mut self.slot {
            slot.begin(hash);
        }
        let Content::Text(text) = &mut self.content else { return };
        let taken = text.take(admitted, logged);
        if let Some(slot) = &mut self.slot {
            slot.end();
        }
        self.vitals(|vitals| vitals.applying(None));
        let passed = match taken {
            Ok(passed) => passed,
            Err(refusal) => return self.refuse_bytes(id, &refusal, logged),
        };
        let work = f64::from(passed) + (admitted.blocks.len() + wishes.len()) as f64;
        let too_often = !self.charge(id, work);
        self.changed();
        self.tell(News::Update(logged), Some(id));

        let Some(peer) = self.peers.get(&id) else { return };
        let member = peer.identity.member;
        let mut author = Author { member: Some(member), connection: Some(id), turn: None, via: None };
        let mut clients = Vec::new();
        for (client, first, next) in admitted.advances() {
            let owner = self.owner_of_news(peer, client, route);
            self.owners.insert(client, owner);
            if let ClientOwner::Member(writer) = owner {
                *self.inserted.entry(writer).or_default() += u64::from(next - first);
            }
            match owner {
                ClientOwner::Member(writer) if writer != member => {
                    author.member = Some(writer);
                    author.via = Some(member);
                }
                ClientOwner::Nobody | ClientOwner::Turn(_) | ClientOwner::Server => {
                    author.member = None;
                    author.via = Some(member);
                }
                ClientOwner::Member(_) => {}
            }
            clients.push(ClientAdvance { client, first, next, owner });
        }
        // A y-websocket client has no acknowledgement; its own update coming back after the commit is one.
        let echo = (peer.framing == Framing::YWebsocket).then(|| logged.clone());
        let ledger = self.also_deleted(LedgerActor::Member(member), None, wishes);
        let update = self.new_update(logged.clone(), author, clients, ledger.clone());
        let then = Then::Acknowledge { peer: id, status: counted, echo, ledger };
        self.submit(Write::update(update), logged.len(), then).await;
        if too_often {
            // What it sent is kept, since it was applied; more of it is not taken for now.
            self.refuse(id, &Refusal::TooOften);
        }
    }

    /// Counts work that was done for a peer; whether it may ask for more now.
    fn charge(&mut self, id: PeerId, work: f64) -> bool {
        let (document, people) = (self.document, self.registry.people());
        self.peers.get_mut(&id).is_none_or(|peer| {
            people.budget(document, peer.identity.member, |budget| budget.work.charge(work));
            peer.work.take(work)
        })
    }

    /// Whose a client's new items are.
    ///
    /// In a reply somebody may give back what another had typed before a crash; that does not make it theirs. Their
    /// own id is the one they type under or announced.
    fn owner_of_news(&self, peer: &Peer, client: u64, route: Route) -> ClientOwner {
        let known = self.owners.get(&client).copied();
        match known {
            None | Some(ClientOwner::Nobody) => {
                let theirs = route == Route::Update
                    || peer.announced.contains(&client)
                    || (known.is_none() && self.recovering().is_none());
                if theirs { ClientOwner::Member(peer.identity.member) } else { ClientOwner::Nobody }
            }
            Some(owner) => owner,
        }
    }

    /// Counts what an update asks of everybody for ever: bytes, client ids, and units of somebody who has inserted
    /// very many. Nothing was applied yet.
    fn spend(
        &self,
        id: PeerId,
        admitted: &Admitted<'_>,
        size_bytes: usize,
        route: Route,
    ) -> Result<(), Refusal> {
        let (Content::Text(text), Some(peer)) = (&self.content, self.peers.get(&id)) else { return Ok(()) };
        let member = peer.identity.member;
        // What begins a document may be a long history from elsewhere.
        let begins = text.index().clocks().next().is_none();
        let (mut new_clients, mut given_back, mut units) = (0_u32, 0_u32, 0_u64);
        for (client, first, next) in admitted.advances() {
            let theirs = self.owner_of_news(peer, client, route) == ClientOwner::Member(member);
            units += if theirs { u64::from(next - first) } else { 0 };
            if !self.owners.contains_key(&client) {
                *(if theirs && !begins { &mut new_clients } else { &mut given_back }) += 1;
            }
        }
        let held = self.inserted.get(&member).copied().unwrap_or(0);
        let many = held + units > limits::PERSON_UNITS;
        self.registry.people().budget(self.document, member, |budget| {
            if !(budget.may_work() && budget.bytes.take(size_bytes as f64)) {
                return Err(Refusal::TooOften);
            }
            if !(budget.new_clients.take(f64::from(new_clients))
                && budget.given_back.take(f64::from(given_back)))
            {
                return Err(Refusal::TooManyClients);
            }
            if many && !budget.units.take(units as f64) {
                return Err(Refusal::TooManyUnits(limits::PERSON_UNITS));
            }
            Ok(())
        })
    }

    /// Acknowledges once everything handed in so far is committed.
    pub(super) fn acknowledge(&mut self, peer: PeerId, status: bool, applied: bool, echo: Option<Bytes>) {
        if !applied {
            if let Some(peer) = self.peers.get(&peer)
                && status
                && let Some(frame) = frames::status(&peer.framing, false)
            {
                peer.outbox.reply(frame);
            }
            return;
        }
        if self.failed {
            // What it speaks of may be nowhere but here.
            return;
        }
        let then = Then::Acknowledge { peer, status, echo, ledger: Vec::new() };
        if self.pending.is_empty() {
            self.finish(then, None);
        } else {
            self.pending.push_back(Pending { commit: None, bytes: 0, then });
        }
    }

    /// Refuses an update, and keeps its bytes aside where they are what is wrong.
    fn refuse_bytes(&mut self, id: PeerId, refusal: &Refusal, bytes: &Bytes) {
        if refusal.is_of_the_bytes()
            && let Some(peer) = self.peers.get(&id)
        {
            let (document, member) = (self.document, peer.identity.member);
            self.registry.keep_aside(document, member, bytes, refusal.to_string());
        }
        self.refuse(id, refusal);
    }

    /// Says no to an update and closes the document for the peer that sent it. Nothing of it is applied.
    pub(super) fn refuse(&mut self, id: PeerId, refusal: &Refusal) {
        let member = self.peers.get(&id).map(|peer| peer.identity.member);
        // Whoever has much refused fills no log with it; their sum is said once an hour.
        if member.is_some_and(|member| self.registry.people().say_refused(member)) {
            let member = member.map(tracing::field::display);
            tracing::warn!(document.id = %self.document, peer.id = %id, member.id = member, %refusal, "refused an update");
        } else {
            tracing::debug!(document.id = %self.document, peer.id = %id, %refusal, "refused an update");
        }
        self.acknowledge(id, true, false, None);
        let code = match refusal {
            Refusal::DocumentTooLarge(_) | Refusal::HeldTooMuch => ErrorCode::TooLarge,
            Refusal::TooOften | Refusal::TooManyClients | Refusal::TooManyUnits(_) => ErrorCode::RateLimited,
            _ => ErrorCode::MalformedUpdate,
        };
        self.turn_out(id, code, refusal.to_string());
    }

    /// Sends news to everybody who has had a step 2, except one.
    pub(super) fn tell(&mut self, news: News<'_>, except: Option<PeerId>) {
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

    pub(super) fn catch_up(&mut self, id: PeerId) {
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

    pub(super) fn hear_presence(&mut self, id: PeerId, bytes: &[u8]) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let member = peer.identity.member;
        let owners = &self.owners;
        let announced = &peer.announced;
        let reserved = |client| match owners.get(&client) {
            Some(ClientOwner::Member(owner)) if *owner != member => true,
            Some(ClientOwner::Turn(_) | ClientOwner::Server) => true,
            Some(ClientOwner::Member(_) | ClientOwner::Nobody) | None => {
                announced.len() >= limits::PRESENCE_IDS_PER_PEER && !announced.contains(&client)
            }
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

    pub(super) fn show_agent(&mut self, agent: &str, presence: Option<&AgentPresence>) {
        let ids = self.registry.options().ids.clone();
        let owners = &self.owners;
        let fresh = || new_client(&*ids, |client| owners.contains_key(&client));
        self.presence.agent(agent, presence, Instant::now(), fresh);
        if presence.is_some_and(|presence| presence.telling == Telling::Now) {
            self.presence.hurry(agent);
            self.tell_presence();
        } else {
            self.schedule_presence();
        }
    }

    pub(super) fn schedule_presence(&mut self) {
        if self.presence.has_news() && self.presence_due.is_none() {
            let now = Instant::now();
            let next = self.presence_told.map_or(now, |told| told + limits::PRESENCE_INTERVAL);
            self.presence_due = Some(next.max(now));
        }
    }

    pub(super) fn tell_presence(&mut self) {
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
}

impl Peer {
    /// Asks it for what we lack who have this; the answer is not acknowledged.
    fn ask(&mut self, ours: &[u8]) {
        self.asked.push_back(false);
        self.outbox.reply(frames::sync(&self.framing, SyncMessage::Step1(ours)));
    }
}

/// The units that the sender of an update wants gone.
///
/// A page that loads its local store sends all of it as one update, with every deletion it ever learnt of. Those
/// are of units the update brings itself; whoever deletes something that was there does not bring it.
fn wishes(update: &Update<'_>) -> Vec<UnitRange> {
    if update.deletes.is_empty() {
        return Vec::new();
    }
    let blocks = update.groups.iter().flat_map(|group| &group.blocks);
    let brought: UnitSet =
        blocks.filter(|block| block.content != BlockContent::Skip).map(|block| block.units).collect();
    update.deletes.iter().flat_map(|range| brought.lacking(*range)).collect()
}

/// Whether somebody who has this lacks something of that.
fn lacks(have: &[(u64, u32)], all: &[(u64, u32)]) -> bool {
    let have: std::collections::HashMap<u64, u32> = have.iter().copied().collect();
    all.iter().any(|(client, next)| have.get(client).is_none_or(|held| held < next))
}

fn encode_state_vector(clocks: &[(u64, u32)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + clocks.len() * 7);
    write_uint(&mut out, clocks.len() as u64);
    for (client, clock) in clocks {
        write_uint(&mut out, *client);
        write_uint(&mut out, u64::from(*clock));
    }
    out
}
