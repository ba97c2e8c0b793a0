//! What becomes of an update: decided, paid for, applied, told, handed to the store; or held, or refused.

use bytes::Bytes;
use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::id::PeerId;
use ensemble_protocol::limits;
use ensemble_store::{Author, ClientAdvance, ClientOwner, LedgerActor, Write};

use super::{Content, Peer, Pending, RoomActor, Then};
use crate::admission::{Admitted, Refusal, Right, Route, Verdict, admit};
use crate::anchor::UnitRange;
use crate::document::bytes_hash;
use crate::registry::Lost;
use crate::room::Framing;
use crate::room::frames::{self, News};
use crate::units::UnitSet;
use crate::update::{Content as BlockContent, Update};

/// What became of an update that was held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Done,
    Held,
}

impl RoomActor {
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
    pub(super) fn charge(&mut self, id: PeerId, work: f64) -> bool {
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
    pub(super) fn owner_of_news(&self, peer: &Peer, client: u64, route: Route) -> ClientOwner {
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
    pub(super) fn spend(
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
    pub(super) fn refuse_bytes(&mut self, id: PeerId, refusal: &Refusal, bytes: &Bytes) {
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
