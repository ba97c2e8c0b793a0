//! One participant's way out: a bounded outbox per socket, with a slot per document.
//!
//! A room pushes already encoded frames and never waits. What a socket cannot take is bounded:
//! when the updates queued for one document pass [`limits::OUTBOX_BYTES`] they are dropped and the slot is
//! marked as behind; once the socket has drained, its task asks the room for one diff that replaces them.
//! Answers to what a peer itself asked are never dropped; they are bounded by not reading on from its socket
//! ([`Outbox::wait_for_room`]).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::limits;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Names a document's slot in one outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(u32);

/// What a socket's task takes from its outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// A frame to send as it is.
    Frame(Bytes),
    /// Everything for this document was sent and more was dropped meanwhile: ask the room for a diff
    /// with [`PeerGuard::catch_up`](crate::room::PeerGuard::catch_up).
    Behind(SlotId),
    /// The room let go of this peer; nothing more comes from it.
    Detached {
        /// The document's slot.
        slot: SlotId,
        /// Why.
        code: ErrorCode,
        /// Why, for a person.
        reason: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// An answer to this peer: never dropped.
    Reply,
    /// News from others: replaceable by a diff.
    News,
}

#[derive(Debug)]
struct Queued {
    slot: SlotId,
    weight: Weight,
    item: Outgoing,
}

#[derive(Debug, Default)]
struct Slot {
    news_bytes: usize,
    queued: usize,
    behind: bool,
    /// An answer that tells everybody's presence is queued.
    presence: bool,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Queued>,
    slots: HashMap<SlotId, Slot>,
    next_slot: u32,
    reply_bytes: usize,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    filled: Notify,
    drained: Notify,
}

/// The outbox of one socket, shared by the rooms it is in.
#[derive(Debug, Clone, Default)]
pub struct Outbox {
    shared: Arc<Shared>,
}

/// A room's end of an outbox: pushes frames for one document.
///
/// What is queued when it is dropped still goes out, followed by a word that the room is lost.
#[derive(Debug)]
pub struct OutboxSlot {
    shared: Arc<Shared>,
    id: SlotId,
}

/// What became of pushed news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It is queued and nothing was queued before it.
    First,
    /// It is queued.
    Queued,
    /// The peer is behind: it was dropped, and a diff will replace it.
    Dropped,
}

impl Outbox {
    /// An empty outbox.
    pub fn new() -> Self {
        Self::default()
    }

    /// A slot for one more document.
    pub fn slot(&self) -> OutboxSlot {
        let mut state = self.shared.state.lock();
        let id = SlotId(state.next_slot);
        state.next_slot += 1;
        state.slots.insert(id, Slot::default());
        OutboxSlot { shared: self.shared.clone(), id }
    }

    /// Queues a frame of the socket itself, such as a ping or an authentication answer.
    pub fn send(&self, frame: Bytes) {
        let mut state = self.shared.state.lock();
        state.reply_bytes += frame.len();
        state.queue.push_back(Queued {
            slot: SlotId(u32::MAX),
            weight: Weight::Reply,
            item: Outgoing::Frame(frame),
        });
        drop(state);
        self.shared.filled.notify_one();
    }

    /// Moves everything queued into `batch`, in order, and waits when there is nothing.
    ///
    /// Call it again only after the batch was written: being called says that the socket has drained.
    /// Cancel-safe: nothing is taken before it returns.
    pub async fn take(&self, batch: &mut Vec<Outgoing>) {
        loop {
            if self.try_take(batch) {
                return;
            }
            self.shared.filled.notified().await;
        }
    }

    /// Like [`Outbox::take`], without waiting; whether there was anything.
    pub fn try_take(&self, batch: &mut Vec<Outgoing>) -> bool {
        let mut state = self.shared.state.lock();
        let before = batch.len();
        if state.queue.is_empty() {
            let behind: Vec<SlotId> = state
                .slots
                .iter()
                .filter(|(_, slot)| slot.behind && slot.queued == 0)
                .map(|(id, _)| *id)
                .collect();
            for id in behind {
                // Reported once; the room's diff clears the mark, see `OutboxSlot::caught_up`.
                if let Some(slot) = state.slots.get_mut(&id) {
                    slot.queued = 1;
                }
                batch.push(Outgoing::Behind(id));
            }
        } else {
            let state = &mut *state;
            state.reply_bytes = 0;
            for slot in state.slots.values_mut() {
                slot.news_bytes = 0;
                slot.queued = 0;
                slot.presence = false;
            }
            batch.extend(state.queue.drain(..).map(|queued| queued.item));
        }
        drop(state);
        self.shared.drained.notify_waiters();
        batch.len() > before
    }

