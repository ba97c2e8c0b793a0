//! Peers: joining and leaving, the handshake, what is told to whom.

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
use tokio::time::Instant;

use super::waiting::Said;
use super::{CHECKPOINT_NEWS, Content, Peer, RoomActor};
use crate::admission::{Refusal, Route, Verdict, is_news};
use crate::error::RoomError;
use crate::peer::Pushed;
use crate::people::Budget;
use crate::rate::Bucket;
use crate::room::frames::{self, News, Shared};
use crate::room::{Framing, Join, PeerMessage};
use crate::update::Update;

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

    /// Bytes of all updates that wait for something.
    pub(crate) fn held_bytes(&self) -> usize {
        self.peers.values().map(|peer| peer.held_bytes + peer.waiting_bytes).sum()
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
}

impl Peer {
    /// Asks it for what we lack who have this; the answer is not acknowledged.
    fn ask(&mut self, ours: &[u8]) {
        self.asked.push_back(false);
        self.outbox.reply(frames::sync(&self.framing, SyncMessage::Step1(ours)));
    }
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
