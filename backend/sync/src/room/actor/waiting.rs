//! What people say while the database cannot keep up.
//!
//! An update that is taken is applied, relayed and waits for its commit. When as much of that waits as a room keeps,
//! further updates are not taken yet: they stand here, in the order they came, and are taken as commits are
//! answered. Everything else goes on: joining, step 1s, presence, reads. What is held of one peer and of all is
//! bounded together with what else is held of them; a peer over that is turned out for now, keeps its text, and
//! comes back with it.

use bytes::Bytes;
use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::id::PeerId;
use ensemble_protocol::limits;

use super::RoomActor;
use crate::registry::Vitals;
use crate::room::Message;

/// An update that is not taken yet.
#[derive(Debug)]
pub(super) enum Said {
    /// A step 2, and whether it is acknowledged.
    Step2(Bytes, bool),
    /// Something new.
    Update(Bytes),
}

impl Said {
    fn size(&self) -> usize {
        let (Self::Step2(bytes, _) | Self::Update(bytes)) = self;
        bytes.len()
    }
}

impl RoomActor {
    /// Whether as much waits for its commit as may.
    pub(super) fn is_backlogged(&self) -> bool {
        self.pending.len() >= limits::ROOM_UNCOMMITTED
            || self.pending_bytes >= limits::ROOM_UNCOMMITTED_BYTES
            || !self.registry.options().store.has_room()
    }

    /// A peer said something that changes the document: it is taken in its turn, which may be now.
    pub(super) async fn hear(&mut self, id: PeerId, said: Said) {
        if self.waiting.is_empty() && !self.is_backlogged() {
            return self.take_said(id, said).await;
        }
        let size = said.size();
        let all = self.held_bytes() + size;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.held.len() + peer.waiting >= limits::HELD_UPDATES
            || peer.held_bytes + peer.waiting_bytes + size > limits::HELD_BYTES
            || all > limits::ROOM_HELD_BYTES
        {
            return self.turn_out(
                id,
                ErrorCode::Busy,
                "the server cannot save for now; try again later".into(),
            );
        }
        peer.waiting += 1;
        peer.waiting_bytes += size;
        self.waiting.push_back((id, said));
        self.take_waiting().await;
    }

    /// Takes what waits, in the order it was said, until there is too much to commit again.
    pub(super) async fn take_waiting(&mut self) {
        while !self.failed
            && !self.waiting.is_empty()
            && !self.is_backlogged()
            && let Some((id, said)) = self.waiting.pop_front()
        {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            peer.waiting -= 1;
            peer.waiting_bytes -= said.size();
            self.vitals(Vitals::begin);
            self.take_said(id, said).await;
            self.vitals(Vitals::rest);
            if self.peers.get(&id).is_some_and(|peer| peer.waiting == 0 && peer.is_gone()) {
                self.let_go(id);
            }
        }
    }

    async fn take_said(&mut self, id: PeerId, said: Said) {
        match said {
            Said::Step2(bytes, counted) => self.step_2(id, &bytes, counted).await,
            Said::Update(bytes) => self.update(id, bytes).await,
        }
    }

    /// Forgets what waits of a peer that is turned out: it was not acknowledged, and the peer has it.
    pub(super) fn forget_waiting(&mut self, id: PeerId) {
        self.waiting.retain(|(peer, _)| *peer != id);
    }

    /// Puts off what has to wait for a server-made edit under way. Whoever asked and went away is forgotten; reads
    /// leave half of the room to edits, and are told that there is none left.
    pub(super) fn defer(&mut self, message: Message) {
        self.forget_abandoned();
        match message {
            Message::Read(answer) if self.deferred.len() >= limits::ROOM_INBOX / 2 => {
                let _ = answer.send(Err(self.busy()));
            }
            message => self.deferred.push_back(message),
        }
    }

    /// Whether there is room for messages that have to wait; where not, the inbox is left alone.
    pub(super) fn may_defer(&mut self) -> bool {
        self.deferred.len() < limits::ROOM_INBOX || {
            self.forget_abandoned();
            self.deferred.len() < limits::ROOM_INBOX
        }
    }

    /// From here on as much waits as may, behind a commit that nobody answers until [`Self::unclog`].
    #[cfg(test)]
    pub(crate) fn clog(&mut self) {
        self.put_in_the_way(limits::ROOM_UNCOMMITTED_BYTES);
    }

    /// What is handed in from here on is taken, and answered after [`Self::unclog`].
    #[cfg(test)]
    pub(crate) fn hold_up(&mut self) {
        self.put_in_the_way(0);
    }

    #[cfg(test)]
    fn put_in_the_way(&mut self, bytes: usize) {
        let (answer, commit) = ensemble_store::Commit::channel();
        std::mem::forget(answer);
        let nobody = PeerId::from_uuid(uuid::Uuid::nil());
        let then = super::Then::Acknowledge { peer: nobody, status: false, echo: None, ledger: Vec::new() };
        self.pending_bytes += bytes;
        self.pending.push_front(super::Pending { commit: Some(commit), bytes, then });
    }

    /// It is time for a snapshot.
    #[cfg(test)]
    pub(crate) fn want_snapshot(&mut self) {
        self.updates_since_snapshot = limits::SNAPSHOT_UPDATES;
    }

    /// What was put in the way is answered.
    #[cfg(test)]
    pub(crate) fn unclog(&mut self) {
        self.pending.front_mut().expect("it was clogged").commit = None;
    }

    /// Nobody waits any more for reads whose answer cannot be heard; edits are done all the same.
    fn forget_abandoned(&mut self) {
        self.deferred.retain(|message| !matches!(message, Message::Read(answer) if answer.is_closed()));
    }
}