    /// Waits until the answers queued for this socket are below their limit: call it before reading on.
    pub async fn wait_for_room(&self) {
        loop {
            let drained = self.shared.drained.notified();
            if self.has_room() {
                return;
            }
            drained.await;
        }
    }

    /// Whether the answers queued for this socket are below their limit, so that it is read from.
    pub fn has_room(&self) -> bool {
        self.shared.state.lock().reply_bytes < limits::OUTBOX_REPLY_BYTES
    }
}

impl OutboxSlot {
    /// Which slot this is.
    pub const fn id(&self) -> SlotId {
        self.id
    }

    /// Queues an answer to this peer.
    pub fn reply(&self, frame: Bytes) {
        let mut state = self.shared.state.lock();
        state.reply_bytes += frame.len();
        self.push(&mut state, Weight::Reply, Outgoing::Frame(frame));
    }

    /// Queues an answer with everybody's presence; nothing where one is queued already, since what changed after
    /// it follows it.
    pub fn presence(&self, frame: Bytes) {
        let mut state = self.shared.state.lock();
        let Some(slot) = state.slots.get_mut(&self.id) else { return };
        if std::mem::replace(&mut slot.presence, true) {
            return;
        }
        state.reply_bytes += frame.len();
        self.push(&mut state, Weight::Reply, Outgoing::Frame(frame));
    }

    /// Whether an answer with everybody's presence is queued.
    pub fn has_presence(&self) -> bool {
        self.shared.state.lock().slots.get(&self.id).is_some_and(|slot| slot.presence)
    }

    /// Queues news from others, or drops it where this peer is behind.
    pub fn news(&self, frame: Bytes) -> Pushed {
        let mut state = self.shared.state.lock();
        let Some(slot) = state.slots.get_mut(&self.id) else { return Pushed::Dropped };
        if slot.behind {
            return Pushed::Dropped;
        }
        slot.news_bytes += frame.len();
        if slot.news_bytes > limits::OUTBOX_BYTES {
            slot.behind = true;
            slot.news_bytes = 0;
            let id = self.id;
            let mut dropped = 0;
            state.queue.retain(|queued| {
                let drop = queued.slot == id && queued.weight == Weight::News;
                dropped += usize::from(drop);
                !drop
            });
            if let Some(slot) = state.slots.get_mut(&id) {
                slot.queued -= dropped;
            }
            drop(state);
            self.shared.filled.notify_one();
            return Pushed::Dropped;
        }
        let first = slot.queued == 0;
        self.push(&mut state, Weight::News, Outgoing::Frame(frame));
        if first { Pushed::First } else { Pushed::Queued }
    }

    /// Ends being behind: `diff` stands for everything that was dropped.
    pub fn caught_up(&self, diff: Bytes) {
        let mut state = self.shared.state.lock();
        if let Some(slot) = state.slots.get_mut(&self.id) {
            slot.behind = false;
            slot.queued = 0;
            slot.news_bytes = 0;
        }
        self.push(&mut state, Weight::Reply, Outgoing::Frame(diff));
    }

    /// Says that the room let go of this peer. Said once: nothing of the room is queued after it.
    pub fn detach(self, code: ErrorCode, reason: String) {
        self.shared.detach(self.id, code, reason);
    }

    /// Lets go of a peer that left by itself, and needs to be told nothing.
    pub fn release(self) {
        self.shared.state.lock().slots.remove(&self.id);
    }

    /// A way to let go of the peer from outside of its room.
    pub fn exit(&self) -> Exit {
        Exit { shared: Arc::downgrade(&self.shared), id: self.id }
    }

    /// Whether this peer is behind and waits for a diff.
    pub fn is_behind(&self) -> bool {
        self.shared.state.lock().slots.get(&self.id).is_some_and(|slot| slot.behind)
    }

    fn push(&self, state: &mut State, weight: Weight, item: Outgoing) {
        let Some(slot) = state.slots.get_mut(&self.id) else { return };
        slot.queued += 1;
        let was_empty = state.queue.is_empty();
        state.queue.push_back(Queued { slot: self.id, weight, item });
        // Only the first one wakes the socket's task; the rest are taken with it.
        if was_empty {
            self.shared.filled.notify_one();
        }
    }
}

impl Drop for OutboxSlot {
    fn drop(&mut self) {
        // Dropped without a word: its room died. The peer is told to come again.
        self.shared.detach(self.id, ErrorCode::Internal, "the room was lost".into());
    }
}

impl Shared {
    fn detach(&self, slot: SlotId, code: ErrorCode, reason: String) {
        let mut state = self.state.lock();
        if state.slots.remove(&slot).is_none() {
            return;
        }
        let item = Outgoing::Detached { slot, code, reason };
        state.queue.push_back(Queued { slot, weight: Weight::Reply, item });
        drop(state);
        self.filled.notify_one();
    }
}

/// A way to let go of a peer whose room does not answer any more.
#[derive(Debug, Clone)]
pub struct Exit {
    shared: Weak<Shared>,
    id: SlotId,
}

impl Exit {
    /// Says that the room let go of the peer, unless it did already.
    pub fn detach(&self, code: ErrorCode, reason: &str) {
        if let Some(shared) = self.shared.upgrade() {
            shared.detach(self.id, code, reason.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(batch: &[Outgoing]) -> usize {
        batch.iter().filter(|item| matches!(item, Outgoing::Frame(_))).count()
    }

    #[tokio::test]
    async fn what_is_pushed_comes_out_in_order() {
        let outbox = Outbox::new();
        let slot = outbox.slot();
        assert_eq!(slot.news(Bytes::from_static(b"a")), Pushed::First);
        slot.reply(Bytes::from_static(b"b"));
        outbox.send(Bytes::from_static(b"c"));
        let mut batch = Vec::new();
        outbox.take(&mut batch).await;
        let expected: Vec<_> =
            [&b"a"[..], b"b", b"c"].map(|frame| Outgoing::Frame(Bytes::from_static(frame))).into();
        assert_eq!(batch, expected);
        batch.clear();
        assert!(!outbox.try_take(&mut batch));
    }

    /// [S7] What is queued for a peer is bounded, and replaced by one diff.
    #[tokio::test]
    async fn a_peer_that_takes_nothing_holds_bounded_memory_and_is_caught_up_with_one_diff() {
        let outbox = Outbox::new();
        let (slow, other) = (outbox.slot(), outbox.slot());
        slow.reply(Bytes::from_static(b"answer"));
        let frame = Bytes::from(vec![0; 64 * 1024]);
        let mut dropped = 0;
        for _ in 0..100 {
            dropped += usize::from(slow.news(frame.clone()) == Pushed::Dropped);
        }
        assert!(dropped >= 100 - limits::OUTBOX_BYTES / frame.len());
        assert_eq!(other.news(Bytes::from_static(b"fine")), Pushed::First);

        let mut batch = Vec::new();
        outbox.take(&mut batch).await;
        assert_eq!(frames(&batch), 2, "the answer and the other document's news are kept");
        batch.clear();
        outbox.take(&mut batch).await;
        assert_eq!(batch, [Outgoing::Behind(slow.id())]);
        batch.clear();
        assert!(!outbox.try_take(&mut batch), "being behind is reported once");

        slow.caught_up(Bytes::from_static(b"diff"));
        assert!(!slow.is_behind());
        assert_eq!(slow.news(Bytes::from_static(b"next")), Pushed::Queued);
        outbox.take(&mut batch).await;
        assert_eq!(frames(&batch), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_bounded_by_not_reading_on() {
        let outbox = Outbox::new();
        outbox.send(Bytes::from(vec![0; limits::OUTBOX_REPLY_BYTES]));
        let waiting = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.wait_for_room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        outbox.take(&mut Vec::new()).await;
        waiting.await.unwrap();
    }
}
